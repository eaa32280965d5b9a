"""Which scores are the best, and how several rankings become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.types import FloatArray, IntArray

Ranked: TypeAlias = tuple[IntArray, FloatArray]
"""(ids, scores) of one query's answers, best first."""
Scale: TypeAlias = Literal["minmax", "max", "none"]

RRF_K = 60   # Cormack, Clarke and Buettcher 2009


def top_k(scores: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """(n, k) columns of each row's k best scores and the scores, best first, equal scores by the lower column.

    With fewer than k columns all of them come back. Raises BadInput for NaN, which has no rank.

    >>> ids, best = top_k(np.array([[0.5, 0.9, 0.5, 0.1]]), 2)
    >>> ids.tolist(), best.tolist()
    ([[1, 0]], [[0.9, 0.5]])
    """
    if scores.ndim != 2:
        raise ShapeMismatch(f"top_k takes (n, m) scores, not an array of shape {scores.shape}. Add the missing axis.")
    if k < 0:
        raise BadInput(f"k is a number of answers; {k} is below 0.")
    if np.isnan(scores).any():
        raise BadInput("The scores hold NaN, which has no rank. Look for NaN or infinity in the vectors behind them.")
    n, m = scores.shape
    k = min(k, m)
    ids = np.empty((n, k), np.int64)
    for i, row in enumerate(scores):
        # all that reach the k-th best score, ascending: more than k when several stand equal at the border
        able = np.arange(m) if k in (0, m) else np.flatnonzero(row >= np.partition(row, m - k)[m - k])
        ids[i] = able[np.argsort(-row[able], kind="stable")[:k]]
    return ids, np.take_along_axis(scores, ids, 1)


def fuse_rrf(rankings: Sequence[Ranked], weights: Sequence[float] | None = None, k: float = RRF_K) -> Ranked:
    """One ranking of all ids by the sum of weight / (k + rank), rank from 1 in the order given; scores play no part.

    An id that a ranking lacks gets nothing from it. Equal sums go by the lower id.
    Source: Cormack et al. 2009.

    >>> ids, scores = fuse_rrf([(np.array([7, 8]), np.array([9.0, 1.0])), (np.array([8]), np.array([0.4]))])
    >>> ids.tolist(), scores.round(4).tolist()     # 8: 1/62 + 1/61;  7: 1/61
    ([8, 7], [0.0325, 0.0164])
    """
    if not k > -1:
        raise BadInput(f"k + 1 divides the best rank's weight, so k must be above -1, not {k}.")
    return _fuse([(ids, 1 / (k + 1 + np.arange(len(ids)))) for ids, _ in rankings], weights)


def fuse_weighted(
    rankings: Sequence[Ranked], weights: Sequence[float] | None = None, scale: Scale = "minmax"
) -> Ranked:
    """One ranking of all ids by the weighted sum of their scores, each ranking brought to one scale first.

    An id that a ranking lacks gets nothing from it. Equal sums go by the lower id. Scales:
    "minmax": (score - lowest) / (highest - lowest), so the last of a ranking also gets nothing; all 1 if all are equal
    "max": score / largest absolute score;  "none": the scores as they are
    """
    if scale not in ("minmax", "max", "none"):
        raise UnknownName("scale", scale, ["minmax", "max", "none"])
    if not all(np.isfinite(scores).all() for _, scores in rankings):
        raise BadInput("A ranking holds a score that is not a finite number. Leave that answer out.")
    return _fuse([(ids, _scaled(np.asarray(scores, np.float64), scale)) for ids, scores in rankings], weights)


def _fuse(rankings: Sequence[Ranked], weights: Sequence[float] | None) -> Ranked:
    """The ids by the weighted sum of what each ranking gives them, best first, equal sums by the lower id."""
    shares = [1.0] * len(rankings) if weights is None else list(weights)
    if len(shares) != len(rankings):
        raise ShapeMismatch(f"{len(rankings)} rankings need as many weights, not {len(shares)}.")
    if not all(0 <= share < np.inf for share in shares):
        raise BadInput(f"Weights of rankings are numbers from 0 upwards, not {shares}.")
    for ids, scores in rankings:
        if len(ids) != len(scores):
            raise ShapeMismatch(f"A ranking has one score for each id, not {len(scores)} for {len(ids)}.")
    if not any(len(ids) for ids, _ in rankings):
        return np.empty(0, np.int64), np.empty(0)
    every = np.concatenate([np.asarray(ids, np.int64) for ids, _ in rankings])
    gains = np.concatenate([share * scores for share, (_, scores) in zip(shares, rankings, strict=True)])
    by_id = every.argsort(kind="stable")        # once; np.unique of each and of all took longer
    ids, source = every[by_id], np.repeat(np.arange(len(rankings)), [len(ids) for ids, _ in rankings])[by_id]
    new = np.ones(len(ids), bool)
    new[1:] = ids[1:] != ids[:-1]
    if (~new[1:] & (source[1:] == source[:-1])).any():
        raise BadInput("A ranking names an id twice. Keep its best place only.")
    sums = np.asarray(np.bincount(new.cumsum() - 1, gains[by_id]), np.float64)       # in the order of the rankings
    ids, order = ids[new], np.argsort(-sums, kind="stable")
    return ids[order], sums[order]


def _scaled(scores: NDArray[np.float64], scale: Scale) -> FloatArray:
    if scale == "none" or not len(scores):
        return scores
    if scale == "max":
        largest = np.abs(scores).max()
        return scores / largest if largest else scores
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones(len(scores))
