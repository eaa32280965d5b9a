"""From which score on a hit can be trusted: the threshold that reaches a wanted precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qianru.errors import BadInput, ShapeMismatch
from qianru.scores.cuts import Cuts, cut_reaching
from qianru.types import FloatArray


class Threshold(NamedTuple):
    """The smallest score that counts, and what it gave on the labelled hits: shares from 0 to 1."""

    min_score: float
    precision: float
    recall: float


def threshold_for(scores: Sequence[float] | FloatArray, relevant: Sequence[bool], precision: float) -> Threshold:
    """The threshold that keeps most of the relevant hits while at least this share of what is kept is relevant.

    scores: (n,) of hits as a plan gives them;  relevant: (n,) whether each is right
    Hits of one score stay or go together. Raises BadInput if no threshold reaches the precision.

    >>> threshold_for([0.9, 0.8, 0.7, 0.6], [True, True, False, True], 0.7)
    Threshold(min_score=0.6, precision=0.75, recall=1.0)
    >>> threshold_for([0.9, 0.8, 0.7, 0.6], [True, True, False, True], 0.8)
    Threshold(min_score=0.8, precision=1.0, recall=0.6666666666666666)
    """
    values, right = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    if values.ndim != 1 or values.shape != right.shape:
        raise ShapeMismatch(f"{values.shape} scores do not fit {right.shape} labels one to one.")
    check_precision(precision)
    if not np.isfinite(values).all():
        raise BadInput("A score is not a finite number.")
    if not right.any():
        raise BadInput("None of the labelled hits is relevant, so no threshold can be found.")
    cuts = Cuts(values, right)
    (n_right,), (kept,) = cuts(np.ones((1, len(values))))
    (place,) = cut_reaching(precision, n_right[None], kept[None])
    if place < 0:
        best = float((n_right / kept).max())
        raise BadInput(f"No threshold reaches a precision of {precision:.3f}; the best is {best:.3f}.")
    return Threshold(float(cuts.levels[place]), float(n_right[place] / kept[place]),
                     float(n_right[place] / n_right[-1]))


def check_precision(precision: float) -> None:
    """BadInput for what no share can be."""
    if not 0 < precision <= 1:
        raise BadInput(f"A precision lies above 0 and at most at 1, not at {precision}.")
