"""The bootstrap: how far a score, or the difference of two, would move if other items had been asked.

Items (queries, pairs, texts) are drawn with replacement; a statistic takes how often each was drawn, not the sample
itself, so that thousands of resamples are a few operations on matrices. All models of a task see the same samples: a
hard query is hard for both, and drops out of their difference.
Source: Efron and Tibshirani 1993, chapters 13 and 16; for the expanded percentile interval Hesterberg 2015, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, require
from qianru.types import FloatArray

Statistic: TypeAlias = Callable[[FloatArray], FloatArray]
"""(b, n) how often each of n items was drawn -> (b,) scores."""

N_RESAMPLES = 5_000
LEVEL = 0.95
CELLS = 1 << 20          # counts that are held at once: 8 MB of float64
NOISE = 1e-12            # differences below it are rounding
FEW_DRAWS = 10           # beyond zero: too few to count


class Estimate(NamedTuple):
    """A value and the ends of its interval; both are NaN where one item or none says nothing of its spread."""

    value: float
    low: float
    high: float


def resample(
    statistics: Sequence[Statistic], n_items: int, *, n_resamples: int = N_RESAMPLES, seed: int = 0, name: str = ""
) -> FloatArray:
    """(m, n_resamples) values of m statistics, column j of all of them on the same drawn items.

    name: of the task; gives each task samples of its own, whatever others are compared beside it
    """
    if n_resamples < 100:
        raise BadInput(f"{n_resamples} resamples are too few for an interval. Take 1,000 or more.")
    draws = np.empty((len(statistics), n_resamples))
    generator = np.random.default_rng([seed, crc32(name.encode("utf-8", "surrogatepass"))])
    at_once = max(1, min(n_resamples, CELLS // max(1, n_items)))
    for start in range(0, n_resamples, at_once):
        counts = _counts(generator, min(at_once, n_resamples - start), n_items)
        for row, statistic in zip(draws, statistics, strict=True):
            row[start : start + len(counts)] = statistic(counts)
    return draws


def estimate(value: float, draws: FloatArray, n_items: int, level: float = LEVEL) -> Estimate:
    """The value with its expanded percentile interval.

    A plain percentile interval is too short for few items, by the factor sqrt((n - 1) / n) and for want of Student's t;
    so its tails are those of a normal quantile of sqrt(n / (n - 1)) t.
    """
    if not 0.5 <= level < 1:
        raise BadInput(f"The level of an interval lies between 0.5 and 1, not at {level}.")
    if n_items < 2:
        return Estimate(value, np.nan, np.nan)
    stats = require("scipy.stats", "evaluate", "Judging results")
    tail = float(stats.norm.cdf(np.sqrt(n_items / (n_items - 1)) * stats.t.ppf((1 - level) / 2, n_items - 1)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def p_value(draws: FloatArray, n_items: int) -> float:
    """Two-sided p that the difference behind these draws is zero: 1 - level of the interval that just reaches zero.

    Where fewer than ten draws lie beyond zero, the tail is that of a normal distribution with the draws' mean and
    spread: a count of draws cannot go below 1 / n_resamples, and corrected for a hundred tests would never be small.
    """
    if n_items < 2:
        return 1.0
    stats = require("scipy.stats", "evaluate", "Judging results")
    beyond = min((draws < NOISE).sum(), (draws > -NOISE).sum())
    tail = min(0.5, (beyond + 1) / (len(draws) + 1))
    if beyond < FEW_DRAWS:
        spread = float(draws.std())
        tail = min(tail, float(stats.norm.cdf(-abs(draws.mean()) / spread)) if spread > NOISE else 0.0)
    quantile = stats.norm.ppf(max(tail, 1e-300))
    return float(2 * stats.t.cdf(quantile / np.sqrt(n_items / (n_items - 1)), n_items - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, corrected so that among all of them one false alarm is no likelier than each says.

    Source: Holm 1979. Unlike Bonferroni it multiplies only the smallest by their number.

    >>> holm([0.01, 0.04, 0.03])      # 3 x .01; then 2 x .03; then .04, but not below what stands before it
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors))
    back = np.empty(len(p_values))
    back[order] = corrected
    return [float(p) for p in back]


def _counts(generator: np.random.Generator, n_samples: int, n_items: int) -> NDArray[Any]:
    """(n_samples, n_items) how often each item is drawn; each row sums to n_items."""
    drawn = generator.integers(0, n_items, (n_samples, n_items), np.int32)
    drawn += (np.arange(n_samples, dtype=np.int32) * n_items)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_samples * n_items).reshape(n_samples, n_items).astype(np.float64)
