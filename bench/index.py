"""The Civil Code and four novels indexed and searched, beside bm25s with jieba's words, on the same passages.

    python bench/index.py [max_chars …]      # one line of JSON for each size of passages; each side in its own process
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import data_folder, peak_rss_mb, percentiles_ms, report

from qianru import Collection, Document
from qianru.index.folder import Reading, add_folder
from qianru.text.chunk import chunk
from qianru.text.read import Source, read_file, scan

K = 10
N_QUERIES = 1_000
REPEATS = 5


def paths() -> list[Path]:
    articles = data_folder() / "articles"
    names = ["民法典", "西游记.txt", "三国演义.txt.gz", "水浒传.txt.gz", "红楼梦.txt.gz"]
    return [articles / name for name in names]


def passages(max_chars: int) -> list[str]:
    sources = [source for path in paths() for file in scan(path).files for source in read_file(file)]
    return [piece.text for source in sources if isinstance(source, Source)
            for piece in chunk(source, max_chars=max_chars, overlap=0)]


def questions(texts: list[str]) -> list[str]:
    """Clips of 8 to 16 characters, as somebody remembers a line."""
    chance = random.Random(20261121)
    clips = []
    while len(clips) < N_QUERIES:
        text = chance.choice(texts)
        length = chance.randint(8, 16)
        if len(text) > length:
            start = chance.randrange(len(text) - length)
            clips.append(text[start : start + length].replace("\n", " "))
    return clips


def latencies(search: Callable[[str], object], asked: list[str]) -> list[float]:
    seconds = []
    for query in asked:
        start = time.perf_counter()
        search(query)
        seconds.append(time.perf_counter() - start)
    return seconds


def timings(
    search: Callable[[str], object], together: Callable[[list[str]], object], asked: list[str]
) -> dict[str, Any]:
    """Latency of one query at a time, over all repeats; seconds per query of all at once, median of the repeats."""
    latencies(search, asked[:100])
    single = [second for _ in range(REPEATS) for second in latencies(search, asked)]
    batches = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        together(asked)
        batches.append((time.perf_counter() - start) / len(asked))
    return {**percentiles_ms(single), "mean_ms": round(sum(single) / len(single) * 1e3, 4),
            "together_ms": round(sorted(batches)[REPEATS // 2] * 1e3, 4)}


def ours(texts: list[str], asked: list[str], folder: Path) -> dict[str, Any]:
    before = peak_rss_mb()
    Collection.create(folder / "c").close()
    start = time.perf_counter()
    with Collection.open(folder / "c") as collection:
        collection.add([Document(str(i), text) for i, text in enumerate(texts)])
        stored = time.perf_counter() - start
        collection.search("准备")         # the engine has followed
        ready = time.perf_counter() - start
        index = collection._follow()
        index._too_many = True            # at first by the engine alone
        cold = timings(lambda query: collection.search(query, K), lambda all: collection.search_many(all, K), asked)
        model = collection.model

        def ids_only(query: str) -> object:
            return index.search(model.encode([query], role="query"), "sparse", K, None)

        def ids_together(queries: list[str]) -> object:
            return index.search(model.encode(queries, role="query"), "sparse", K, None)

        cold["ids_only"] = timings(ids_only, ids_together, asked)      # without fetching texts, as the rival
        index._too_many = False
        while index._postings is None:    # as many queries as documents, and they are in memory
            ids_together(asked)
        start = time.perf_counter()
        while time.perf_counter() - start < 5:      # numba compiles at the first use, and is loaded when it pays
            ids_together(asked)
        warm = timings(lambda query: collection.search(query, K), lambda all: collection.search_many(all, K), asked)
        warm["ids_only"] = timings(ids_only, ids_together, asked)
        sizes = collection.info()["size_bytes"]
    start = time.perf_counter()
    with Collection.open(folder / "c") as collection:
        collection.search("准备")
        reopened = time.perf_counter() - start
    return {"stored_s": stored, "index_s": ready, "reopen_and_search_s": reopened,
            "query": cold, "query_in_memory": warm,
            "size_mb": {name: round(size / 1e6, 1) for name, size in sizes.items()},
            "rss_mb": round(peak_rss_mb() - before, 1)}


def theirs(texts: list[str], asked: list[str], folder: Path) -> dict[str, Any]:
    before = peak_rss_mb()
    import bm25s
    import jieba

    jieba.setLogLevel(logging.ERROR)
    jieba.initialize()                    # its dictionary is not counted
    start = time.perf_counter()
    words = [jieba.lcut(text) for text in texts]
    segmented = time.perf_counter() - start
    retriever = bm25s.BM25(method="lucene")
    retriever.index(words, show_progress=False)
    ready = time.perf_counter() - start
    retriever.save(folder / "bm25s")

    def search(query: str) -> object:
        return retriever.retrieve([jieba.lcut(query)], k=K, show_progress=False)

    def together(queries: list[str]) -> object:
        return retriever.retrieve([jieba.lcut(query) for query in queries], k=K, show_progress=False)

    size = sum(file.stat().st_size for file in (folder / "bm25s").rglob("*") if file.is_file())
    return {"segment_s": segmented, "index_s": ready, "query": timings(search, together, asked),
            "size_mb": round(size / 1e6, 1), "rss_mb": round(peak_rss_mb() - before, 1)}


def alone(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The work in a fresh process, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def from_files() -> dict[str, Any]:
    """The whole way from files on the disk, as `qianru index` goes it."""
    with tempfile.TemporaryDirectory() as folder, Collection.create(Path(folder) / "c") as collection:
        start = time.perf_counter()
        told = add_folder(collection, paths(), Reading())
        collection.search("准备")
        seconds = time.perf_counter() - start
        n = collection.count()
    size = sum(len(source.text.encode()) for path in paths() for file in scan(path).files
               for source in read_file(file) if isinstance(source, Source))
    return {"files": told.n_files, "passages": n, "seconds": round(seconds, 3), "text_mb": round(size / 1e6, 2),
            "mb_per_s": round(size / 1e6 / seconds, 2), "passages_per_s": round(n / seconds)}


def main() -> None:
    for max_chars in [int(each) for each in sys.argv[1:]] or [300, 100]:
        texts = passages(max_chars)
        asked = questions(texts)
        with tempfile.TemporaryDirectory() as folder:
            sides = {"qianru": [], "bm25s": []}      # type: dict[str, list[dict[str, Any]]]
            for turn in range(3):                  # by turns, since the machine's speed changes
                for name, work in (("qianru", ours), ("bm25s", theirs)):
                    place = Path(folder) / f"{name}{turn}"
                    place.mkdir()
                    sides[name].append(alone(work, texts, asked, place))
        best = {name: sorted(runs, key=lambda run: run["index_s"])[1] for name, runs in sides.items()}      # the median
        a, b = best["qianru"], best["bm25s"]
        report("index", ["qdrant-edge-py", "rjieba", "bm25s", "jieba", "numpy"], max_chars=max_chars,
               passages=len(texts), characters=sum(map(len, texts)), queries=len(asked), k=K, **best,
               ratio={"index": round(b["index_s"] / a["index_s"], 2),
                      "query_p50": round(b["query"]["p50_ms"] / a["query"]["ids_only"]["p50_ms"], 2),
                      "query_p99": round(b["query"]["p99_ms"] / a["query"]["ids_only"]["p99_ms"], 2),
                      "queries_together": round(b["query"]["together_ms"] / a["query"]["ids_only"]["together_ms"], 2)})
    print(json.dumps({"benchmark": "index from files", **alone(from_files)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
