"""Exact evaluation of retrieval over large corpora: what it finds, how long it takes, what memory it needs.

    python bench/retrieval_eval.py                      # every case in a process of its own; a line of JSON each
    python bench/retrieval_eval.py poems --n 20000      # one case, smaller
    python bench/retrieval_eval.py mteb                 # mteb's way over the same; in an environment that has mteb

poems       real passages (lines of poems, bilingual sentences) with 768-dimensional vectors of hashed character pairs:
            5,000 queries, each the second half of a passage; then the scoring alone beside the machine's own GEMM
t2ranking   2.3 million vectors drawn at random: the size of all of T2Ranking, on the same path
bm25        BM25 over the real passages;  multi: 20,000 passages of 60 vectors of 128 dimensions
mteb        the vectors of poems behind mteb's encoder interface

peak_mb is what the process takes of its own beyond what it had when the model was ready.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from common import data_folder, peak_rss_mb, read_text, report

from qianru.evaluate.encode import Encoder
from qianru.evaluate.ranking_metrics import means, ranking_metrics
from qianru.evaluate.search import Ids, SearchPlan, search, unit
from qianru.models.base import ModelSpec
from qianru.scores.exact import dense_top_k
from qianru.types import Embeddings, Ragged

DIM, BUCKETS, SEED = 768, 1 << 14, 7
K = 100       # documents kept for each query: what recall@100 needs
SIZES = {"poems": 500_000, "t2ranking": 2_300_000, "bm25": 500_000, "multi": 20_000, "mteb": 500_000}
BUDGETS = {"poems": 2 << 30, "t2ranking": 3 << 30, "bm25": 2 << 30, "multi": 2 << 30}
PACKAGES = ["numpy", "qianru"]
Corpus = Callable[[], Iterator[tuple[str, str]]]


class HashedStatic:
    """768-dimensional vectors: for each pair of characters, by its hash, a random one; their sum."""

    spec = ModelSpec("hashed-static", "bench", ("dense",), "0" * 64, DIM)

    def __init__(self) -> None:
        self.table = np.random.default_rng(SEED).standard_normal((BUCKETS, DIM)).astype(np.float32)

    def encode(self, texts: Iterable[str], **_: Any) -> Embeddings:
        """The vectors."""
        from scipy.sparse import csr_matrix

        listed = list(texts)
        codes = [np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64) for text in listed]
        lengths = [max(len(code) - 1, 0) for code in codes]
        first, second = np.uint64(40_503), np.uint64(2_654_435_761)
        pairs = np.concatenate([(code[:-1] * first + code[1:] * second) % np.uint64(BUCKETS) for code in codes])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        counts = csr_matrix((np.ones(len(pairs), np.float32), pairs.astype(np.int32), offsets), (len(listed), BUCKETS))
        return Embeddings("hashed-static", np.array(lengths), dense=counts @ self.table)


class Drawn:
    """Vectors drawn at random for the number that a text is."""

    def __init__(self, dim: int, tokens: int = 0) -> None:
        self.dim, self.tokens = dim, tokens
        self.spec = ModelSpec("drawn", "bench", ("multi",) if tokens else ("dense",), "1" * 64, dim)

    def encode(self, texts: Iterable[str], **_: Any) -> Embeddings:
        """The vectors: of a block from the block's first number."""
        listed = list(texts)
        n = len(listed) * max(self.tokens, 1)
        vectors = np.random.default_rng(crc32(listed[0].encode())).standard_normal((n, self.dim), np.float32)
        lengths = np.full(len(listed), max(self.tokens, 1))
        if not self.tokens:
            return Embeddings("drawn", lengths, dense=vectors)
        return Embeddings("drawn", lengths, multi=Ragged(unit(vectors), np.concatenate([[0], np.cumsum(lengths)])))


def passages(n: int) -> list[str]:
    """The first n different lines of poems and bilingual sentences that have a second half to ask for."""
    def lines() -> Iterator[str]:
        yield from (line.replace("\t", " ") for line in
                    read_text(data_folder() / "train" / "pairs" / "tatoeba_cmn_eng.txt.gz").splitlines())
        with tarfile.open(data_folder() / "train" / "text" / "chinese_poetry.tar.xz") as packed:
            for member in packed:
                handle = packed.extractfile(member) if member.name.endswith(".json") else None
                said = json.loads(handle.read()) if handle is not None else []
                for poem in said if isinstance(said, list) else []:
                    lines = poem.get("paragraphs", []) if isinstance(poem, dict) else []
                    yield from ("".join(map(str, lines[i : i + 2])) for i in range(0, len(lines), 2))
        with tarfile.open(data_folder() / "train" / "bitext" / "classical_modern_92books.tar.xz") as packed:
            for member in packed:
                handle = packed.extractfile(member) if member.isfile() else None
                if handle is not None:
                    yield from handle.read().decode("utf-8", "replace").splitlines()

    chosen = list(islice(dict.fromkeys(line.strip() for line in lines() if 12 <= len(line.strip()) <= 400), n))
    if len(chosen) < n:
        sys.exit(f"There are only {len(chosen):,} passages; ask for no more with --n.")
    return chosen


def questions(texts: Sequence[str], n: int) -> tuple[list[int], list[str]]:
    """(rows, second halves) of passages spread evenly."""
    rows = np.linspace(0, len(texts) - 1, n).astype(int).tolist()
    return rows, [texts[row][len(texts[row]) // 2 :] for row in rows]


class Watch:
    """The most that the process takes of its own beyond what it had."""

    def __enter__(self) -> Watch:
        self.before = self.peak = _own()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._begun = time.perf_counter()
        return self

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, _own())

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        self._stop.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        return {"seconds": round(self.seconds, 2), "peak_mb": round((self.peak - self.before) / 2**20, 1),
                "peak_rss_mb": peak_rss_mb()}


def _own() -> int:
    """Bytes of anonymous memory: files that are mapped are the system's to drop."""
    said = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"Anonymous:\s+(\d+) kB", said)
    assert found is not None
    return int(found.group(1)) * 1024


def found_grades(ids: Ids, rankings: Iterator[Any], rows: Sequence[int]) -> np.ndarray[Any, Any]:
    """(q, K) 1 where the passage that the query is of was found."""
    right = ids.numbers([str(row) for row in rows])
    grades = np.zeros((len(rows), K), np.int32)
    for line, number, (numbers, _) in zip(grades, right, rankings, strict=True):
        line[: len(numbers)] = numbers == number
    return grades


def judged(grades: np.ndarray[Any, Any]) -> dict[str, float]:
    scores = means(ranking_metrics(grades, [np.array([1])] * len(grades)))
    return {name: round(scores[name], 5) for name in ("ndcg_at_10", "recall_at_100")}


def over_texts(case: str, n: int, n_queries: int) -> None:
    """Real passages: dense vectors, or BM25."""
    texts = passages(n)
    rows, asked = questions(texts, n_queries)

    def corpus() -> Iterator[tuple[str, str]]:
        return ((str(i), text) for i, text in enumerate(texts))

    if case == "bm25":
        from qianru.evaluate.fitting import BLOCK_TEXTS, fresh_bm25

        model: Any = fresh_bm25().fit([])
        begun = time.perf_counter()
        for start in range(0, n, BLOCK_TEXTS):
            model.add(texts[start : start + BLOCK_TEXTS])
        fitted: dict[str, Any] = {"fit_s": round(time.perf_counter() - begun, 2)}
    else:
        model, fitted = HashedStatic(), {}
        model.encode(["暖身"])
    encoder = Encoder(model, model.spec.kinds)
    with Watch() as watch:
        ids = Ids.of(corpus)
        queries = encoder.encode(asked, "query")
        grades = found_grades(ids, search(encoder, queries, corpus, ids, SearchPlan(K, None, BUDGETS[case])), rows)
    report(f"retrieval_eval/{case}", PACKAGES, n=n, queries=n_queries, **judged(grades), **fitted, **watch.figures(),
           **(scoring_alone(model, texts, asked) if case == "poems" else {}))


def scoring_alone(model: HashedStatic, texts: Sequence[str], asked: Sequence[str]) -> dict[str, float]:
    """Gflop/s of the search over vectors that lie ready in a mapped file, and of the machine's GEMM around it."""
    with tempfile.NamedTemporaryFile() as place:
        vectors = np.memmap(place.name, np.float32, "w+", shape=(len(texts), DIM))
        for start in range(0, len(texts), 4096):
            dense = model.encode(texts[start : start + 4096]).dense
            assert dense is not None
            vectors[start : start + len(dense)] = unit(dense)
        made = model.encode(asked).dense
        assert made is not None
        queries, work = unit(made), 2 * len(texts) * len(asked) * DIM
        dense_top_k(queries, ((np.arange(i, i + 4096), vectors[:4096]) for i in range(0, 16 * 4096, 4096)), K)
        peaks, speeds = [gemm()], []
        for _ in range(3):
            with Speed(work) as speed:
                dense_top_k(queries, ((np.arange(i, min(i + 4096, len(texts))), vectors[i : i + 4096])
                                      for i in range(0, len(texts), 4096)), K)
            speeds.append(speed)
            peaks.append(gemm())
    ours, machine = (np.median([(one.wall, one.processor) for one in some], axis=0) for some in (speeds, peaks))
    return {"scoring_gflops": round(ours[0], 1), "gemm_gflops": round(machine[0], 1),
            "share_of_gemm": round(ours[0] / machine[0], 3), "share_by_processor_time": round(ours[1] / machine[1], 3)}


class Speed:
    """Gflop/s of some work, by the clock and, where others work beside us, by a second of one processor."""

    def __init__(self, flop: float) -> None:
        self._flop = flop

    def __enter__(self) -> Speed:
        self._begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = self._flop / (time.perf_counter() - self._begun[0]) / 1e9
        self.processor = self._flop / (time.process_time() - self._begun[1]) / 1e9


def gemm() -> Speed:
    """NumPy's float32 product of 1,024 x 768 with 768 x 4,096, the machine's best of what a search is made of."""
    a, b = np.ones((1024, DIM), np.float32), np.ones((4096, DIM), np.float32)
    out = a @ b.T
    with Speed(20 * 2 * 1024 * 4096 * DIM) as speed:
        for _ in range(20):
            np.matmul(a, b.T, out=out)
    return speed


def over_numbers(case: str, n: int, n_queries: int) -> None:
    """Vectors drawn at random: nothing but size, time and memory."""
    model = Drawn(128, tokens=60) if case == "multi" else Drawn(DIM)
    encoder = Encoder(model, model.spec.kinds)     # type: ignore[arg-type]

    def corpus() -> Iterator[tuple[str, str]]:
        return ((str(i), f"{i}") for i in range(n))

    asking = Drawn(128, tokens=12) if case == "multi" else model
    queries = asking.encode([f"问{i}" for i in range(n_queries)])
    with Watch() as watch:
        ids = Ids.of(corpus)
        rankings = list(search(encoder, queries, corpus, ids, SearchPlan(K, None, BUDGETS[case])))
    assert len(rankings) == n_queries
    report(f"retrieval_eval/{case}", PACKAGES, n=n, queries=n_queries, **watch.figures())


def over_mteb(n: int, n_queries: int) -> None:
    """mteb's own path over the passages of poems, with the same vectors."""
    import mteb
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta

    texts = passages(n)
    rows, asked = questions(texts, n_queries)
    static = HashedStatic()

    class Static(AbsEncoder):  # type: ignore[misc]
        mteb_model_meta = ModelMeta.create_empty({"name": "qianru/hashed-static", "revision": "1"})

        def __init__(self) -> None:
            """Nothing to load."""

        def encode(self, inputs: Any, **_: Any) -> Any:
            return np.concatenate([static.encode(batch["text"]).dense for batch in inputs])

    class Poems(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = TaskMetadata(name="Poems", description="-", type="Retrieval", category="t2t", eval_splits=["test"],
                                eval_langs=["cmn-Hans"], main_score="ndcg_at_10",
                                dataset={"path": "local/none", "revision": "1"})

        def load_data(self, **_: Any) -> None:
            self.dataset = {"default": {"test": {
                "corpus": Dataset.from_dict({"id": list(map(str, range(n))), "title": [""] * n, "text": texts}),
                "queries": Dataset.from_dict({"id": [f"q{i}" for i in range(n_queries)], "text": asked}),
                "relevant_docs": {f"q{i}": {str(row): 1} for i, row in enumerate(rows)}, "top_ranked": None}}}
            self.data_loaded = True

    with Watch() as watch:
        result = mteb.evaluate(Static(), Poems(), cache=None, show_progress_bar=False, co2_tracker=False,
                               encode_kwargs={"batch_size": 4096})
    (entry,) = result.task_results[0].scores["test"]
    report("retrieval_eval/mteb", ["numpy", "mteb"], n=n, queries=n_queries, ndcg_at_10=entry["ndcg_at_10"],
           recall_at_100=entry["recall_at_100"], **watch.figures())


def main() -> None:
    """Runs the cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["poems", "t2ranking", "bm25", "multi"], metavar="CASE")
    parser.add_argument("--n", type=int, help="Documents; else as many as the case says.")
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for case in given.cases:
        n = given.n or SIZES[case]
        if not given.here:
            subprocess.run([sys.executable, __file__, case, "--n", str(n), "--queries", str(given.queries), "--here"],
                           check=True)
        elif case == "mteb":
            over_mteb(n, given.queries)
        elif case in ("poems", "bm25"):
            over_texts(case, n, given.queries)
        else:
            over_numbers(case, n, min(given.queries, 200) if case == "multi" else given.queries)


if __name__ == "__main__":
    main()
