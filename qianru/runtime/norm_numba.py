"""A product's result added to what came in, and normalised: one pass over memory where torch needs three."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from qianru.runtime.compiled import numbers_of, spread
from qianru.scores.exact.compiled import compiled_sums
from qianru.types import FloatArray

ONE = np.float32(1)


class NormWeights(NamedTuple):
    """weight, bias: (size,);  eps: what is added to the variance."""

    weight: FloatArray
    bias: FloatArray
    eps: np.float32


@compiled_sums      # what is not a number stays that
def _norm_rows(
    y: Any, shift_bits: int, hidden: Any, hidden_bits: Any, weight: Any, bias: Any, eps: Any, half: Any,
    start: int, stop: int,
) -> None:
    """y: (total, size) float32 as uint32 (shift_bits 0) or bfloat16 as uint16 (shift_bits 16)
    hidden: (total, size) float32, overwritten;  hidden_bits: the same memory as uint32
    half: the same as bfloat16's bits, or without rows
    """
    size = hidden.shape[1]
    row = np.empty(size, np.float32)
    bits = row.view(np.uint32)
    for t in range(start, stop):
        for n in range(size):
            bits[n] = np.uint32(y[t, n]) << np.uint32(shift_bits)
        states = hidden[t]
        total = np.float32(0)
        for n in range(size):
            row[n] += states[n]
            total += row[n]
        mean = total / np.float32(size)
        squares = np.float32(0)
        for n in range(size):
            squares += (row[n] - mean) * (row[n] - mean)
        inverse = ONE / np.sqrt(squares / np.float32(size) + eps)
        for n in range(size):
            states[n] = (row[n] - mean) * inverse * weight[n] + bias[n]
        if len(half):
            for n in range(size):
                b = hidden_bits[t, n]
                odd = (b >> np.uint32(16)) & np.uint32(1)   # to the nearest, and to the even one of two
                half[t, n] = np.uint16((b + np.uint32(0x7FFF) + odd) >> np.uint32(16))


def add_norm_(hidden: Tensor, y: Tensor, norm: NormWeights, half: Tensor | None) -> None:
    """hidden becomes norm(hidden + y), and half the same in bfloat16; all (total, size), contiguous, on the CPU.

    hidden: float32;  y: float32 or bfloat16
    """
    states = hidden.numpy()
    rounded = _NO_BITS if half is None else numbers_of(half)[0]
    spread(_norm_rows, (*numbers_of(y), states, states.view(np.uint32), *norm, rounded), len(states))


_NO_BITS = np.zeros((0, 1), np.uint16)
