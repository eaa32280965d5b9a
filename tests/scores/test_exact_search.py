"""Exact search: the same answers as a slow and obvious loop, for every kind, block size and precision."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.scores import Postings, dense_top_k, maxsim_candidates, maxsim_top_k, sparse_top_k
from qianru.scores.exact import PRECISIONS, DenseSearch, Precision, dense, maxsim, sparse
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray, Ragged, SparseRows


@contextmanager
def backend(with_numba: bool) -> Iterator[None]:
    """With or without numba, however small the work is."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (dense, maxsim, sparse):
            patch.setattr(module, "has_numba", lambda: with_numba)
            patch.setattr(module, "WORTH_COMPILED", -1)
        yield


small = st.integers(-3, 3).map(float)       # so that sums are exact and many are equal


def in_blocks(ids: IntArray, size: int, cut: Callable[[slice], object]) -> Iterator[tuple[IntArray, object]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size], cut(slice(start, start + size))


def best_by_hand(ids: IntArray, scores: Sequence[float | None], k: int) -> tuple[list[int], list[float]]:
    found = sorted((-score, int(id)) for id, score in zip(ids, scores, strict=True) if score is not None)[:k]
    return [id for _, id in found], [-score for score, _ in found]


def same(ranking: Ranked, expected: tuple[list[int], list[float]]) -> None:
    assert ranking[0].tolist() == expected[0]
    assert_array_equal(ranking[1], np.array(expected[1], np.float32))


@st.composite
def dense_case(draw: st.DrawFn) -> tuple[FloatArray, FloatArray]:
    d = draw(st.sampled_from([1, 2, 5, 8, 17]))
    queries = draw(arrays(np.float32, (draw(st.integers(0, 3)), d), elements=small))
    return queries, draw(arrays(np.float32, (draw(st.integers(0, 20)), d), elements=small))


@pytest.mark.parametrize("with_numba", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(deadline=None, max_examples=50)
@given(case=dense_case(), k=st.integers(0, 8), size=st.integers(1, 7))
def test_dense_is_what_a_loop_finds(
    precision: Precision, with_numba: bool, case: tuple[FloatArray, FloatArray], k: int, size: int
) -> None:
    queries, documents = case
    ids = np.arange(len(documents))[::-1] * 3
    with backend(with_numba):
        found = dense_top_k(queries, in_blocks(ids, size, documents.__getitem__), k, precision=precision)
    assert len(found) == len(queries)
    for ranking, query in zip(found, queries, strict=True):
        same(ranking, best_by_hand(ids, [float(query @ document) for document in documents], k))


def sparse_rows(rows: list[dict[int, float]]) -> SparseRows:
    return SparseRows.from_rows(rows, 8)


rows = st.dictionaries(st.integers(0, 7), small.filter(bool), max_size=5)


@pytest.mark.parametrize("with_numba", [True, False])
@settings(deadline=None)    # the first call compiles
@given(st.lists(rows, max_size=3), st.lists(rows, max_size=20), st.integers(0, 8), st.integers(1, 7))
def test_sparse_is_what_a_loop_finds(
    with_numba: bool, asked: list[dict[int, float]], told: list[dict[int, float]], k: int, size: int
) -> None:
    ids = np.arange(len(told))[::-1] * 3
    queries, documents = sparse_rows(asked), sparse_rows(told)
    with backend(with_numba):
        found = sparse_top_k(queries, in_blocks(ids, size, lambda part: sparse_rows(told[part])), k)
        whole = Postings(ids, documents).top_k(queries, k)
    for ranking, again, query in zip(found, whole, asked, strict=True):
        scores = [sum(weight * row[term] for term, weight in query.items() if term in row) or None for row in told]
        same(ranking, best_by_hand(ids, scores, k))
        assert_array_equal(ranking[0], again[0])
        assert_array_equal(ranking[1], again[1])


@pytest.mark.parametrize("with_numba", [True, False])
def test_many_documents_are_searched_in_parts_and_threads(with_numba: bool) -> None:
    """More than the compiled code sums at a time, equal scores across its borders, documents that may not be found."""
    chance = np.random.default_rng(3)
    n, ids = 20_000, np.arange(20_000)
    told = [{int(term): float(chance.integers(1, 4)) for term in chance.zipf(1.3, 6) if term < 40} for _ in range(n)]
    asked = [{int(term): float(chance.integers(1, 3)) for term in chance.integers(1, 50, 4)} for _ in range(9)]
    queries, documents = SparseRows.from_rows(asked, 50), SparseRows.from_rows(told, 40)
    able = chance.random(n) < 0.3
    scores = np.zeros((9, n))
    for i, query in enumerate(asked):
        for term, weight in query.items():
            scores[i, [term in row for row in told]] += [weight * row[term] for row in told if term in row]
    with backend(with_numba), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "WORTH_A_THREAD", 1)
        patch.setattr(sparse, "PART_WEIGHTS", 30_000)
        postings = Postings(ids, documents)
        for found, row in zip(postings.top_k(queries, 100, able=able, n_threads=3), np.where(able, scores, 0),
                              strict=True):
            same(found, best_by_hand(ids, [score or None for score in row.tolist()], 100))
        for found, row in zip(sparse_top_k(queries, [(ids, documents)], 20, n_threads=2), scores, strict=True):
            same(found, best_by_hand(ids, [score or None for score in row.tolist()], 20))


def ragged(parts: list[FloatArray], d: int) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Ragged(np.concatenate([np.zeros((0, d), np.float32), *parts]), offsets)


@st.composite
def multi(draw: st.DrawFn, most: int, d: int) -> list[FloatArray]:
    n = draw(st.integers(0, most))
    return [draw(arrays(np.float32, (draw(st.sampled_from([0, 1, 2, 4])), d), elements=small)) for _ in range(n)]


@pytest.mark.parametrize("with_numba", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(deadline=None, max_examples=50)
@given(multi(3, 8), multi(12, 8), st.integers(0, 8), st.integers(1, 7))
def test_maxsim_is_what_a_loop_finds(
    precision: Precision, with_numba: bool, asked: list[FloatArray], told: list[FloatArray], k: int, size: int
) -> None:
    ids = np.arange(len(told))[::-1] * 3
    with backend(with_numba):
        found = maxsim_top_k(ragged(asked, 8), in_blocks(ids, size, lambda part: ragged(told[part], 8)), k,
                             precision=precision)
    rows = [np.arange(len(told))] * len(asked)
    given = maxsim_candidates(ragged(asked, 8), rows, ragged(told, 8))
    for ranking, values, query in zip(found, given, asked, strict=True):
        scores = [float(np.mean([max(token @ other for other in document) for token in query]))
                  if len(query) and len(document) else None for document in told]
        same(ranking, best_by_hand(ids, scores, k))
        assert_allclose(values, [score or 0.0 for score in scores], atol=1e-6)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e39])
def test_numbers_that_are_not_finite_are_refused(strange: float) -> None:
    good, bad = np.ones((2, 3)), np.array([[1.0, 2, 3], [4, strange, 6]])
    ids = np.array([1, 2])
    with pytest.raises(BadInput, match=r"document 1 \(counting from 0\) holds a number that is not finite"):
        dense_top_k(good, [(ids, bad)], 1)
    with pytest.raises(BadInput, match=r"query 1 \(counting from 0\) holds a number that is not finite"):
        dense_top_k(bad, [(ids, good)], 1)
    weights = SparseRows.from_rows([{0: 1.0}, {1: strange}], 3, np.float64)
    with pytest.raises(BadInput, match="not a finite number"):
        sparse_top_k(weights, [(ids, sparse_rows([{0: 1.0}, {}]))], 1)
    with pytest.raises(BadInput, match="not a finite number"):
        Postings(ids, weights)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="rows of 3 numbers"):
        dense_top_k(np.ones((1, 3)), [(np.array([1]), np.ones((1, 4)))], 1)
    with pytest.raises(ShapeMismatch, match="not 2 for 1"):
        dense_top_k(np.ones((1, 3)), [(np.array([1, 2]), np.ones((1, 3)))], 1)
    with pytest.raises(BadInput, match="whole numbers"):
        dense_top_k(np.ones((1, 3)), [(np.array([1.5]), np.ones((1, 3)))], 1)
    with pytest.raises(BadInput, match="0 or more, not -1"):
        dense_top_k(np.ones((1, 3)), [], -1)
    with pytest.raises(UnknownName, match="Did you mean 'bfloat16'"):
        dense_top_k(np.ones((1, 3)), [], 1, precision="bfloat")     # type: ignore[arg-type]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_finds_the_same_among_near_equals(precision: Precision) -> None:
    """Clusters so tight that int8 cannot tell their members apart, blocks and groups of queries with rests."""
    chance = np.random.default_rng(7)
    centres = chance.standard_normal((20, 64))
    documents = (centres[chance.integers(0, 20, 5_000)] + 1e-3 * chance.standard_normal((5_000, 64))).astype(np.float32)
    documents[::7] *= 3         # of different lengths
    queries = (centres[:9] + 1e-3 * chance.standard_normal((9, 64))).astype(np.float32)
    ids = chance.permutation(5_000)
    with backend(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "QUERIES_AT_ONCE", 4)
        patch.setattr(dense, "QUERIES_PER_THREAD", 1)
        found = dense_top_k(queries, in_blocks(ids, 1_700, documents.__getitem__), 25, precision=precision, n_threads=2)
    for ranking, query in zip(found, queries, strict=True):
        scores = (documents.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
        same(ranking, best_by_hand(ids, scores.tolist(), 25))


def test_dense_search_needs_memory_for_a_block_of_scores_not_for_all() -> None:
    chance = np.random.default_rng(2)
    queries = chance.standard_normal((500, 8)).astype(np.float32)
    documents, ids = chance.standard_normal((60_000, 8)).astype(np.float32), np.arange(60_000)
    for with_numba in (True, False):
        with backend(with_numba):
            dense_top_k(queries[:2], [(ids, documents)], 10)
            tracemalloc.start()
            dense_top_k(queries, [(ids, documents)], 10)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 16 << 20      # all scores at once would be 114 MiB


def test_a_search_that_grows_goes_on_by_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(8)
    documents = chance.integers(-3, 4, (3_000, 8)).astype(np.float32)      # many equal scores
    queries, ids = documents[:5], chance.permutation(3_000)
    monkeypatch.setattr(dense, "sys", SimpleNamespace(modules={}))     # numba has not been loaded yet
    monkeypatch.setattr(dense, "WORTH_COMPILED", 5 * 8 * 1_500)
    search = dense.DenseSearch(queries, 40)
    for part, vectors in in_blocks(ids, 500, documents.__getitem__):
        search.offer(part, vectors)
    for ranking, query in zip(search.rankings(), queries, strict=True):
        same(ranking, best_by_hand(ids, (documents @ query).tolist(), 40))


@pytest.mark.parametrize("with_numba", [True, False])
@pytest.mark.parametrize("offsets", [[0, 10**8, 1], [0, -1, 1], [1, 1, 1]])
def test_rows_that_are_not_where_they_say_are_refused(offsets: list[int], with_numba: bool) -> None:
    documents = SparseRows.from_rows([{0: 1.0, 1: 2.0}, {1: 1.0}], 4)
    lying = SparseRows(np.array(offsets), np.array([1]), np.ones(1, np.float32), 4)
    tokens = Ragged(np.ones((1, 4), np.float32), np.array(offsets))
    whole = Ragged(np.ones((1, 4), np.float32), np.array([0, 1]))
    with backend(with_numba):
        with pytest.raises(BadInput, match="begin at 0 and not fall"):
            Postings(np.arange(2), documents).top_k(lying, 1)
        with pytest.raises(BadInput, match="begin at 0 and not fall"):
            Postings(np.arange(2), lying)
        with pytest.raises(BadInput, match="begin at 0 and not fall"):
            maxsim_top_k(tokens, [], 1)
        with pytest.raises(BadInput, match="begin at 0 and not fall"):
            maxsim_top_k(whole, [(np.arange(2), tokens)], 1)


def test_ids_beyond_64_bits_with_a_sign_are_refused() -> None:
    with pytest.raises(BadInput, match="9223372036854775813"):
        dense_top_k(np.ones((1, 4), np.float32), [(np.array([2**63 + 5], np.uint64), np.ones((1, 4), np.float32))], 1)


def test_a_block_has_an_id_for_each_vector_of_a_search_in_steps() -> None:
    for n_ids, n_vectors in ((5, 2), (2, 5)):
        with pytest.raises(ShapeMismatch, match=f"not {n_ids} for {n_vectors}"):
            DenseSearch(np.ones((1, 4), np.float32), 9).offer(np.arange(n_ids), np.ones((n_vectors, 4), np.float32))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_vectors_too_long_for_whole_numbers_are_found_all_the_same(precision: Precision) -> None:
    documents = np.ones((2, 140_000), np.float32)       # 127 x 127 x 140,000 is more than 32 bits hold
    documents[0] /= 2
    with backend(True):
        same(dense_top_k(documents[1:], [(np.arange(2), documents)], 1, precision=precision)[0], ([1], [140_000.0]))


@pytest.mark.parametrize("with_numba", [True, False])
def test_everything_can_be_asked_for_without_knowing_how_much_that_is(with_numba: bool) -> None:
    documents, ids = np.arange(24, dtype=np.float32).reshape(12, 2) % 7, np.arange(12)
    tokens = ragged([documents[:1]], 2)
    with backend(with_numba):
        for size in (1, 5, 12):
            found = dense_top_k(documents[:3], in_blocks(ids, size, documents.__getitem__), 2**53)
            for ranking, query in zip(found, documents, strict=False):
                same(ranking, best_by_hand(ids, (documents @ query).tolist(), 12))
        assert len(maxsim_top_k(tokens, [(ids[:1], tokens)], 2**53)[0][0]) == 1
        rows = SparseRows.from_rows([{0: 1.0}], 1)
        assert len(sparse_top_k(rows, [(ids[:1], rows)], 2**53)[0][0]) == 1


def test_a_mask_has_a_mark_for_each_document() -> None:
    rows = SparseRows.from_rows([{0: 1.0}] * 3, 1)
    postings = Postings(np.array([4, 5, 6]), rows)
    assert postings.top_k(rows.take([0]), 3, able=np.array([0, 2, 1]))[0][0].tolist() == [5, 6]
    with pytest.raises(ShapeMismatch, match=r"3 documents need as many marks, not an array of shape \(1,\)"):
        postings.top_k(rows, 3, able=np.ones(1, bool))


def test_the_number_of_a_strange_document_counts_all_blocks() -> None:
    good, strange = np.ones((5, 3)), np.ones((4, 3))
    strange[1, 0] = np.nan
    with pytest.raises(BadInput, match=r"document 6 \(counting from 0\)"):
        dense_top_k(good[:1], [(np.arange(5), good), (np.arange(5, 9), strange)], 1)
