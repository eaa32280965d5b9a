"""Probabilities that come true: of labels told with 80 % about 80 % are right.

Logits are divided by a temperature (Guo et al. 2017). Where labels are many or noisy one number is not enough: the
share of the best label is still too high at one end and too low at the other. So its odds are bent by a slope and an
offset (Platt 1999), and the shares of a text tempered until the best of them is what that says; their order stays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import require
from qianru.types import FloatArray, IntArray

N_BINS = 15                 # of the calibration error (Guo et al. 2017)
TEMPERATURES = (0.05, 20.0)
LEAST_SLOPE = 0.05          # a surer label is never told with less confidence
_GOLDEN = (5**0.5 - 1) / 2
_STEPS = 50                 # of halving; 2^-50 of the span
_NEVER, _ALWAYS = 1e-9, 1 - 1e-9


class Calibration(NamedTuple):
    """temperature of the logits; slope and offset of the best label's log-odds."""

    temperature: float = 1.0
    slope: float = 1.0
    offset: float = 0.0

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """(n, k) of (n, k) logits; rows add up to 1, in the order of the logits."""
        scaled = (logits - logits.max(axis=1, keepdims=True)) / self.temperature
        wanted = _share(self.slope * _odds(_softmax(scaled).max(axis=1)) + self.offset)
        return _tempered(scaled, np.maximum(wanted, 1 / logits.shape[1]))


def fit_calibration(logits: FloatArray, labels: IntArray) -> Calibration:
    """The calibration under which the labels of texts that were not learnt from are likeliest.

    From a few texts nobody can know that all are right: of n that are, n + 1 of n + 2 are reckoned with.
    """
    linear = require("sklearn.linear_model", "evaluate", "Calibration")
    temperature = _best_temperature(logits, labels)
    shares = _softmax((logits - logits.max(axis=1, keepdims=True)) / temperature)
    odds, right = _odds(shares.max(axis=1)), shares.argmax(axis=1) == labels
    n = len(right)
    hope = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / (n - right.sum() + 2))     # Platt's targets
    both = np.repeat([True, False], n)       # each text counts as right by its hope, and as wrong by the rest
    model = linear.LogisticRegression(C=1e4).fit(np.tile(odds, 2)[:, None], both, np.concatenate([hope, 1 - hope]))
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope < LEAST_SLOPE:                  # then all that is known is how many are right
        slope, offset = LEAST_SLOPE, float(_odds(hope.mean(keepdims=True))[0] - LEAST_SLOPE * odds.mean())
    return Calibration(temperature, slope, offset)


def calibration_error(confidence: FloatArray, right: NDArray[np.bool_], n_bins: int = N_BINS) -> float:
    """By how much confidence and share of right predictions differ, on average over texts in bins of like confidence.

    >>> round(calibration_error(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, True, False])), 6)
    0.15
    """
    bins = np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)
    said, true = (np.bincount(bins, values, n_bins) for values in (confidence, right.astype(np.float64)))
    return float(np.abs(said - true).sum() / max(len(confidence), 1))


def _softmax(scaled: FloatArray) -> FloatArray:
    """Of rows whose largest number is 0."""
    powers = np.exp(scaled)
    shares: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _odds(shares: FloatArray) -> FloatArray:
    kept = np.clip(shares, _NEVER, _ALWAYS)
    odds: FloatArray = np.log(kept / (1 - kept))
    return odds


def _share(odds: FloatArray) -> FloatArray:
    share: FloatArray = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    return share


def _tempered(scaled: FloatArray, wanted: FloatArray) -> FloatArray:
    """Shares whose best is as wanted: each row divided by a number found by halving, since the best falls with it.

    Labels that are equally good keep equal shares, whatever is wanted.
    """
    low, high = np.full(len(scaled), -7.0), np.full(len(scaled), 7.0)      # of e^x
    for _ in range(_STEPS):
        middle = (low + high) / 2
        best = 1 / np.exp(scaled / np.exp(middle)[:, None]).sum(axis=1)
        low, high = np.where(best > wanted, middle, low), np.where(best > wanted, high, middle)
    return _softmax(scaled / np.exp((low + high) / 2)[:, None])


def _best_temperature(logits: FloatArray, labels: IntArray) -> float:
    low, high = np.log(TEMPERATURES)
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = (_surprise(logits, labels, np.exp(x)) for x in (a, b))
    for _ in range(40):                     # golden section: the loss has one valley
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = _surprise(logits, labels, np.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = _surprise(logits, labels, np.exp(b))
    return float(np.exp((low + high) / 2))


def _surprise(logits: FloatArray, labels: IntArray, temperature: float) -> float:
    """The mean negative log-probability of the labels."""
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    chosen = scaled[np.arange(len(labels)), labels] - np.log(np.exp(scaled).sum(axis=1))
    return float(-chosen.mean())
