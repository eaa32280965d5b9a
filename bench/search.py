"""Search over poems and articles of law: the graph beside exact search, filters, and how cost grows with size.

    python bench/search.py [n_documents …]              # default 10000 50000 200000; one line of JSON a case
    python bench/search.py --parts sizes 10000          # parts: sizes, graph, filters

The collection (BM25 and LSA, see poems_and_laws.py) of each size is made once and kept beside the texts with what its
making took; the 200,000 need some minutes for that, and later runs only search. Each size has a process of its own.

sizes: seconds to store (embed, commit), to follow (the engine) and to build the graph; bytes on disk; anonymous memory
after opening and searching (mapped pages of the engine's files come and go with the system's cache and are told apart);
latency of one query at a time and queries per second, per kind and as hybrid with texts, embedding of the query
included.
graph: recall@10 of the graph's answers, where an equal score counts as found, and queries per second beside exact
search: ours in blocks (dense_top_k), all queries together and one at a time, and the engine's own look at every vector.
filters: the same recall under conditions that 1 %, 10 %, 50 % of the documents pass by lot, and one that goes with the
meaning (laws only).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import percentiles_ms, report
from poems_and_laws import cache, clips, documents, lsa, vectors

from qianru import Collection
from qianru.index.base import Ranking
from qianru.index.filter import Filter
from qianru.index.follower import Follower
from qianru.scores import dense_top_k
from qianru.types import Embeddings, FloatArray, IntArray

K = 10
REPEATS = 5
CLOSE = 1e-5                # scores this near are equal
BLOCK = 16_384
FILTERS = {"1 % by lot": "share < 1", "10 % by lot": "share < 10", "50 % by lot": "share < 50",
           "laws (50 %)": "source = 'law'"}
PARTS = ("sizes", "graph", "filters")


def memory_mb() -> dict[str, float]:
    """Resident memory of this process by what it is: its own, and pages of files."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: round(int(told[key].split()[0]) / 1024, 1)
            for name, key in (("anonymous", "RssAnon"), ("files", "RssFile"))}


def made(n: int) -> tuple[Path, dict[str, Any]]:
    """The collection of the first n documents, and what making it took."""
    path = cache() / f"collection-{n}"
    told = path.with_suffix(".json")
    if not told.exists():
        figures: dict[str, Any] = {}
        texts = documents(n)
        before = memory_mb()["anonymous"]
        with Collection.create(path, ["bm25", lsa()]) as collection:
            for name, work in (("store", lambda: collection.add(texts)), ("follow", collection.prepare),
                               ("graph", collection.optimize)):
                wall, own = time.perf_counter(), time.process_time()
                work()
                figures[f"{name}_s"] = round(time.perf_counter() - wall, 2)
                if name != "graph":                 # that is a process of its own
                    figures[f"{name}_cpu_s"] = round(time.process_time() - own, 2)
            figures["own_memory_mb"] = round(memory_mb()["anonymous"] - before, 1)
        told.write_text(json.dumps(figures))
    return path, json.loads(told.read_text())


def one_at_a_time(search: Callable[[int], object], n: int, repeats: int = 3) -> dict[str, float]:
    """Latencies of n questions, and how many a second that makes; the median of the repeats."""
    for i in range(min(n, 20)):
        search(i)
    runs = []
    for _ in range(repeats):
        seconds = []
        for i in range(n):
            start = time.perf_counter()
            search(i)
            seconds.append(time.perf_counter() - start)
        runs.append(seconds)
    rates = [n / sum(run) for run in runs]
    told = [percentiles_ms(run) for run in runs]
    return {**{name: round(statistics.median(each[name] for each in told), 3) for name in told[0]},
            "per_s": round(statistics.median(rates), 1)}


def together(search: Callable[[], object], n: int) -> float:
    """Questions a second, all asked at once: the median of the repeats, after a warm-up."""
    search()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        search()
        seconds.append(time.perf_counter() - start)
    return round(n / statistics.median(seconds), 1)


def blocks(matrix: FloatArray, rows: IntArray | None = None) -> list[tuple[IntArray, FloatArray]]:
    """(numbers, vectors) in pieces; documents are numbered from 1 as a collection does."""
    chosen = np.arange(len(matrix)) if rows is None else rows
    part = matrix if rows is None else matrix[rows]
    return [(chosen[start : start + BLOCK] + 1, part[start : start + BLOCK]) for start in range(0, len(part), BLOCK)]


def recall(found: Sequence[Ranking], right: Sequence[Ranking], matrix: FloatArray, queries: FloatArray) -> float:
    """Of the best K, the share that is found; a document that scores like the last of them is as good."""
    shares = []
    for query, mine, best in zip(queries, found, right, strict=True):
        wanted = min(K, len(best.ids))
        if wanted:
            scores = matrix[mine.ids[:K] - 1] @ query
            shares.append(min(wanted, int((scores >= best.scores[wanted - 1] - CLOSE).sum())) / wanted)
    return round(float(np.mean(shares)), 4)


def asked(queries: FloatArray) -> Embeddings:
    return Embeddings("lsa", np.ones(len(queries), np.int64), dense=queries)


def graph(follower: Follower, matrix: FloatArray, queries: FloatArray) -> dict[str, Any]:
    """The graph beside exact search."""
    n = len(queries)
    singles = [asked(queries[i : i + 1]) for i in range(n)]
    right = [Ranking(*best) for best in dense_top_k(queries, blocks(matrix), K)]
    found = follower.search(asked(queries), "dense", K, None)
    pieces = blocks(matrix)
    few = min(n, 100)
    by_graph = {"together_per_s": together(lambda: follower.search(asked(queries), "dense", K, None), n),
                **one_at_a_time(lambda i: follower.search(singles[i], "dense", K, None), n)}
    exact = {"together_per_s": together(lambda: dense_top_k(queries, pieces, K), n),
             **one_at_a_time(lambda i: dense_top_k(queries[i : i + 1], pieces, K), few, repeats=1)}
    by_engine = _engines_own(follower, queries, few)
    return {"recall_at_10": recall(found, right, matrix, queries), "graph": by_graph, "exact": exact,
            "exact_in_engine": by_engine,
            "ratio_one_at_a_time": round(by_graph["per_s"] / max(exact["per_s"], by_engine["per_s"]), 1),
            "ratio_together": round(by_graph["together_per_s"] / exact["together_per_s"], 1)}


def _engines_own(follower: Follower, queries: FloatArray, n: int) -> dict[str, float]:
    import qdrant_edge as engine

    index = follower._engine
    assert index is not None
    shard, params = index._opened(), engine.SearchParams(exact=True)
    listed = queries.tolist()

    def search(i: int) -> object:
        return shard.query(engine.QueryRequest(
            K, query=engine.Query.Nearest(listed[i], using="dense"), params=params, with_payload=False))

    return one_at_a_time(search, n, repeats=1)


def filters(follower: Follower, matrix: FloatArray, queries: FloatArray, n: int) -> dict[str, Any]:
    """Recall and speed under conditions."""
    fields = [document.fields for document in documents(n)]
    told = {}
    for name, written in FILTERS.items():
        where = Filter.parse(written)
        rows = np.flatnonzero([where.matches(each) for each in fields])
        right = [Ranking(*best) for best in dense_top_k(queries, blocks(matrix, rows), K)]
        found = follower.search(asked(queries), "dense", K, where)
        assert all(where.matches(fields[id - 1]) for mine in found for id in mine.ids.tolist())
        singles = [asked(queries[i : i + 1]) for i in range(len(queries))]
        told[name] = {"passing": len(rows), "recall_at_10": recall(found, right, matrix, queries),
                      **one_at_a_time(lambda i, w=where, s=singles: follower.search(s[i], "dense", K, w),
                                      len(queries), repeats=1)}
    return told


def sizes(collection: Collection, texts: Sequence[str]) -> dict[str, Any]:
    """Latency of searches from the text of the query to the texts of the hits."""
    told: dict[str, Any] = {}
    for name, kinds in (("dense", ["dense"]), ("sparse", ["sparse"]), ("hybrid", None)):
        told[name] = one_at_a_time(lambda i, kinds=kinds: collection.search(texts[i], K, kinds=kinds),
                                   len(texts), repeats=3)
        told[name]["together_per_s"] = together(
            lambda kinds=kinds: collection.search_many(texts, K, kinds=kinds), len(texts))
    return told


def case(n: int, parts: Sequence[str], n_queries: int) -> dict[str, Any]:
    path, making = made(n)
    matrix, queries = vectors(n)
    queries = queries[:n_queries]
    told: dict[str, Any] = {}
    before = memory_mb()
    with Collection.open(path) as collection:
        begun = time.perf_counter()
        collection.search("明月")
        opened_s = round(time.perf_counter() - begun, 3)
        follower = collection._follow()
        if "sizes" in parts:
            told["making"] = making
            told["open_and_search_s"] = opened_s
            told["search"] = sizes(collection, clips(documents(n), n_queries))
            told["disk_mb"] = {name: round(size / 1e6, 1) for name, size in collection.info()["size_bytes"].items()}
            told["memory_mb"] = {name: round(size - before[name], 1) for name, size in memory_mb().items()}
        if "graph" in parts:
            told.update(graph(follower, matrix, queries))
        if "filters" in parts:
            told["filters"] = filters(follower, matrix, queries, n)
    return told


def main() -> None:
    reading = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reading.add_argument("n_documents", nargs="*", type=int, default=[10_000, 50_000, 200_000])
    reading.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    reading.add_argument("--queries", type=int, default=1_000)
    chosen = reading.parse_args()
    for n in chosen.n_documents:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            told = pool.apply(case, (n, chosen.parts.split(","), chosen.queries))
        report("search", ["qdrant-edge-py", "rjieba", "numpy"], n_documents=n, dim=256, n_queries=chosen.queries, k=K,
               **told)


if __name__ == "__main__":
    main()
