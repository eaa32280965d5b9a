"""Attention of short texts, compiled: the way to torch's own products takes longer than the sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qianru.runtime.compiled import compiled, numbers_of
from qianru.runtime.softmax_numba import C0, C1, C2, C3, C4, C5, LOG2_E, LOWEST, NOTHING, ONE
from qianru.types import IntArray


@compiled
def _round(bits: Any, n: int) -> None:
    """The first n float32, given as uint32, as bfloat16 has them: to the nearest, and to the even one of two."""
    for i in range(n):
        odd = (bits[i] >> np.uint32(16)) & np.uint32(1)
        bits[i] = (bits[i] + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)


@compiled
def _attend_rows(
    bits: Any, shift_bits: int, offsets: Any, n_heads: int, mixed: Any, mixed_bits: Any, half: Any
) -> None:
    """bits: (total, 3 n_heads d) query, key and value: float32 as uint32 (shift_bits 0) or bfloat16 as uint16 (16)
    mixed: (total, n_heads d) float32, overwritten;  mixed_bits: the same memory as uint32
    half: the same as bfloat16's bits, or without rows
    In bfloat16 scores and shares are rounded where the products of a large batch round them.
    """
    total, width = bits.shape
    size = width // 3
    d = size // n_heads
    factor = np.float32(1 / np.sqrt(np.float32(d)))
    qkv = np.empty((total, width), np.float32)
    qkv_bits = qkv.view(np.uint32)
    for t in range(total):
        for n in range(width):
            qkv_bits[t, n] = np.uint32(bits[t, n]) << np.uint32(shift_bits)
    shares = np.empty(total, np.float32)
    share_bits = shares.view(np.uint32)
    powers = np.empty(total, np.float32)
    power_bits = powers.view(np.int32)
    for text in range(len(offsets) - 1):
        start, stop = offsets[text], offsets[text + 1]
        length = stop - start
        for head in range(0, size, d):
            keys = qkv[start:stop, size + head : size + head + d]
            values = qkv[start:stop, 2 * size + head : 2 * size + head + d]
            for t in range(start, stop):
                query = qkv[t, head : head + d]
                for j in range(length):
                    score = np.float32(0)
                    for k in range(d):
                        score += query[k] * keys[j, k]
                    shares[j] = score * factor
                if shift_bits:
                    _round(share_bits, length)
                top = shares[0]
                for j in range(length):
                    top = max(top, shares[j])
                for j in range(length):   # e^x = 2^whole * 2^f; see softmax_numba
                    x = max((shares[j] - top) * LOG2_E, LOWEST)
                    whole = np.int32(x)
                    f = x - np.float32(whole)
                    shares[j] = ((((C5 * f + C4) * f + C3) * f + C2) * f + C1) * f + C0
                    power_bits[j] = (whole + np.int32(127)) << np.int32(23)
                sum_of_shares = np.float32(0)
                for j in range(length):
                    shares[j] *= powers[j]
                    sum_of_shares += shares[j]
                inverse = ONE / sum_of_shares if sum_of_shares > 0 else NOTHING   # no number among the scores
                for j in range(length):
                    shares[j] *= inverse
                if shift_bits:
                    _round(share_bits, length)
                found = mixed[t, head : head + d]
                for k in range(d):
                    found[k] = 0
                for j in range(length):
                    for k in range(d):
                        found[k] += shares[j] * values[j, k]
    for t in range(len(half)):
        _round(mixed_bits[t], size)
        for n in range(size):
            half[t, n] = np.uint16(mixed_bits[t, n] >> np.uint32(16))


def attend_short(qkv: Tensor, offsets: IntArray, n_heads: int) -> Tensor:
    """(total, n_heads d) attention within each row, in the type of what is given.

    qkv: (total, 3 n_heads d) float32 or bfloat16 on the CPU, contiguous;  offsets: where the rows begin, and the end
    """
    bits, shift_bits = numbers_of(qkv)
    size = qkv.shape[1] // 3
    mixed = np.empty((len(qkv), size), np.float32)
    if not shift_bits:
        _attend_rows(bits, 0, offsets, n_heads, mixed, mixed.view(np.uint32), _NO_BITS)
        return torch.from_numpy(mixed)
    made = torch.empty((len(qkv), size), dtype=torch.bfloat16)
    _attend_rows(bits, shift_bits, offsets, n_heads, mixed, mixed.view(np.uint32), numbers_of(made)[0])
    return made


_NO_BITS = np.zeros((0, 1), np.uint16)
