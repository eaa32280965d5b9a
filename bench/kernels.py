"""Exact search for the three kinds of vectors beside faiss, scipy and a NumPy loop, on real texts.

    python bench/kernels.py [n_documents …]     # one line of JSON a case; default 200000
    python bench/kernels.py 50000 dense         # cases: dense, sparse, maxsim

Documents are lines of the Chinese texts among the data, in pieces of 12 to 80 characters; queries are clips of them.
Dense: 768 numbers, the sum of random directions of a text's characters and pairs of them, weighted by idf, of length 1:
a static model without training. Sparse: BM25 with the words that collections use. Multi: 1,024 numbers a token, the
same directions with a third of their neighbours'. Each rival's answer is compared with ours in the same run. faiss
takes part if it is installed. Threads: QIANRU_BENCH_THREADS, else all.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

THREADS = int(os.environ.get("QIANRU_BENCH_THREADS", os.cpu_count() or 1))
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(THREADS)      # before NumPy is loaded

import numpy as np  # noqa: E402
from common import data_folder, read_text, report  # noqa: E402

from qianru.models import load  # noqa: E402
from qianru.scores import PRECISIONS, Postings, Signs, dense_top_k, maxsim_top_k  # noqa: E402
from qianru.scores.exact.signs import FACTOR  # noqa: E402
from qianru.scores.ranking import Ranked  # noqa: E402
from qianru.types import FloatArray, IntArray, Ragged, SparseRows  # noqa: E402

K = 10
SEED = 20261121
N_QUERIES = 1_000
ONE_BY_ONE = 20
BLOCK = 16_384
FOLDERS = ("articles/民法典", "articles", "classification", "pairs", "retrieval", "sts", "reranking", "train")
ENDINGS = (".txt", ".txt.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
HAN = re.compile("[\u4e00-\u9fff，。！？；：、]+")


def lines(n: int) -> list[str]:
    """n different pieces of 12 to 80 characters."""
    found: dict[str, None] = {}
    for folder in FOLDERS:
        for path in sorted((data_folder() / folder).rglob("*")):
            if not path.name.endswith(ENDINGS):
                continue
            for line in read_text(path).splitlines():
                words = "".join(HAN.findall(line))      # also of a line of JSON
                for start in range(0, len(words), 80):
                    if len(piece := words[start : start + 80]) >= 12:
                        found[piece] = None
                if len(found) >= n:
                    return list(found)[:n]
    sys.exit(f"The data holds {len(found):,} pieces of text, not {n:,}.")


def clips(texts: list[str], n: int, chance: np.random.Generator) -> list[str]:
    """As somebody remembers a line."""
    found = []
    for text in (texts[i] for i in chance.integers(0, len(texts), n)):
        length = int(chance.integers(8, 17))
        start = int(chance.integers(0, max(1, len(text) - length)))
        found.append(text[start : start + length])
    return found


def features(texts: list[str]) -> SparseRows:
    """TF-IDF of characters and pairs of them, hashed to 65,536 columns."""
    rows = []
    for text in texts:
        row: dict[int, float] = {}
        for token in [*text, *map("".join, pairwise(text))]:
            column = int.from_bytes(token.encode("utf-8", "replace")[-6:], "little") * 2654435761 % 65536
            row[column] = row.get(column, 0.0) + 1.0
        rows.append(row)
    return SparseRows.from_rows(rows, 65536)


def dense(counts: SparseRows, idf: FloatArray, table: FloatArray) -> FloatArray:
    """(n, d) float32 of length 1."""
    from scipy.sparse import csr_matrix

    weights = np.sqrt(counts.weights) * idf[counts.terms]
    matrix = csr_matrix((weights.astype(np.float32), counts.terms, counts.offsets), (len(counts), counts.width))
    vectors = np.asarray(matrix @ table, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def tokens(texts: list[str], table: FloatArray) -> Ragged:
    """A vector for each character, with a third of both neighbours."""
    codes = [np.frombuffer(text.encode("utf-32-le"), "<u4") % len(table) for text in texts]
    parts = []
    for code in codes:
        own = table[code]
        mixed = own.copy()
        mixed[1:] += own[:-1] / 3
        mixed[:-1] += own[1:] / 3
        parts.append(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
    return Ragged(np.concatenate(parts), np.concatenate([[0], np.cumsum(list(map(len, codes)))]).astype(np.int64))


def blocks(vectors: FloatArray) -> Iterator[tuple[IntArray, FloatArray]]:
    for start in range(0, len(vectors), BLOCK):
        yield np.arange(start, min(start + BLOCK, len(vectors))), vectors[start : start + BLOCK]


def recall(found: list[Ranked], right: Any) -> float:
    return round(float(np.mean([len(np.intersect1d(ids, row)) / max(len(row), 1)
                                for (ids, _), row in zip(found, right, strict=True)])), 5)


def compare(case: str, n: int, n_queries: int, sides: dict[str, Callable[[], Any]], repeats: int, **more: Any) -> None:
    """One line: queries per second of each side, in turns, by the wall and by CPU seconds; the first is the rival."""
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, work in sides.items():
            start, used = time.perf_counter(), time.process_time()
            work()
            if turn:        # the first is the warm-up
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - used)
    rates = {name: {"queries_per_s": round(n_queries / statistics.median(wall[name]), 1),
                    "spread": [round(n_queries / max(wall[name]), 1), round(n_queries / min(wall[name]), 1)],
                    "queries_per_cpu_s": round(n_queries / statistics.median(cpu[name]), 1)} for name in sides}
    first, *ours = sides
    ratio = {name: {unit: round(rates[name][unit] / rates[first][unit], 2)
                    for unit in ("queries_per_s", "queries_per_cpu_s")} for name in ours}
    packages = [name for name in ("numpy", "scipy", "torch", "numba", "faiss-cpu") if find_spec(name.partition("-")[0])]
    report(f"kernels {case}", packages, n=n, queries=n_queries, k=K, threads=THREADS, seed=SEED, repeats=repeats,
           rates=rates, ratio=ratio, **more)


def dense_case(texts: list[str], asked: list[str], chance: np.random.Generator) -> None:
    table = chance.standard_normal((65536, 768)).astype(np.float32)
    counts = features(texts)
    idf = np.log((len(texts) + 1) / (np.bincount(counts.terms, minlength=counts.width) + 1)) + 1
    documents, queries = dense(counts, idf, table), dense(features(asked), idf, table)
    sides: dict[str, Callable[[], Any]] = {}
    if find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(THREADS)
        sides["faiss.knn"] = lambda: faiss.knn(queries, documents, K, metric=faiss.METRIC_INNER_PRODUCT)
        right = sides["faiss.knn"]()[1]
    else:
        right = [ids for ids, _ in dense_top_k(queries, blocks(documents), K)]
    for precision in PRECISIONS:
        sides[precision] = lambda precision=precision: dense_top_k(
            queries, blocks(documents), K, precision=precision, n_threads=THREADS)
    signs = Signs(np.arange(len(documents)), documents)
    for factor in (32, FACTOR):
        sides[f"signs, {factor}"] = lambda factor=factor: signs.top_k(queries, K, factor=factor, n_threads=THREADS)
    found = {name: recall(work(), right) for name, work in sides.items() if name != "faiss.knn"}
    compare("dense 768", len(documents), len(queries), sides, 5, recall=found,
            signs_mb=round(signs.size_bytes / 1e6, 1), vectors_mb=round(documents.nbytes / 1e6, 1))
    one = {name: lambda search=search: [search(queries[i : i + 1]) for i in range(ONE_BY_ONE)] for name, search in {
        "float32": lambda query: dense_top_k(query, blocks(documents), K, n_threads=THREADS),
        f"signs, {FACTOR}": lambda query: signs.top_k(query, K, n_threads=THREADS)}.items()}
    compare("dense 768, one at a time", len(documents), ONE_BY_ONE, one, 5)


def sparse_case(texts: list[str], asked: list[str], _: np.random.Generator) -> None:
    from scipy.sparse import csr_matrix

    model = load("bm25")
    model.fit(texts)
    documents, queries = model.encode(texts).sparse, model.encode(asked, role="query").sparse
    width = documents.width
    rows = csr_matrix((documents.weights.astype(np.float32), documents.terms, documents.offsets),
                      (len(documents), width)).T.tocsr()
    wanted = csr_matrix((queries.weights.astype(np.float32), queries.terms, queries.offsets), (len(queries), width))
    few = 200       # of scipy, which is slow

    def scipy_search() -> list[IntArray]:
        found = []
        for start in range(0, few, 50):
            scores = (wanted[start : start + 50] @ rows).tocsr()
            for i in range(scores.shape[0]):
                part = slice(scores.indptr[i], scores.indptr[i + 1])
                values, ids = scores.data[part], scores.indices[part]
                best = np.argpartition(-values, K)[:K] if len(values) > K else np.arange(len(values))
                found.append(ids[best])
        return found

    postings = Postings(np.arange(len(documents)), documents)
    some = queries.take(np.arange(few))
    compare("sparse BM25", len(documents), few, {
        "scipy": scipy_search,
        "qianru": lambda: postings.top_k(some, K, n_threads=THREADS),
    }, 5, recall=recall(postings.top_k(some, K), scipy_search()), postings_mb=round(postings.size_bytes / 1e6, 1),
        weights_a_document=round(len(documents.terms) / len(documents), 1))


def maxsim_case(texts: list[str], asked: list[str], chance: np.random.Generator) -> None:
    table = chance.standard_normal((8192, 1024)).astype(np.float32)
    documents, queries = tokens(texts[::max(1, len(texts) // 2_000)][:2_000], table), tokens(asked[:10], table)
    ids = np.arange(len(documents))

    def loop() -> list[IntArray]:
        found = []
        for q in range(len(queries)):
            scores = [(queries.row(q) @ documents.row(m).T).max(axis=1).mean() for m in range(len(documents))]
            found.append(np.argsort(-np.array(scores), kind="stable")[:K])
        return found

    sides: dict[str, Callable[[], Any]] = {"numpy loop": loop}
    for precision in PRECISIONS:
        sides[precision] = lambda precision=precision: maxsim_top_k(
            queries, [(ids, documents)], K, precision=precision, n_threads=THREADS)
    right = loop()
    compare("MaxSim 1024", len(documents), len(queries), sides, 5, n_tokens=len(documents.data),
            recall={name: recall(work(), right) for name, work in sides.items() if name in PRECISIONS})


CASES = {"dense": dense_case, "sparse": sparse_case, "maxsim": maxsim_case}


def main() -> None:
    if find_spec("torch"):
        import torch

        torch.set_num_threads(THREADS)
    if find_spec("numba"):      # as in a process that has searched before
        import numba  # noqa: F401
    sizes = [int(each) for each in sys.argv[1:] if each.isdigit()] or [200_000]
    cases = [each for each in sys.argv[1:] if not each.isdigit()] or list(CASES)
    if strange := [each for each in cases if each not in CASES]:
        sys.exit(f"{strange[0]} is no case and no number of documents; the cases are {', '.join(CASES)}.")
    for n in sizes:
        texts = lines(n)
        chance = np.random.default_rng(SEED)
        asked = clips(texts, N_QUERIES, chance)
        for case in cases:
            CASES[case](texts, asked, chance)


if __name__ == "__main__":
    main()
