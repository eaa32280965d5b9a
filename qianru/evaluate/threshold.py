"""From which similarity on two texts mean the same, for a wanted precision: the answer to "everything is 0.9"."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qianru.evaluate.resampling import Estimate, resample
from qianru.scores.cuts import Cuts, cut_reaching
from qianru.types import FloatArray

PRECISION = 0.9
N_RESAMPLES = 1_000
LEAST_PAIRS = 10          # that a threshold keeps: one pair that happens to be right is no precision of 100 %


class Suggestion(NamedTuple):
    """The lowest similarity from which on this share of the pairs is right, with 95 % intervals.

    threshold: its interval is of where other samples of the pairs would have put it
    precision, recall: of the pairs at or above this threshold, in other samples
    wanted: the precision that was asked for
    """

    threshold: Estimate
    precision: Estimate
    recall: Estimate
    wanted: float


def suggest(
    similarities: FloatArray, positive: FloatArray, precision: float = PRECISION, *, n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Suggestion | None:
    """The threshold that keeps most positives at that precision; None if no threshold reaches it.

    similarities: (n,) of pairs;  positive: (n,) whether a pair means the same
    Equal similarities stay or go together. The share of positives must be that of the use: precision depends on it.
    """
    n = len(similarities)
    if not n or not positive.any():
        return None
    cuts = Cuts(similarities, positive.astype(np.float64))
    least = max(1, min(LEAST_PAIRS, n // 20))
    right, taken = cuts(np.ones((1, n)))
    cut = int(cut_reaching(precision, right, taken, least)[0])
    if cut < 0:
        return None

    def threshold(counts: FloatArray) -> FloatArray:
        found = cut_reaching(precision, *cuts(counts), least)
        chosen: FloatArray = np.where(found < 0, cuts.levels[0], cuts.levels[found])
        return chosen

    def precision_there(counts: FloatArray) -> FloatArray:
        right, taken = cuts(counts)
        return right[:, cut] / np.maximum(taken[:, cut], 1)

    def recall_there(counts: FloatArray) -> FloatArray:
        right, _ = cuts(counts)
        return right[:, cut] / np.maximum(right[:, -1], 1)

    draws = resample([threshold, precision_there, recall_there], n, n_resamples=n_resamples, seed=seed)
    found = (float(cuts.levels[cut]), float(right[0, cut] / taken[0, cut]), float(right[0, cut] / right[0, -1]))
    low, high = np.quantile(draws, [0.025, 0.975], axis=1)
    level, reached, kept = (Estimate(value, float(low[i]), float(high[i])) for i, value in enumerate(found))
    return Suggestion(level, reached, kept, precision)
