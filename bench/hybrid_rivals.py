"""Hybrid search (dense and words, fused by RRF) beside LanceDB, Milvus Lite and faiss + bm25s + RRF by hand.

    python bench/hybrid_rivals.py [n_documents]             # default 50000; one line of JSON
    python bench/hybrid_rivals.py 200000 --sides qianru,faiss
    python bench/hybrid_rivals.py 10000 --sides qianru,milvus --minutes 10

All sides get the same vectors, the same words (as numbers, so that no segmenter takes part) and the same queries, ready
made; each brings 100 candidates by either kind, fuses them with k = 60 and gives ten ids. Recall is of these ten beside
the same side's own words fused with exact dense candidates, so that a side is judged by its graph and not by its way to
weigh words; each side's graph is searched as little as gives 0.99, tried in rising order on the first queries. Queries
come one at a time. faiss's dense search alone is the upper bound that the issue names. Sides that are not installed are
left out. Each has a process of its own, with as many threads as it takes by default, and a side that has not ended
after its minutes is stopped and named as such.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import percentiles_ms, report
from poems_and_laws import cache, clips, documents, vectors
from search import asked, made, memory_mb

from qianru import Collection
from qianru.index import engine
from qianru.index.pipeline import Asked, fuse, retrieve
from qianru.index.plan import Plan
from qianru.index.shelf import Shelf
from qianru.scores import dense_top_k, fuse_rrf
from qianru.types import Embeddings, FloatArray, SparseRows

K = 10
DEEP = 100
WANTED = 0.99
N_QUERIES = 300
N_TUNED = 100
TUNING_S = 60.0             # a side that has not reached the recall by then goes on with what it has
JUDGING_S = 60.0            # for its own words of those queries; a side that is slower is judged by fewer of them
BUDGET_S = 4.0              # for one repeat of one side
REPEATS = 5
EFFORTS = (16, 32, 64, 100, 128, 192, 256, 384, 512, 768)

Search = Callable[[int], Sequence[int]]
"""Number of a query -> ids of hits, best first; a document's id is its row."""


class Words:
    """Counts of words of documents, weights of words as a collection of BM25 gives them to both sides."""

    def __init__(self, counts: SparseRows, weights: SparseRows, queries: SparseRows) -> None:
        self.counts, self.weights, self.queries = counts, weights, queries


def words(n: int, n_queries: int) -> Words:
    """From the collection, kept beside it."""
    kept = cache() / f"words-{n}-{n_queries}.npz"
    path, _ = made(n)
    if not kept.exists():
        counts, weights = [], []
        with Collection.open(path) as collection:
            collection.search("明月")
            follower = collection._follow()
            for rows in collection._storage.each_stored(0):
                counts.append(rows.embeddings.sparse)
                weights.append(follower.weighed(rows.embeddings).sparse)
            queries = collection.model.encode(clips(documents(n), n_queries), role="query", kinds=["sparse"]).sparse
        parts = {"counts": SparseRows.concat(counts), "weights": SparseRows.concat(weights), "queries": queries}
        np.savez(kept, **{f"{name}_{field}": getattr(rows, field) for name, rows in parts.items()
                          for field in ("offsets", "terms", "weights", "width")})
    with np.load(kept) as file:
        return Words(*(SparseRows(file[f"{name}_offsets"], file[f"{name}_terms"], file[f"{name}_weights"],
                                  int(file[f"{name}_width"])) for name in ("counts", "weights", "queries")))


def named(rows: SparseRows) -> list[list[str]]:
    """Each row's words, as names made of their numbers, as often as they are counted."""
    terms, weights = rows.terms.tolist(), rows.weights.tolist()
    return [[f"t{term}" for term, weight in zip(terms[a:b], weights[a:b], strict=True) for _ in range(round(weight))]
            for a, b in pairwise(rows.offsets.tolist())]


def present(rows: SparseRows) -> SparseRows:
    """Each word counted once: a query's words, whatever their weights."""
    return SparseRows(rows.offsets, rows.terms, np.ones_like(rows.weights), rows.width)


def qianru(n: int, n_queries: int) -> dict[str, Any]:
    path, making = made(n)
    told = words(n, n_queries)
    matrix, dense = vectors(n)
    dense = dense[:n_queries]
    texts = clips(documents(n), n_queries)
    plan = Plan(kinds=("dense", "sparse"), candidates=DEEP)
    with Collection.open(path) as collection:
        collection.search("明月")
        follower = collection._follow()
        shelf = Shelf(collection._storage, collection._follow, "float16")
        ones = [Embeddings("both", np.ones(1, np.int64), dense=dense[i : i + 1], sparse=told.queries.take([i]))
                for i in range(n_queries)]

        def by_effort(effort: int) -> Search:
            def hybrid(i: int) -> Sequence[int]:
                engine.SEARCH_EFFORT = effort
                found = retrieve(plan, shelf, Asked([texts[i]], ones[i], ("dense", "sparse"), K), DEEP)[0]
                ids, _ = fuse(plan, found)
                return (ids[:K] - 1).tolist()
            return hybrid

        def by_words(i: int) -> Sequence[int]:
            return (follower.search(ones[i], "sparse", DEEP, None)[0].ids - 1).tolist()

        usual = engine.SEARCH_EFFORT, engine.EFFORT_FOR
        engine.EFFORT_FOR = n               # so that the effort is what is said, whatever the size
        figures = measured({effort: by_effort(effort) for effort in EFFORTS}, by_words, matrix, dense)
        engine.SEARCH_EFFORT, engine.EFFORT_FOR = usual
        figures["dense_only"] = rate(lambda i: follower.search(asked(dense[i : i + 1]), "dense", K, None), n_queries)
        figures["words_only"] = rate(by_words, n_queries)
        figures["from_text_to_text"] = rate(lambda i: collection.search(texts[i], K), n_queries)
    return {"settings": f"m {engine.GRAPH_LINKS}, ef_construct {engine.GRAPH_EFFORT}",
            "versions": {"qdrant-edge-py": version("qdrant-edge-py")},
            "making_s": round(making["follow_s"] + making["graph_s"], 1), **figures}


def faiss(n: int, n_queries: int) -> dict[str, Any]:
    import bm25s
    import faiss as library

    told = words(n, n_queries)
    matrix, dense = vectors(n)
    dense = dense[:n_queries]
    begun = time.perf_counter()
    index = library.IndexHNSWFlat(matrix.shape[1], 16, library.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 128
    index.add(matrix)
    retriever = bm25s.BM25(method="lucene")
    retriever.index(named(told.counts), show_progress=False)
    making_s = time.perf_counter() - begun
    asked_words = named(present(told.queries))

    def by_words(i: int) -> Sequence[int]:
        known = [word for word in asked_words[i] if word in retriever.vocab_dict]
        return retriever.retrieve([known], k=DEEP, show_progress=False).documents[0].tolist() if known else []

    def by_effort(effort: int) -> Search:
        def hybrid(i: int) -> Sequence[int]:
            index.hnsw.efSearch = effort
            near = index.search(dense[i : i + 1], DEEP)[1][0].tolist()
            return by_hand([near, by_words(i)])
        return hybrid

    figures = measured({effort: by_effort(effort) for effort in EFFORTS if effort >= DEEP}, by_words, matrix, dense)
    best = np.array([row[-1] for _, row in exactly(matrix, dense, K)])
    for effort in EFFORTS:
        index.hnsw.efSearch = effort
        scores = index.search(dense, K)[0]
        recall = float((scores >= best[:, None] - 1e-5).mean())
        if recall >= WANTED:
            break
    figures["dense_only"] = {"effort": effort, "recall_at_10": round(recall, 4),
                             **rate(lambda i: index.search(dense[i : i + 1], K), n_queries)}
    figures["words_only"] = rate(by_words, n_queries)
    return {"settings": "IndexHNSWFlat, m 16, efConstruction 128; bm25s lucene",
            "versions": {"faiss-cpu": version("faiss-cpu"), "bm25s": version("bm25s")},
            "making_s": round(making_s, 1), **figures}


def lancedb(n: int, n_queries: int) -> dict[str, Any]:
    import lancedb as library
    from lancedb.query import MatchQuery
    from lancedb.rerankers import RRFReranker

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)        # it warns at every query that it will change one day
    told = words(n, n_queries)
    matrix, dense = vectors(n)
    dense = dense[:n_queries]
    texts, asked_words = named(told.counts), named(present(told.queries))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        table = library.connect(folder).create_table("documents", [
            {"id": i, "vector": vector, "words": " ".join(texts[i])} for i, vector in enumerate(matrix)])
        table.create_index(metric="dot", index_type="IVF_HNSW_SQ", num_partitions=1, m=16, ef_construction=128)
        table.create_fts_index("words", base_tokenizer="whitespace", lower_case=False, stem=False,
                               remove_stop_words=False, ascii_folding=False)
        making_s = time.perf_counter() - begun
        fusion = RRFReranker(K=60)
        questions = [MatchQuery(" ".join(each), "words") for each in asked_words]

        def by_words(i: int) -> Sequence[int]:
            found = table.search(questions[i], query_type="fts").select(["id"]).limit(DEEP).to_arrow()
            return found["id"].to_pylist()

        def by_effort(effort: int) -> Search:
            def hybrid(i: int) -> Sequence[int]:
                query = table.search(query_type="hybrid").vector(dense[i]).text(questions[i]).limit(DEEP)
                query = query.nprobes(1).ef(effort).refine_factor(1).rerank(fusion).select(["id"])
                return query.to_arrow()["id"].to_pylist()[:K]
            return hybrid

        figures = measured({effort: by_effort(effort) for effort in EFFORTS if effort >= DEEP}, by_words, matrix, dense)
        figures["words_only"] = rate(by_words, n_queries)
    return {"settings": "IVF_HNSW_SQ of one partition, m 16, ef_construction 128, refined in float32; full-text index",
            "versions": {"lancedb": version("lancedb")}, "making_s": round(making_s, 1), **figures}


def milvus(n: int, n_queries: int) -> dict[str, Any]:
    from pymilvus import AnnSearchRequest, DataType, MilvusClient, RRFRanker

    told = words(n, n_queries)
    matrix, dense = vectors(n)
    dense = dense[:n_queries]

    def dictionaries(rows: SparseRows) -> list[dict[int, float]]:
        terms, weights = rows.terms.tolist(), rows.weights.tolist()
        return [dict(zip(terms[a:b], weights[a:b], strict=True)) for a, b in pairwise(rows.offsets.tolist())]

    stored, questions = dictionaries(told.weights), dictionaries(told.queries)
    with tempfile.TemporaryDirectory() as folder:
        client = MilvusClient(str(Path(folder) / "milvus.db"))
        begun = time.perf_counter()
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("dense", DataType.FLOAT_VECTOR, dim=matrix.shape[1])
        schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
        client.create_collection("documents", schema=schema)
        for start in range(0, n, 2_000):
            client.insert("documents", [{"id": i, "dense": matrix[i], "sparse": stored[i] or {0: 0.0}}
                                        for i in range(start, min(start + 2_000, n))])
        client.flush("documents")           # until then every search makes the index of all words anew
        kind = _milvus_index(client)
        making_s = time.perf_counter() - begun

        def by_words(i: int) -> Sequence[int]:
            found = client.search("documents", [questions[i]], anns_field="sparse", limit=DEEP, output_fields=["id"],
                                  search_params={"metric_type": "IP"})
            return [hit["id"] for hit in found[0]]

        def by_effort(effort: int) -> Search:
            params = {"ef": effort} if kind == "HNSW" else {"nprobe": max(1, effort // 8)}

            def hybrid(i: int) -> Sequence[int]:
                requests = [
                    AnnSearchRequest([dense[i].tolist()], "dense", {"metric_type": "IP", "params": params}, DEEP),
                    AnnSearchRequest([questions[i]], "sparse", {"metric_type": "IP"}, DEEP),
                ]
                found = client.hybrid_search("documents", requests, RRFRanker(60), limit=K, output_fields=["id"])
                return [hit["id"] for hit in found[0]]
            return hybrid

        figures = measured({effort: by_effort(effort) for effort in EFFORTS if effort >= DEEP}, by_words, matrix, dense)
        figures["words_only"] = rate(by_words, n_queries)
        client.close()
    return {"settings": f"{kind} and SPARSE_INVERTED_INDEX",
            "versions": {name: version(name) for name in ("pymilvus", "milvus-lite")},
            "making_s": round(making_s, 1), **figures}


def _milvus_index(client: Any) -> str:
    """Builds the best index of dense vectors that this version has, and tells its name."""
    for kind, params in (("HNSW", {"M": 16, "efConstruction": 128}), ("IVF_FLAT", {"nlist": 256})):
        indexes = client.prepare_index_params()
        indexes.add_index("dense", index_type=kind, metric_type="IP", params=params)
        indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        try:
            client.create_index("documents", indexes)
            client.load_collection("documents")
        except Exception as error:                  # its own class in every version; the next kind is tried
            refused = f"{kind}: {error}"
            continue
        return kind
    raise SystemExit(f"Milvus Lite builds none of these indexes. {refused}")


SIDES = {"qianru": (qianru, "qdrant_edge"), "faiss": (faiss, "faiss"), "lancedb": (lancedb, "lancedb"),
         "milvus": (milvus, "milvus_lite")}


def by_hand(rankings: Sequence[Sequence[int]], k: float = 60) -> list[int]:
    """Reciprocal rank fusion as one writes it down."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, id in enumerate(ranking, 1):
            scores[id] = scores.get(id, 0.0) + 1 / (k + rank)
    return sorted(scores, key=lambda id: (-scores[id], id))[:K]


def exactly(matrix: FloatArray, dense: FloatArray, k: int) -> list[tuple[Any, Any]]:
    return list(dense_top_k(dense, [(np.arange(len(matrix)), matrix)], k))


def measured(by_effort: dict[int, Search], by_words: Search, matrix: FloatArray, dense: FloatArray) -> dict[str, Any]:
    """The least effort that reaches the recall on the first queries, and its recall and speed on all."""
    right: list[set[int]] = []
    until = time.perf_counter() + JUDGING_S
    for i, (near, _) in enumerate(exactly(matrix, dense[:N_TUNED], DEEP)):
        if right and time.perf_counter() > until:
            break
        ids, scores = fuse_rrf([(near, near), (np.array(list(by_words(i)), np.int64),) * 2])
        last = scores[min(K, len(scores)) - 1] - 1e-9         # an equal sum is as good
        right.append(set(ids[scores >= last].tolist()))

    def recall(search: Search) -> float:
        return float(np.mean([len(ids & set(search(i)[:K])) / K for i, ids in enumerate(right)]))

    until = time.perf_counter() + TUNING_S
    for effort, search in by_effort.items():            # noqa: B007
        share = recall(search)
        if share >= WANTED or time.perf_counter() > until:
            break
    return {"effort": effort, "n_judged": len(right), "recall_at_10": round(share, 4), **rate(search, len(dense)),
            "memory_mb": memory_mb()}


def rate(search: Callable[[int], object], n: int) -> dict[str, Any]:
    """Queries a second and latencies; of the repeats the median, none longer than the budget allows."""
    runs = []
    until = time.perf_counter() + BUDGET_S
    for i in range(min(n, 10)):
        search(i)
        if time.perf_counter() > until:
            break
    for _ in range(REPEATS):
        seconds: list[float] = []
        for i in range(n):
            start = time.perf_counter()
            search(i)
            seconds.append(time.perf_counter() - start)
            if sum(seconds) > BUDGET_S:
                break
        runs.append(seconds)
    rates = [len(run) / sum(run) for run in runs]
    return {"per_s": round(statistics.median(rates), 1), "spread_per_s": [round(min(rates), 1), round(max(rates), 1)],
            **percentiles_ms([second for run in runs for second in run])}


def alone(work: Callable[[int, int], Any], n: int, n_queries: int, minutes: float) -> Any:
    """What a side tells, in a process of its own; a line where it fails or does not end in time.

    It leads a group of processes, which are killed with it: Milvus Lite's own, for one.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(there, work, n, n_queries))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(60 * minutes) else f"did not end within {minutes:g} minutes"
    except EOFError:
        return "ended without an answer"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _tell(there: Any, work: Callable[[int, int], Any], n: int, n_queries: int) -> None:
    os.setsid()
    try:
        there.send(work(n, n_queries))
    except Exception as error:              # a rival that fails costs its own line, not the others'
        there.send(f"failed: {type(error).__name__}: {error}"[:300])


def main() -> None:
    reading = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reading.add_argument("n_documents", nargs="?", type=int, default=50_000)
    reading.add_argument("--sides", default=",".join(SIDES), help="of " + ", ".join(SIDES))
    reading.add_argument("--queries", type=int, default=N_QUERIES)
    reading.add_argument("--minutes", type=float, default=20, help="for each side, making included")
    chosen = reading.parse_args()
    n, n_queries = chosen.n_documents, chosen.queries
    words(n, n_queries)
    vectors(n)
    told: dict[str, Any] = {}
    for name in chosen.sides.split(","):
        work, module = SIDES[name]
        if find_spec(module) is None:
            told[name] = "not installed"
            continue
        told[name] = alone(work, n, n_queries, chosen.minutes)
        print(name, json.dumps(told[name], ensure_ascii=False), flush=True, file=sys.stderr)
    ratios = {}
    if isinstance(ours := told.get("qianru"), dict):
        ratios = {f"to_{name}": round(ours["per_s"] / side["per_s"], 2) for name, side in told.items()
                  if name != "qianru" and isinstance(side, dict)}
        if isinstance(told.get("faiss"), dict):
            ratios["to_faiss_dense_only"] = round(ours["per_s"] / told["faiss"]["dense_only"]["per_s"], 2)
    report("hybrid_rivals", ["numpy"], n_documents=n, dim=256, n_queries=n_queries, candidates=DEEP, k=K, **told,
           ratio=ratios)


if __name__ == "__main__":
    main()
