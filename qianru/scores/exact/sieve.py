"""The k best by exact scores, found through fast scores of known error: what cannot be among them is never scored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qianru.scores.best import Best
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray


class Sieve:
    """Best, fed with fast scores and asking for the exact ones of those alone that may be among the k best."""

    def __init__(self, n_queries: int, k: int) -> None:
        self._best = Best(n_queries, k)

    def offer(
        self, fast: FloatArray, error: FloatArray, ids: IntArray, exact: Callable[[int, IntArray], FloatArray],
        first: int = 0,
    ) -> None:
        """Takes in a block of documents.

        fast: (q, b) scores of queries first to first + q;  error: (q,) how far they may be from the exact ones
        exact: (query, columns) -> the exact scores of these documents
        """
        k, b = self._best.k, fast.shape[1]
        if not k or not b:
            return
        least = self._best.thresholds[first : first + len(fast)] - error
        for i in np.flatnonzero(fast.max(axis=1) >= least).tolist():
            row, bar = fast[i], least[i]
            able = np.flatnonzero(row >= bar)
            if len(able) > 2 * k:       # the k-th best of the block is a bar too; both it and the rest may be in error
                near = row[able]
                able = able[near >= np.partition(near, len(near) - k)[len(near) - k] - 2 * error[i]]
            self._best.offer_to(first + i, exact(first + i, able), ids[able])

    def rankings(self) -> list[Ranked]:
        """As Best.rankings."""
        return self._best.rankings()
