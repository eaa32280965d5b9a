"""What stands before and after an int8 product, one pass over memory each, compiled by numba at the first use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from torch import Tensor

from qianru.runtime.activations import ACTIVATIONS
from qianru.runtime.compiled import bits_of, compiled, numbers_of, spread
from qianru.runtime.int8_torch import FUSED, SMALLEST, Kernels
from qianru.runtime.norm_numba import NormWeights

EDGE = 3.3             # erf(3.3) is 1 to 3e-6


def _erf_coefficients(degree: int = 9) -> NDArray[np.float32]:
    """Of the polynomial p with erf(z) = z p(2 (z / EDGE)^2 - 1) for |z| <= EDGE, within 2e-5; an own fit.

    A code of int8 is 20 times as coarse, and a loop of products alone is one that the processor does 16 at a time.
    """
    from math import erf

    def even(u: Any) -> Any:
        z = EDGE * np.sqrt((u + 1) / 2)
        return np.array([erf(x) / x if x else 2 / np.sqrt(np.pi) for x in z])

    fitted: NDArray[np.float32] = chebyshev.cheb2poly(chebyshev.chebinterpolate(even, degree)).astype(np.float32)
    return fitted


C0, C1, C2, C3, C4, C5, C6, C7, C8, C9 = _erf_coefficients()
CURVE = np.float32(1 / EDGE**2)     # 2 (z / EDGE)^2 with z = y / sqrt(2)
STEEP = np.float32(0.5**0.5)
ONE, HALF, LIMIT = np.float32(1), np.float32(0.5), np.float32(EDGE * 2**0.5)


@compiled
def _code(row: Any, bits: Any, codes: Any) -> Any:
    """The scale and the zero point of the codes of one token; bits: the row's memory as int32."""
    low, high = np.int32(0), np.int32(0)
    for k in range(len(row)):   # floats in the order of whole numbers: 8 times as fast, the compiler can regroup those
        ordered = bits[k] ^ ((bits[k] >> np.int32(31)) & np.int32(0x7FFFFFFF))
        low = min(low, ordered)
        high = max(high, ordered)
    edge_bits = np.empty(2, np.int32)
    edge_bits[0] = low ^ ((low >> np.int32(31)) & np.int32(0x7FFFFFFF))
    edge_bits[1] = high
    edges = edge_bits.view(np.float32)
    step = max((edges[1] - edges[0]) / np.float32(255), np.float32(SMALLEST))
    inverse = ONE / step
    middle = np.float32(np.rint(-edges[0] * inverse))
    shift = middle + HALF   # cutting off what follows the point then rounds
    for k in range(len(row)):
        codes[k] = np.uint8(np.int32(min(row[k] * inverse + shift, np.float32(255))))
    return step, middle


@compiled
def _activate(row: Any, activation: int) -> None:
    """By its number in FUSED, in place."""
    if activation == 1:
        for n in range(len(row)):
            y = row[n]
            z = min(max(y, -LIMIT), LIMIT)
            u = CURVE * z * z - ONE
            p = ((((((((C9 * u + C8) * u + C7) * u + C6) * u + C5) * u + C4) * u + C3) * u + C2) * u + C1) * u + C0
            row[n] = HALF * y * (ONE + STEEP * z * p)
    elif activation == 2:
        for n in range(len(row)):
            row[n] = max(row[n], np.float32(0))


@compiled
def _quantize_rows(x: Any, shift_bits: int, codes: Any, scale: Any, zero: Any, start: int, stop: int) -> None:
    """x: (total, in) the bits of float32 as uint32 (shift_bits 0) or of bfloat16 as uint16 (shift_bits 16)."""
    n = codes.shape[1]
    bits = np.empty(n, np.int32)
    row = bits.view(np.float32)
    for t in range(start, stop):
        for k in range(n):
            bits[k] = np.int32(np.uint32(x[t, k]) << np.uint32(shift_bits))
        scale[t], zero[t] = _code(row, bits, codes[t])


@compiled
def _finish_rows(
    products: Any, bits: Any, scale: Any, zero: Any, sums: Any, bias: Any, activation: int, residual: Any, half: Any,
    start: int, stop: int,
) -> None:
    """products: (total, out) float32, overwritten;  bits: the same memory as uint32
    residual: (total, out) float32, added;  half: (total, out) uint16 for bfloat16's bits; one of the two has no rows
    """
    n_out = products.shape[1]
    for t in range(start, stop):
        factor = scale[t]
        offset = scale[t] * zero[t]
        row = products[t]
        for n in range(n_out):
            row[n] = factor * row[n] - offset * sums[n] + bias[n]
        _activate(row, activation)
        if len(residual):
            for n in range(n_out):
                row[n] += residual[t, n]
        if len(half):
            for n in range(n_out):
                b = bits[t, n]
                odd = (b >> np.uint32(16)) & np.uint32(1)   # to the nearest, and to the even one of two
                half[t, n] = np.uint16((b + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@compiled
def _onward_rows(
    products: Any, bits: Any, scale: Any, zero: Any, sums: Any, bias: Any, activation: int, hidden: Any,
    norm_weight: Any, norm_bias: Any, eps: Any, codes: Any, start: int, stop: int,
) -> None:
    """products: (total, out) float32, overwritten;  bits: the same memory as int32
    scale, zero: (total,) of the codes that went in, overwritten with those of the codes that come out
    hidden: (total, out) float32, added and overwritten with the norm of the sum, which is coded then; or without rows
    """
    n_out = products.shape[1]
    size = np.float32(n_out)
    for t in range(start, stop):
        factor = scale[t]
        offset = scale[t] * zero[t]
        row = products[t]
        for n in range(n_out):
            row[n] = factor * row[n] - offset * sums[n] + bias[n]
        _activate(row, activation)
        if len(hidden):
            states = hidden[t]
            total = np.float32(0)
            for n in range(n_out):
                row[n] += states[n]
                total += row[n]
            mean = total / size
            squares = np.float32(0)
            for n in range(n_out):
                squares += (row[n] - mean) * (row[n] - mean)
            inverse = ONE / np.sqrt(squares / size + eps)
            for n in range(n_out):
                row[n] = (row[n] - mean) * inverse * norm_weight[n] + norm_bias[n]
                states[n] = row[n]
        scale[t], zero[t] = _code(row, bits[t], codes[t])


def quantize(x: Tensor) -> tuple[Tensor, NDArray[np.float32], NDArray[np.float32]]:
    """As int8_torch's, but scale and zero are NumPy's, made in a tenth of the time; only finish needs them."""
    n = x.shape[0]
    codes = torch.empty(x.shape, dtype=torch.uint8)
    scale, zero = np.empty(n, np.float32), np.empty(n, np.float32)
    spread(_quantize_rows, (*numbers_of(x), codes.numpy(), scale, zero), n)
    return codes, scale, zero


def finish(
    products: Tensor, scale: NDArray[np.float32], zero: NDArray[np.float32], sums: Tensor, bias: Tensor,
    activation: str, residual: Tensor | None,
) -> Tensor:
    """As int8_torch's."""
    fused = FUSED.get(activation)
    numbers = products.numpy()
    result = products if residual is not None or fused is None else torch.empty(products.shape, dtype=torch.bfloat16)
    half = bits_of(result) if result is not products else _NO_BITS
    added = residual.contiguous().numpy() if residual is not None and fused is not None else _NO_NUMBERS
    rows = (numbers, numbers.view(np.uint32), scale, zero, sums.numpy(), bias.numpy(), fused or 0, added, half)
    spread(_finish_rows, rows, len(products))
    if fused is not None:
        return result
    y = ACTIVATIONS[activation](products)
    return y.bfloat16() if residual is None else y + residual


def onward(
    products: Tensor, scale: NDArray[np.float32], zero: NDArray[np.float32], sums: Tensor, bias: Tensor,
    activation: str, hidden: Tensor | None, norm: NormWeights | None,
) -> Tensor:
    """From products of codes to the codes for the next product, in one go: (total, out) uint8.

    scale, zero: (total,) of the codes that went in; they become those of the codes that come out
    hidden: (total, out) float32, added after the activation and overwritten with the norm of the sum, which is coded
        then; None, and no norm, to code what the activation gives
    """
    numbers = products.numpy()
    codes = torch.empty(products.shape, dtype=torch.uint8)
    states = _NO_NUMBERS if hidden is None else hidden.numpy()
    rows = (numbers, numbers.view(np.int32), scale, zero, sums.numpy(), bias.numpy(), FUSED[activation], states,
            *(norm or _NO_NORM), codes.numpy())
    spread(_onward_rows, rows, len(numbers))
    return codes


_NO_BITS = np.zeros((0, 1), np.uint16)
_NO_NUMBERS = np.zeros((0, 1), np.float32)
_NO_NORM = NormWeights(_NO_NUMBERS[:, 0], _NO_NUMBERS[:, 0], np.float32(0))


NUMBA = Kernels(quantize, finish)
