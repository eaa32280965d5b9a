"""Similarities against slow, obvious loops; rankings against sorting everything; fusion against its formula."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qianru import scores
from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.types import Embeddings, Ragged, SparseRows

NAMES = list(scores.METRICS)
# 我/不爱/吃/蔬菜/我/喜欢/吃/肉 and 我/不爱/吃/肉/我/爱/吃/蔬菜, columns 我 不爱 爱 吃 蔬菜 肉 喜欢
VEGETABLES = np.array([[2.0, 1, 0, 2, 1, 1, 1]])
MEAT = np.array([[2.0, 1, 1, 2, 1, 1, 0]])


def slow(name: str, x: Any, y: Any) -> float:
    """The similarity of two rows of numbers, one term after the other."""
    both = list(zip(map(float, x), map(float, y), strict=True))
    if name == "dot":
        return sum(p * q for p, q in both)
    if name == "cosine":
        lengths = sqrt(sum(p * p for p, _ in both)) * sqrt(sum(q * q for _, q in both))
        return sum(p * q for p, q in both) / lengths if lengths else 0.0
    if name == "euclidean":
        return -sqrt(sum((p - q) ** 2 for p, q in both))
    larger = sum(max(p, q) for p, q in both)
    return sum(min(p, q) for p, q in both) / larger if larger else 0.0


def sparse(array: Any, width: int | None = None) -> SparseRows:
    rows = [{j: float(v) for j, v in enumerate(row) if v} for row in array]
    return SparseRows.from_rows(rows, width or np.shape(array)[1], np.float64)


counts = st.integers(0, 6).flatmap(
    lambda d: st.tuples(
        st.lists(st.lists(st.integers(0, 4), min_size=d, max_size=d), min_size=1, max_size=5),
        st.lists(st.lists(st.integers(0, 4), min_size=d, max_size=d), min_size=1, max_size=5),
    )
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [np.asarray, sparse], ids=["dense", "sparse"])
@given(sides=counts)
@settings(max_examples=40, deadline=None)
def test_a_matrix_holds_what_the_loop_says(name: str, form: Callable[[Any], Any], sides: tuple[Any, Any]) -> None:
    a, b = (np.array(side, np.float64) for side in sides)
    expected = [[slow(name, x, y) for y in b] for x in a]
    assert_allclose(scores.METRICS[name](form(a), form(b)), expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [np.asarray, sparse], ids=["dense", "sparse"])
@given(sides=counts)
@settings(max_examples=40, deadline=None)
def test_pairs_are_the_diagonal(name: str, form: Callable[[Any], Any], sides: tuple[Any, Any]) -> None:
    n = min(len(side) for side in sides)
    a, b = (np.array(side[:n], np.float64) for side in sides)
    expected = [slow(name, x, y) for x, y in zip(a, b, strict=True)]
    assert_allclose(scores.PAIR_METRICS[name](form(a), form(b)), expected, atol=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sparse], ids=["dense", "sparse"])
def test_the_two_lists_of_food_have_the_cosine_of_their_counts(form: Callable[[Any], Any]) -> None:
    # dot 4+1+0+4+1+1+0 = 11 over sqrt(12) * sqrt(12)
    assert_allclose(scores.cosine(form(VEGETABLES), form(MEAT)), [[11 / 12]])
    # as the issue counts them: [2,1,0,2,1,1,1] with [2,1,2,2,1,1,0], 11 / sqrt(12 * 15)
    assert scores.cosine(form(VEGETABLES), form(np.array([[2.0, 1, 2, 2, 1, 1, 0]])))[0, 0].round(4) == 0.8199


@pytest.mark.parametrize("name", ["cosine", "dot", "jaccard"])
@pytest.mark.parametrize("form", [np.asarray, sparse], ids=["dense", "sparse"])
def test_a_zero_row_has_nothing_in_common_with_any(name: str, form: Callable[[Any], Any]) -> None:
    zero = form(np.zeros((1, 7)))
    assert scores.METRICS[name](zero, form(MEAT)).tolist() == [[0.0]]
    assert scores.METRICS[name](zero, zero).tolist() == [[0.0]]
    assert scores.PAIR_METRICS[name](zero, zero).tolist() == [0.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [np.asarray, sparse], ids=["dense", "sparse"])
def test_no_rows_make_an_empty_matrix(name: str, form: Callable[[Any], Any]) -> None:
    none = form(np.zeros((0, 7)))
    assert scores.METRICS[name](none, form(MEAT)).shape == (0, 1)
    assert scores.METRICS[name](form(MEAT), none).shape == (1, 0)
    assert scores.PAIR_METRICS[name](none, none).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32_and_float64_stays_float64(name: str) -> None:
    small, large = MEAT.astype(np.float32), MEAT
    for function in (scores.METRICS[name], scores.PAIR_METRICS[name]):
        assert function(small, small).dtype == np.float32
        assert function(small.astype(np.float16), small.astype(np.float16)).dtype == np.float32
        assert function(large, small).dtype == np.float64
        assert function(large.astype(np.int64), small).dtype == np.float64
        assert function(sparse(large), sparse(large)).dtype == np.float64


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_a_cosine_of_very_small_or_large_numbers_is_as_any_other(scale: float) -> None:
    a = (VEGETABLES * scale).astype(np.float32)
    assert_allclose(scores.cosine(a, MEAT.astype(np.float32)), [[11 / 12]], rtol=1e-6)


def test_near_neighbours_keep_their_distance() -> None:
    a = np.array([[1000.0, 0.0]])
    b = np.array([[1000.0, 1e-7]])
    assert_allclose(scores.euclidean(a, b), [[-1e-7]], rtol=1e-9)        # |a|² + |b|² - 2ab would say 0
    assert_allclose(scores.euclidean(sparse(a), sparse(b)), [[-1e-7]], rtol=1e-9)


def test_larger_is_better_for_every_metric() -> None:
    near, far = VEGETABLES, np.array([[0.0, 0, 1, 0, 0, 0, 0]])
    for name in NAMES:
        assert scores.METRICS[name](near, near)[0, 0] > scores.METRICS[name](near, far)[0, 0]


def test_sparse_rows_of_different_widths_share_their_columns() -> None:
    assert scores.dot(sparse([[1, 2]]), sparse([[0, 3, 5]], width=1 << 40)).tolist() == [[6.0]]


def test_sparse_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = (sparse(rng.random((n, 40)) * (rng.random((n, 40)) < 0.3)) for n in (50, 70))
    whole = scores.dot(a, b)
    monkeypatch.setattr("qianru.scores.similarity.BLOCK", 100)
    assert_array_equal(scores.dot(a, b), whole)
    assert_allclose(whole, a.to_dense() @ b.to_dense().T)


def test_jaccard_refuses_negative_counts() -> None:
    for form in (np.asarray, sparse):
        with pytest.raises(BadInput, match="never negative; found -1"):
            scores.jaccard(form(-np.eye(2)), form(np.eye(2)))   # type: ignore[operator]


def test_dense_against_sparse_is_refused() -> None:
    with pytest.raises(BadInput, match="no common columns"):
        scores.cosine(MEAT, sparse(MEAT))


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"\(1, 7\) and \(1, 6\)"):
        scores.cosine(MEAT, MEAT[:, :6])
    with pytest.raises(ShapeMismatch, match="not 2 and 1"):
        scores.cosine_pairs(np.eye(2), np.ones((1, 2)))


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'cosine'"):
        scores.metric("cosin")
    assert scores.metric("dot") is scores.dot


@given(
    lengths=st.tuples(st.lists(st.integers(0, 4), max_size=5), st.lists(st.integers(0, 4), max_size=5)),
    block=st.sampled_from([1, 7, 1 << 22]),
)
@settings(max_examples=60, deadline=None)
def test_maxsim_is_the_mean_of_the_best(lengths: tuple[list[int], list[int]], block: int) -> None:
    rng = np.random.default_rng(7)
    queries, documents = (
        Ragged(rng.standard_normal((sum(n), 3)), np.concatenate([[0], np.cumsum(n)]).astype(np.int64)) for n in lengths
    )
    expected = np.zeros((len(queries), len(documents)))
    for i in range(len(queries)):
        for j in range(len(documents)):
            best = [max((p @ q for q in documents.row(j)), default=0.0) for p in queries.row(i)]
            expected[i, j] = sum(best) / len(best) if best else 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qianru.scores.similarity.BLOCK", block)
        assert_allclose(scores.maxsim(queries, documents), expected, atol=1e-12)
    n = min(len(queries), len(documents))
    first = [Ragged(side.data[: side.offsets[n]], side.offsets[: n + 1]) for side in (queries, documents)]
    assert_allclose(scores.maxsim_pairs(*first), np.diag(expected)[:n], atol=1e-12)


tied = st.lists(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]), min_size=6, max_size=6), max_size=4)


@given(rows=tied, k=st.integers(0, 8))
@settings(deadline=None)
def test_top_k_is_the_head_of_everything_sorted(rows: list[list[float]], k: int) -> None:
    ids, best = scores.top_k(np.array(rows).reshape(len(rows), 6), k)
    for row, found, values in zip(rows, ids, best, strict=True):
        order = sorted(range(6), key=lambda j: (-row[j], j))[:k]
        assert found.tolist() == order
        assert values.tolist() == [row[j] for j in order]


def test_top_k_refuses_what_has_no_rank() -> None:
    with pytest.raises(BadInput, match="NaN"):
        scores.top_k(np.array([[1.0, np.nan]]), 1)
    with pytest.raises(BadInput, match="-1 is below 0"):
        scores.top_k(np.eye(2), -1)
    with pytest.raises(ShapeMismatch, match=r"shape \(3,\)"):
        scores.top_k(np.ones(3), 1)


def ranking(*pairs: tuple[int, float]) -> scores.Ranked:
    return np.array([i for i, _ in pairs], np.int64), np.array([s for _, s in pairs], np.float64)


answers = st.tuples(st.integers(0, 9), st.integers(-3, 9).map(float))
lists = st.lists(st.lists(answers, max_size=6, unique_by=lambda p: p[0]), max_size=4).map(
    lambda many: [ranking(*sorted(one, key=lambda p: (-p[1], p[0]))) for one in many]
)


@given(rankings=lists, data=st.data())
@settings(deadline=None)
def test_rrf_sums_the_weights_over_sixty_and_the_rank(rankings: list[scores.Ranked], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=len(rankings), max_size=len(rankings)))
    sums: dict[int, float] = {}
    for (ids, _), weight in zip(rankings, weights, strict=True):
        for rank, i in enumerate(ids.tolist(), 1):
            sums[i] = sums.get(i, 0) + weight * (1 / (60 + rank))
    expected = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    ids, fused = scores.fuse_rrf(rankings, weights)
    assert list(zip(ids.tolist(), fused.tolist(), strict=True)) == expected


@given(rankings=lists, scale=st.sampled_from(["minmax", "max", "none"]))
@settings(deadline=None)
def test_weighted_fusion_sums_scaled_scores(rankings: list[scores.Ranked], scale: scores.Scale) -> None:
    sums: dict[int, float] = {}
    for ids, values in rankings:
        low, high = min(values, default=0.0), max(values, default=0.0)
        largest = max(map(abs, values), default=0.0)
        for i, value in zip(ids.tolist(), values.tolist(), strict=True):
            if scale == "minmax":
                value = (value - low) / (high - low) if high > low else 1.0
            elif scale == "max":
                value = value / largest if largest else value
            sums[i] = sums.get(i, 0) + 2.0 * value
    ids, fused = scores.fuse_weighted(rankings, [2.0] * len(rankings), scale)
    assert list(zip(ids.tolist(), fused.tolist(), strict=True)) == sorted(sums.items(), key=lambda p: (-p[1], p[0]))


def test_found_by_two_beats_found_first_by_one() -> None:
    words, meaning = ranking((1, 9.0), (2, 8.0)), ranking((3, 0.9), (2, 0.8))
    ids, fused = scores.fuse_rrf([words, meaning])
    assert ids.tolist() == [2, 1, 3]                       # 1/62 + 1/62 > 1/61; 1 before 3 at equal sums
    assert_allclose(fused, [2 / 62, 1 / 61, 1 / 61])


def test_fusion_refuses_what_makes_no_sense() -> None:
    one = ranking((1, 1.0))
    with pytest.raises(ShapeMismatch, match="1 rankings need as many weights, not 2"):
        scores.fuse_rrf([one], [1.0, 2.0])
    with pytest.raises(BadInput, match="from 0 upwards"):
        scores.fuse_rrf([one], [-1.0])
    with pytest.raises(BadInput, match="twice"):
        scores.fuse_rrf([ranking((1, 1.0), (1, 0.5))])
    with pytest.raises(BadInput, match="finite"):
        scores.fuse_weighted([ranking((1, np.inf))])
    with pytest.raises(UnknownName, match="Did you mean 'minmax'"):
        scores.fuse_weighted([one], scale="min-max")   # type: ignore[arg-type]


def test_weights_of_kinds_must_name_scores_and_not_all_be_zero() -> None:
    parts: Any = {"dense": np.array([0.5, 1.0]), "sparse": np.array([0.25, 0.0])}
    assert_allclose(scores.weighted_mean(parts, {"dense": 1, "sparse": 3}), [0.3125, 0.25])
    for weights in ({"dense": 0}, {"dense": -1, "sparse": 2}, {"dense": float("nan")}, {}, {"multi": 1}):
        with pytest.raises(BadInput):
            scores.weighted_mean(parts, weights)


def test_scores_by_kind_are_those_of_each_kind_alone() -> None:
    rng = np.random.default_rng(3)
    sparse = SparseRows.from_rows([{1: 2.0, 4: 1.0}, {}], 6)
    multi = Ragged(rng.standard_normal((5, 3)), np.array([0, 2, 5]))
    whole = Embeddings("m", np.array([2, 3]), 0, rng.standard_normal((2, 4)), sparse, multi)
    found = scores.kind_scores(whole, whole)
    assert_array_equal(found["sparse"], [[5, 0], [0, 0]])
    assert_allclose(found["multi"], scores.maxsim(multi, multi))
    assert_allclose(np.diag(found["dense"]), scores.kind_scores_pairs(whole, whole)["dense"])
    only = Embeddings("m", np.array([2, 3]), 0, whole.dense)
    assert list(scores.kind_scores(whole, only)) == ["dense"]
    with pytest.raises(BadInput, match="nothing to compare: one side has sparse vectors, the other dense"):
        scores.kind_scores(Embeddings("m", np.array([2, 3]), sparse=sparse), only)


def test_aligned_tokens_have_maxsim_as_their_mean() -> None:
    rng = np.random.default_rng(4)
    query, document = rng.standard_normal((3, 5)), rng.standard_normal((7, 5))
    aligned = scores.align(query, document)
    best = scores.maxsim(Ragged(query, np.array([0, 3])), Ragged(document, np.array([0, 7])))
    assert_allclose(aligned.scores.mean(), best[0, 0])
    assert len(scores.align(query[:0], document).tokens) == 0
