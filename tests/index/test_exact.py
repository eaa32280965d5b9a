"""What is special about the index in memory: blocks, postings in parts, dead rows."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from by_hand import vectors
from numpy.testing import assert_array_equal

from qianru.index import exact
from qianru.index.exact import ExactIndex
from qianru.scores.exact import dense as dense_kernel
from qianru.types import Embeddings


def dense(array: np.ndarray) -> Embeddings:
    return Embeddings("random", np.zeros(len(array), np.int64), dense=array)


def test_blocks_change_no_answer_not_even_among_equals(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    array = random.standard_normal((40, 24)).astype(np.float32)[random.integers(0, 40, 500)]     # each about 12 times
    index = ExactIndex(["dense"], 24)
    index.add(np.arange(500), dense(array), [{}] * 500)
    queries = dense(random.standard_normal((9, 24)))
    whole = index.search(queries, "dense", 50)
    monkeypatch.setattr(exact, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(dense_kernel, "QUERIES_AT_ONCE", 2)
    for a, b in zip(whole, index.search(queries, "dense", 50), strict=True):
        assert_array_equal(a.ids, b.ids)
        assert_array_equal(a.scores, b.scores)
    scores = (array.astype(np.float64) @ queries.dense.astype(np.float32).T.astype(np.float64)).T.astype(np.float32)
    for ranking, row in zip(whole, scores, strict=True):
        assert_array_equal(ranking.ids, np.lexsort((np.arange(500), -row))[:50])


def test_one_row_at_a_time_leaves_few_parts_of_postings() -> None:
    index = ExactIndex(["sparse"])
    for i in range(300):
        index.add(np.array([i]), vectors(sparse=[{i % 3: 1.0 + i}]), [{}])
        (ranking,) = index.search(vectors(sparse=[{i % 3: 1.0}]), "sparse", 1)
        assert ranking.ids.tolist() == [i]
    assert index._postings.n_parts <= 6


def test_dead_rows_are_dropped_once_they_are_the_most() -> None:
    index = ExactIndex(["dense", "sparse"], 2)
    for _ in range(5):
        n = 1000
        index.add(np.arange(n), vectors([[i, 1] for i in range(n)], [{i % 10: 1.0} for i in range(n)]), [{}] * n)
    assert len(index) == 1000
    assert len(index._ids) <= 2000


def test_a_search_needs_memory_for_a_block_not_for_all_scores() -> None:
    n, q = 60_000, 512
    index = ExactIndex(["dense"], 4)
    random = np.random.default_rng(2)
    index.add(np.arange(n), dense(random.standard_normal((n, 4)).astype(np.float32)), [{}] * n)
    queries = dense(random.standard_normal((q, 4)))
    tracemalloc.start()
    index.search(queries, "dense", 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20      # all scores at once would be 117 MiB
