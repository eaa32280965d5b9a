"""The k best per query of scores that come block by block."""

from __future__ import annotations

import operator

import numpy as np

from qianru.errors import BadInput, ShapeMismatch
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray


def checked_k(k: int) -> int:
    """k as an int; BadInput for what is no number of answers."""
    try:
        wanted = operator.index(k)
    except TypeError:
        wanted = -1
    if wanted < 0:
        raise BadInput(f"k is a number of answers, 0 or more, not {k!r}.")
    return wanted


def best_of(ids: IntArray, scores: FloatArray, k: int) -> Ranked:
    """The k best, best first, equal scores by ascending id.

    >>> ids, scores = best_of(np.array([7, 3, 5]), np.array([0.5, 0.5, 0.9]), 2)
    >>> ids.tolist(), scores.tolist()
    ([5, 3], [0.9, 0.5])
    """
    if len(scores) > k:
        if not k:
            return ids[:0], scores[:0]
        able = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
        ids, scores = ids[able], scores[able]
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]


class Best:
    """The k best per query so far, equal scores by the lower id, in whatever order they are offered.

    Memory: 16 bytes for each of n_queries x k places, and what is offered.

    >>> best = Best(1, 2)
    >>> best.offer(np.array([[0.5, 0.1]]), np.array([9, 2]))
    >>> best.offer(np.array([[0.3, 0.5]]), np.array([4, 1]))
    >>> [(ids.tolist(), scores.tolist()) for ids, scores in best.rankings()]
    [([1, 9], [0.5, 0.5])]
    """

    def __init__(self, n_queries: int, k: int) -> None:
        self.k = checked_k(k)
        self._found: list[Ranked] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * n_queries
        self.thresholds: FloatArray = np.full(n_queries, -np.inf if self.k else np.inf)
        """(n_queries,) the k-th best score; -inf while there are fewer than k: what is lower need not be offered."""

    def __len__(self) -> int:
        """How many queries there are."""
        return len(self._found)

    def offer(self, scores: FloatArray, ids: IntArray) -> None:
        """Takes in the scores of documents that have not been offered before.

        scores: (q, b), those of every query with the b documents; -inf for a document that is not to be found
        ids: (b,)
        Raises ShapeMismatch, and BadInput for NaN and inf, which have no rank.
        """
        if scores.shape != (len(self), len(ids)):
            raise ShapeMismatch(f"{len(self)} queries and {len(ids)} ids need scores of shape "
                                f"({len(self)}, {len(ids)}), not {scores.shape}.")
        if not len(ids) or not len(self):
            return
        if not (scores.max() < np.inf):         # also when it is NaN, which max passes on
            raise BadInput("The scores hold NaN or infinity, which has no rank. Look for it in the vectors behind.")
        able = scores >= self.thresholds[:, None]
        for query in np.flatnonzero(able.any(axis=1)).tolist():
            at = np.flatnonzero(able[query])
            self.offer_to(query, scores[query, at], ids[at])

    def offer_to(self, query: int, scores: FloatArray, ids: IntArray) -> None:
        """Takes in finite scores of one query: scores (b,), ids (b,); those of -inf are left out."""
        found, held = self._found[query]
        present = scores > -np.inf
        if not present.all():
            scores, ids = scores[present], ids[present]
        if not len(ids):
            return
        merged = best_of(np.concatenate([found, ids]), np.concatenate([held, scores]) if len(held) else scores, self.k)
        self._found[query] = merged
        if self.k and len(merged[0]) == self.k:
            self.thresholds[query] = merged[1][-1]

    def rankings(self) -> list[Ranked]:
        """For each query ids (m,) and scores (m,), best first; m is k, or the number offered if that is less."""
        return list(self._found)
