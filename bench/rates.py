"""The rates that bench/scale.py computes with, measured on one thread: processor time, not time by the clock.

    python bench/rates.py [--texts 64] [--vectors 40000] > rates.json

Tokens per second of three shapes of transformers, documents per second of BM25, and the time of one HNSW query in the
embedded engine with its recall. One JSON object; what bench/rates.json holds came from it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder, machine
from encode import checkpoint, chinese

REPEATS = 3


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Processor time of the fastest of the repeats, after a warm-up."""
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def encoding(rates: dict[str, float], data: Path, n_texts: int) -> None:
    """Tokens per second of one core: 4 x 512, 12 x 768, 24 x 1024, in bfloat16 and int8."""
    from qianru.models.transformer import Transformer
    from qianru.runtime.options import Runtime

    texts = chinese(data, n_texts)
    with tempfile.TemporaryDirectory() as place:
        for shape, share in (("small", 1), ("base", 1), ("large", 4)):
            folder = checkpoint(shape, Path(place), data)
            some = texts[: n_texts // share]
            for precision in ("bfloat16", "int8"):
                model = Transformer.load(folder, Runtime(precision, threads=1))   # type: ignore[arg-type]
                n_tokens = sum(len(row) for row in model.tokenizer.rows(some).rows)
                took = seconds(lambda m=model, s=some: m.encode(s, kinds=["dense"]), 2 if shape == "large" else REPEATS)
                rates[f"{shape}_{precision}_tokens_per_core_s"] = round(n_tokens / took)


def words(rates: dict[str, float], data: Path) -> None:
    """Documents per second of BM25's weights, and terms a document."""
    from qianru.models.bm25 import BM25
    from qianru.text.analyze import SEARCH

    texts = chinese(data, 2000)
    model = BM25(SEARCH).fit(texts)
    made = model.encode(texts).sparse
    assert made is not None
    rates["bm25_documents_per_core_s"] = round(len(texts) / seconds(lambda: model.encode(texts)))
    rates["terms_per_character"] = round(float(np.diff(made.offsets).mean()) / np.mean([len(t) for t in texts]), 3)


def searching(rates: dict[str, float], n: int) -> None:
    """Seconds of one query by HNSW of the embedded engine, and of building it, at n vectors of 256 dimensions."""
    from qianru.index.engine import EngineIndex
    from qianru.types import Embeddings

    rng = np.random.default_rng(5)
    centres = rng.standard_normal((200, 256), np.float32)
    every = centres[rng.integers(0, 200, n + 200)] + 0.7 * rng.standard_normal((n + 200, 256), np.float32)
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    rows, asked = every[:n], every[n:]
    best = np.argsort(-(asked @ rows.T), axis=1)[:, :10]
    queries = Embeddings("m", np.ones(200, np.int64), 0, asked)
    with tempfile.TemporaryDirectory() as place:
        index = EngineIndex.create(Path(place) / "engine", ["dense"], 256, "int8")
        index.add(np.arange(n), Embeddings("m", np.ones(n, np.int64), 0, rows), [{}] * n)
        start = time.process_time()
        index.optimize()
        rates["hnsw_build_vectors_per_core_s"] = round(n / (time.process_time() - start))
        rates["hnsw_query_core_s"] = round(seconds(lambda: index.search(queries, "dense", 10)) / 200, 6)
        rates |= {"hnsw_measured_at": n, "hnsw_measured_dim": 256}
        found = index.search(queries, "dense", 10)
        hits = sum(len(set(ranking.ids.tolist()) & set(row.tolist())) for ranking, row in zip(found, best, strict=True))
        rates["hnsw_recall_at_10"] = round(hits / 2000, 4)
        index.close()


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--vectors", type=int, default=40_000)
    options = parser.parse_args()
    logging.disable()
    rates: dict[str, float] = {}
    if options.texts:
        encoding(rates, data_folder(), options.texts)
        words(rates, data_folder())
    searching(rates, options.vectors)
    print(json.dumps({"machine": machine(), "date": datetime.now(UTC).date().isoformat(), "rates": rates}, indent=1))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
