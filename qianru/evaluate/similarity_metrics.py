"""How well similarities of pairs agree with scores and labels, by mteb's definitions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qianru.errors import require
from qianru.types import FloatArray

Numbers = NDArray[np.float64]


def correlations(similarities: Mapping[str, FloatArray], gold: Numbers) -> dict[str, float]:
    """name_spearman and name_pearson of each similarity with the scores; 0 where one of both never changes."""
    stats = require("scipy.stats", "evaluate", "Correlation")
    found: dict[str, float] = {}
    for name, values in similarities.items():
        prefix = f"{name}_" if name else ""
        constant = len(gold) < 2 or np.ptp(values) == 0 or np.ptp(gold) == 0
        for measure, function in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
            found[prefix + measure] = 0.0 if constant else float(function(gold, values)[0])
    return found


def agreement(similarities: Mapping[str, FloatArray], labels: NDArray[np.int64]) -> dict[str, float]:
    """name_accuracy, name_f1, name_precision, name_recall and name_ap of each similarity, and max_… over all of them.

    labels: 1 where both texts mean the same, else 0. Thresholds are the best for these very pairs.
    """
    metrics = require("sklearn.metrics", "evaluate", "Pair classification")
    found: dict[str, float] = {}
    for name, values in similarities.items():
        one = {**best_threshold(np.asarray(values, np.float64), labels),
               "ap": float(metrics.average_precision_score(labels, values)) if labels.any() else 0.0}
        found |= {f"{name}_{measure}": value for measure, value in one.items()}
        for measure, value in one.items():
            found[f"max_{measure}"] = max(found.get(f"max_{measure}", 0.0), value)
    return found


def best_threshold(values: Numbers, labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy at the threshold that is best for it; f1, precision and recall at that which is best for f1.

    A threshold lies between two different values, so some pairs are always on either side.

    >>> best_threshold(np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 0]))["accuracy"]
    0.75
    """
    order = np.argsort(-values, kind="stable")
    ranked, sorted_labels = values[order], labels[order]
    ends = np.flatnonzero(ranked[:-1] != ranked[1:])              # the last row above each possible threshold
    if not len(ends):
        return {"accuracy": 0.0, "f1": 0.0, "precision": 0.0, "recall": 0.0}
    right = np.cumsum(sorted_labels)[ends]                        # positives above it
    above = ends + 1
    n_positive = int(labels.sum())
    negatives_below = len(labels) - n_positive - (above - right)
    precision = right / above
    recall = right / max(n_positive, 1)
    f1 = np.divide(2 * precision * recall, precision + recall, out=np.zeros(len(ends)), where=right > 0)
    best = int(f1.argmax())
    return {"accuracy": float((right + negatives_below).max() / len(labels)), "f1": float(f1[best]),
            "precision": float(precision[best]) if f1[best] else 0.0,
            "recall": float(recall[best]) if f1[best] else 0.0}
