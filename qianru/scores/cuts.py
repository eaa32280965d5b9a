"""Where scores can be cut in two, how many are right above each cut, and the cut that reaches a wanted precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qianru.types import FloatArray, IntArray


class Cuts:
    """(b, n) how often each item counts -> (b, g) right ones and items at or above each distinct score, highest first.

    scores: (n,);  labels: (n,) right where above 0
    Equal scores are never parted. starts: (g,) where each score's items begin in order.
    """

    def __init__(self, scores: FloatArray, labels: FloatArray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.starts, _ = ties(scores[self.order], self.order)
        self.levels: FloatArray = scores[self.order][self.starts]      # (g,) the distinct scores
        self._right = (labels > 0)[self.order]

    def __call__(self, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        ordered = counts[:, self.order]
        right = np.add.reduceat(ordered * self._right, self.starts, axis=1)
        taken = np.add.reduceat(ordered, self.starts, axis=1)
        return np.cumsum(right, 1), np.cumsum(taken, 1)


def cut_reaching(precision: float, right: FloatArray, taken: FloatArray, least: int = 1) -> IntArray:
    """(b,) the cut that keeps most of the right items with this share of right ones among those kept; -1 for none.

    right, taken: (b, g) as Cuts gives them;  least: so many are kept
    Of cuts that keep as many right ones it is the highest, which keeps fewest of the others.

    >>> right, taken = np.array([[1, 2, 2, 3, 3]]), np.array([[1, 2, 3, 4, 5]])
    >>> [int(cut_reaching(precision, right, taken)[0]) for precision in (0.9, 0.7, 0.5)]
    [1, 3, 3]
    """
    good = (right >= precision * taken) & (taken >= least)
    lowest = right.shape[1] - 1 - good[:, ::-1].argmax(1)
    most = np.take_along_axis(right, lowest[:, None], 1)
    cut: IntArray = np.where(good.any(1), (good & (right == most)).argmax(1), -1)
    return cut


def ties(ordered: FloatArray, order: IntArray) -> tuple[IntArray, IntArray]:
    """(g,) where runs of equal values begin, and (n,) the run of each item in its first order."""
    new: NDArray[np.bool_] = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    return np.flatnonzero(new), group
