"""The running k best: whatever the blocks and their order, the answer is that of all scores at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_array_equal

from qianru.errors import BadInput, ShapeMismatch
from qianru.scores import Best, best_of


def test_equal_scores_go_by_the_lower_id_across_blocks() -> None:
    best = Best(1, 2)
    best.offer(np.array([[1.0, 1.0]]), np.array([8, 9]))
    best.offer(np.array([[1.0, 0.5]]), np.array([3, 1]))
    ((ids, scores),) = best.rankings()
    assert ids.tolist() == [3, 8]
    assert scores.tolist() == [1.0, 1.0]


def test_fewer_documents_than_k_all_come_back() -> None:
    best = Best(2, 10)
    best.offer(np.array([[0.1, 0.3], [0.2, -0.2]]), np.array([5, 6]))
    assert [ids.tolist() for ids, _ in best.rankings()] == [[6, 5], [5, 6]]
    assert best.thresholds.tolist() == [-np.inf, -np.inf]


def test_a_score_of_minus_infinity_is_never_found() -> None:
    best = Best(1, 3)
    best.offer(np.array([[-np.inf, -5.0]]), np.array([1, 2]))
    assert best.rankings()[0][0].tolist() == [2]


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_what_has_no_rank_is_refused(strange: float) -> None:
    with pytest.raises(BadInput, match="no rank"):
        Best(1, 3).offer(np.array([[0.5, strange]]), np.array([1, 2]))


def test_nothing_asked_nothing_offered_and_k_of_0() -> None:
    assert Best(0, 3).rankings() == []
    assert [len(ids) for ids, _ in Best(2, 3).rankings()] == [0, 0]
    none = Best(1, 0)
    none.offer(np.array([[0.5]]), np.array([1]))
    assert len(none.rankings()[0][0]) == 0
    with pytest.raises(BadInput, match="0 or more, not -1"):
        Best(1, -1)
    with pytest.raises(ShapeMismatch, match=r"shape \(1, 2\)"):
        Best(1, 1).offer(np.array([[0.5]]), np.array([1, 2]))


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), max_size=40),
    st.integers(0, 12), st.integers(1, 9), st.randoms(use_true_random=False),
)
def test_blocks_of_any_size_and_order_change_nothing(
    rows: list[list[int]], k: int, size: int, chance: np.random.Generator
) -> None:
    scores = np.array(rows, np.float32).reshape(-1, 2).T
    ids = list(range(len(rows)))
    chance.shuffle(ids)
    best = Best(2, k)
    for start in range(0, len(ids), size):
        part = np.array(ids[start : start + size])
        best.offer(scores[:, part], part)
    for query, (found, values) in enumerate(best.rankings()):
        whole = sorted(range(len(rows)), key=lambda i: (-scores[query, i], i))[:k]
        assert found.tolist() == whole
        assert_array_equal(values, scores[query, whole])
        assert_array_equal(best_of(np.arange(len(rows)), scores[query], k)[0], whole)
