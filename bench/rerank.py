"""Pairs per second of rerankers: Qianru beside sentence-transformers' CrossEncoder, in one process on the same pairs.

    python bench/rerank.py [--shapes small,base] [--pairs 100] [--threads 1] [--repeats 3]

One question against real passages, weights drawn at random. Processor time, since other programs may run; one line of
JSON for each shape. Without sentence-transformers only Qianru is measured.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, data_folder, report

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

import torch  # noqa: E402
from reranker_checkpoints import bert_reranker  # noqa: E402

from qianru.models.cross_encoder import CrossEncoder  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402

SHAPES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048},
    "base": {},
}
QUERY = "怎样让相似的文字有相近的向量"


def passages(data: Path, n: int) -> list[str]:
    """Abstracts of up to some 300 characters and titles, by turns."""
    abstracts = gzip.decompress((data / "retrieval/csl_title/dev.tsv.gz").read_bytes()).decode().splitlines()
    titles = [json.loads(line)["sentence"] for line in
              (data / "classification/fewclue_tnews/test_public.json").read_text("utf-8").splitlines()]
    return [abstracts[i] if i % 2 else titles[i] for i in range(n)]


def best(work: Callable[[], Any], repeats: int) -> float:
    """Processor time of the fastest run, after a warm-up."""
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Measures everything that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="small,base")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    logging.disable()
    torch.set_num_threads(options.threads)
    data = data_folder()
    pairs = [(QUERY, text) for text in passages(data, options.pairs)]
    for shape in options.shapes.split(","):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            bert_reranker(folder, data, SHAPES[shape])
            rows: dict[str, Any] = {}
            exact: Any = None
            for precision in ("float32", "bfloat16", "int8"):
                model = CrossEncoder.load(folder, Runtime(precision, threads=options.threads))   # type: ignore[arg-type]
                scores = model.score(pairs)
                exact = scores if exact is None else exact
                took = best(lambda m=model: m.score(pairs), options.repeats)
                rows[f"qianru {precision}"] = {"cpu_s": round(took, 3), "pairs_per_core_s": round(len(pairs) / took, 1),
                                               "rank_correlation": round(rank_correlation(exact, scores), 5)}
            packages = ["torch", "tokenizers"]
            if find_spec("sentence_transformers") is not None:
                from sentence_transformers import CrossEncoder as Theirs

                packages += ["sentence-transformers", "transformers"]
                theirs = Theirs(str(folder), device="cpu")
                for size in (32, 8):
                    took = best(lambda m=theirs, s=size: m.predict(pairs, batch_size=s), options.repeats)
                    rows[f"sentence-transformers float32, batch {size}"] = {
                        "cpu_s": round(took, 3), "pairs_per_core_s": round(len(pairs) / took, 1),
                        "largest_difference": float(np.abs(theirs.predict(pairs) - exact).max())}
            report("rerank", packages, shape=shape, n_pairs=len(pairs), threads=options.threads, rows=rows)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(scores)) for scores in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main()
