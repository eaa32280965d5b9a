"""Logistic regression from vectors to labels, and how sure it may be: a temperature that makes its shares come true."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import require
from qianru.evaluate.learning import MOST_SPANNING, Span
from qianru.types import FloatArray, IntArray

STRENGTH = 10.0             # C of scikit-learn; 1 and 100 were worse or no better on eight sets of labelled texts
MAX_ITERATIONS = 200
N_BINS = 15                 # of the calibration error (Guo et al. 2017)
TEMPERATURES = (0.05, 20.0)
_GOLDEN = (5**0.5 - 1) / 2


class Head(NamedTuple):
    """weights: (k, d);  bias: (k,); a text's logits are weights @ vector + bias, one for each label"""

    weights: FloatArray
    bias: FloatArray

    def logits(self, vectors: Any) -> FloatArray:
        """(n, k) of (n, d) vectors."""
        logits: FloatArray = np.asarray(vectors @ self.weights.T, np.float64) + self.bias
        return logits


def learnt(vectors: Any, labels: IntArray, k: int) -> Head:
    """The head that tells the labels of the vectors best, under a penalty on large weights.

    vectors: (n, d) array or scipy matrix;  labels: (n,) from 0 to k - 1, each at least once
    """
    linear = require("sklearn.linear_model", "evaluate", "Classification")
    n, d = vectors.shape
    span = None if isinstance(vectors, np.ndarray) or not n < min(d, MOST_SPANNING) else Span(vectors)
    model = linear.LogisticRegression(C=STRENGTH, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")          # that the steps did not end: labels stay the same long before
        model.fit(vectors if span is None else span.coordinates, labels)
    weights = model.coef_ if span is None else span.turned_back(model.coef_).T
    bias = model.intercept_
    if k == 2:                                   # scikit-learn keeps one row for two labels
        weights, bias = np.concatenate([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    return Head(np.ascontiguousarray(weights, np.float32), np.asarray(bias, np.float64))


def shares(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """(n, k) probabilities: the softmax of logits divided by the temperature.

    >>> shares(np.array([[0.0, np.log(3)]])).round(2).tolist()
    [[0.25, 0.75]]
    """
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    powers = np.exp(scaled)
    probabilities: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def best_temperature(logits: FloatArray, labels: IntArray) -> float:
    """The temperature under which the labels of texts that were not learnt from are likeliest (Guo et al. 2017)."""
    low, high = np.log(TEMPERATURES)
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = (_surprise(logits, labels, np.exp(x)) for x in (a, b))
    for _ in range(40):                          # golden section: the loss has one valley
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = _surprise(logits, labels, np.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = _surprise(logits, labels, np.exp(b))
    return float(np.exp((low + high) / 2))


def calibration_error(confidence: FloatArray, right: NDArray[np.bool_], n_bins: int = N_BINS) -> float:
    """By how much confidence and share of right predictions differ, on average over texts in bins of like confidence.

    >>> calibration_error(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, True, False]))
    0.15000000000000002
    """
    bins = np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)
    said, true = (np.bincount(bins, values, n_bins) for values in (confidence, right.astype(np.float64)))
    return float(np.abs(said - true).sum() / max(len(confidence), 1))


def _surprise(logits: FloatArray, labels: IntArray, temperature: float) -> float:
    chosen = shares(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-300)).mean())
