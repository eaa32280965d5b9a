"""Logistic regression from vectors to labels."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from qianru.errors import require
from qianru.evaluate.learning import MOST_SPANNING, Span
from qianru.types import FloatArray, IntArray

STRENGTH = 10.0             # C of scikit-learn; 1 and 100 were worse or no better on eight sets of labelled texts
MAX_ITERATIONS = 200


class Head(NamedTuple):
    """weights: (k, d);  bias: (k,); a text's logits are weights @ vector + bias, one for each label"""

    weights: FloatArray
    bias: FloatArray

    def logits(self, vectors: Any) -> FloatArray:
        """(n, k) of (n, d) vectors."""
        logits: FloatArray = np.asarray(vectors @ self.weights.T, np.float64) + self.bias
        return logits


def learnt(vectors: Any, labels: IntArray, k: int, scale: FloatArray | None = None) -> Head:
    """The head that tells the labels of the vectors best, under a penalty on large weights.

    vectors: (n, d) array or scipy matrix;  labels: (n,) from 0 to k - 1, each at least once
    scale: (d,) of a scipy matrix, what each of the numbers counts; all alike unless given
    """
    linear = require("sklearn.linear_model", "evaluate", "Classification")
    n, d = vectors.shape
    if scale is not None:
        vectors = vectors.multiply(scale[None]).tocsr()
    span = None if isinstance(vectors, np.ndarray) or not n < min(d, MOST_SPANNING) else Span(vectors)
    model = linear.LogisticRegression(C=STRENGTH, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")          # that the steps did not end: labels stay the same long before
        model.fit(vectors if span is None else span.coordinates, labels)
    weights = model.coef_ if span is None else span.turned_back(model.coef_).T
    bias = model.intercept_
    if k == 2:                                   # scikit-learn keeps one row for two labels
        weights, bias = np.concatenate([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    if scale is not None:
        weights = weights * scale                # for vectors as they were
    return Head(np.ascontiguousarray(weights, np.float32), np.asarray(bias, np.float64))
