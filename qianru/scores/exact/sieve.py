"""The k best by exact scores, found through fast scores of known error: what cannot be among them is never scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from qianru.scores.best import Best
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray

Scores: TypeAlias = Callable[[int, IntArray], FloatArray]


class Sieve:
    """Best, fed with fast scores and asking for the exact ones of those alone that may be among the k best."""

    def __init__(self, n_queries: int, k: int) -> None:
        self._best = Best(n_queries, k)

    def offer(
        self, fast: FloatArray, error: FloatArray, ids: IntArray, exact: Scores, first: int = 0,
        closer: tuple[Scores, FloatArray] | None = None,
    ) -> None:
        """Takes in a block of documents.

        fast: (q, b) scores of queries first to first + q;  error: (q,) how far they may be from the exact ones
        exact: (query, columns) -> the exact scores of these documents
        closer: scores between the two, and (q,) how far these may be off: what they rule out is not scored exactly
        """
        k, b = self._best.k, fast.shape[1]
        if not k or not b:
            return
        bars = self._best.thresholds
        least = bars[first : first + len(fast)] - error
        for i in np.flatnonzero(fast.max(axis=1) >= least).tolist():
            row, query = fast[i], first + i
            able = np.flatnonzero(row >= least[i])
            if len(able) > 2 * k:       # the k-th best of the block is a bar too; both it and the rest may be in error
                near = row[able]
                able = able[near >= np.partition(near, len(near) - k)[len(near) - k] - 2 * error[i]]
            able = able[np.argsort(-row[able], kind="stable")]
            while len(able):            # the likeliest first: they raise the bar for the others
                now, able = able[:k], able[k:]
                if closer is not None and bars[query] > -np.inf:
                    now = now[closer[0](query, now) >= bars[query] - closer[1][i]]
                if len(now):
                    self._best.offer_to(query, exact(query, now), ids[now])
                able = able[: np.searchsorted(-row[able], error[i] - bars[query], "right")]

    def rankings(self) -> list[Ranked]:
        """As Best.rankings."""
        return self._best.rankings()
