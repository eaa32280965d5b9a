"""Main scores as statistics of how often each item counts: what the bootstrap draws again and again.

Each takes (b, n) counts and gives (b,) values; counts of 1 give the score itself. A statistic of ranks sorts its items
once and ranks every sample by running sums of the counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qianru.errors import BadInput
from qianru.evaluate.resampling import Statistic
from qianru.evaluate.result import Result
from qianru.scores.cuts import Cuts, ties
from qianru.types import FloatArray


def statistic_of(result: Result, ids: Sequence[str]) -> Statistic:
    """The main score of a result as a statistic of the items named.

    Raises BadInput for a main score that is neither a mean of its items nor one of those below.
    """
    values = np.array([result.per_item[name] for name in ids], np.float64)
    if not result.gold:
        return mean_of(values)
    gold = np.array([result.gold[name] for name in ids], np.float64)
    words = result.main_score.lower().split("_")
    if result.task_type == "STS" or "spearman" in words or "pearson" in words:
        return pearson_of(values, gold) if "pearson" in words else spearman_of(values, gold)
    for word, statistic in (("ap", average_precision_of), ("accuracy", best_accuracy_of), ("f1", best_f1_of)):
        if word in words:
            return statistic(values, gold)
    raise BadInput(f"{result.task} is scored by {result.main_score}, which cannot be drawn again from its pairs. Known "
                   "are spearman, pearson, ap, accuracy and f1.")


def mean_of(values: FloatArray) -> Statistic:
    """The mean of the items' values.

    >>> mean_of(np.array([1.0, 0.0, 0.5]))(np.array([[1, 1, 1], [0, 1, 2]])).round(4).tolist()
    [0.5, 0.3333]
    """
    def mean(counts: FloatArray) -> FloatArray:
        means: FloatArray = counts @ values / counts.sum(1)
        return means

    return mean


def spearman_of(values: FloatArray, gold: FloatArray) -> Statistic:
    """Spearman's rank correlation, equal values sharing the mean of their ranks; 0 where one side is constant.

    >>> spearman_of(np.array([0.1, 0.7, 0.9]), np.array([1.0, 3.0, 2.0]))(np.ones((1, 3))).tolist()
    [0.5]
    """
    own, others = _Ranks(values), _Ranks(gold)

    def spearman(counts: FloatArray) -> FloatArray:
        return _correlation(own(counts), others(counts), counts)

    return spearman


def pearson_of(values: FloatArray, gold: FloatArray) -> Statistic:
    """Pearson's correlation; 0 where one side is constant."""
    def pearson(counts: FloatArray) -> FloatArray:
        return _correlation(values[None], gold[None], counts)

    return pearson


def average_precision_of(scores: FloatArray, labels: FloatArray) -> Statistic:
    """Area under the steps of precision and recall, equal scores taken as one step; labels above 0 are positive.

    >>> average_precision_of(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))(np.ones((1, 3))).round(4).tolist()
    [0.8333]
    """
    cuts = Cuts(scores, labels)

    def average_precision(counts: FloatArray) -> FloatArray:
        right, taken = cuts(counts)
        gained = np.diff(right, axis=1, prepend=0)
        area: FloatArray = (gained * right / np.maximum(taken, 1)).sum(1) / np.maximum(right[:, -1], 1)
        return area

    return average_precision


def best_accuracy_of(scores: FloatArray, labels: FloatArray) -> Statistic:
    """The share of pairs on the right side of the best threshold."""
    cuts = Cuts(scores, labels)

    def best_accuracy(counts: FloatArray) -> FloatArray:
        right, taken = cuts(counts)
        total = taken[:, -1:]
        n_right = right + (total - right[:, -1:]) - (taken - right)       # positives above, negatives below the cut
        n_right[taken == 0] = 0                                           # a cut above all scores is none
        best: FloatArray = n_right.max(1) / total[:, 0]
        return best

    return best_accuracy


def best_f1_of(scores: FloatArray, labels: FloatArray) -> Statistic:
    """F1 of the positives at the best threshold."""
    cuts = Cuts(scores, labels)

    def best_f1(counts: FloatArray) -> FloatArray:
        right, taken = cuts(counts)
        best: FloatArray = (2 * right / np.maximum(taken + right[:, -1:], 1)).max(1)
        return best

    return best_f1


def average_ranks(values: FloatArray) -> FloatArray:
    """(n,) ranks from 1, equal values sharing the mean of theirs.

    >>> average_ranks(np.array([0.3, 0.1, 0.3])).tolist()
    [2.5, 1.0, 2.5]
    """
    if not len(values):
        return np.zeros(0)
    ranks: FloatArray = _Ranks(values)(np.ones((1, len(values))))[0]
    return ranks


class _Ranks:
    """(b, n) counts -> (b, n) the rank that each item has in the sample."""

    def __init__(self, values: FloatArray) -> None:
        self.order = np.argsort(values, kind="stable")
        self.starts, self.group = ties(values[self.order], self.order)

    def __call__(self, counts: FloatArray) -> FloatArray:
        sizes = np.add.reduceat(counts[:, self.order], self.starts, axis=1)     # (b, g)
        ranks = np.cumsum(sizes, 1) - (sizes - 1) / 2
        shared: FloatArray = ranks[:, self.group]
        return shared


def _correlation(left: FloatArray, right: FloatArray, counts: FloatArray) -> FloatArray:
    """(b,) correlation of (b or 1, n) values on both sides, item i taken counts[:, i] times."""
    total = counts.sum(1)

    def centred(values: FloatArray) -> FloatArray:
        mean = np.einsum("bn,bn->b", np.broadcast_to(values, counts.shape), counts) / total
        away: FloatArray = values - mean[:, None]
        return away

    x, y = centred(left), centred(right)
    weighed = x * counts
    spread = np.sqrt(np.einsum("bn,bn->b", weighed, x) * np.einsum("bn,bn,bn->b", y, y, counts))
    both = np.einsum("bn,bn->b", weighed, y)
    correlation: FloatArray = np.divide(both, spread, out=np.zeros_like(both), where=spread > 0)
    return correlation
