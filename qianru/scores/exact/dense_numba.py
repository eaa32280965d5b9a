"""What stands before and after the product of dense search, compiled: codes with their error, and the sieve."""

from __future__ import annotations

from typing import Any

import numpy as np

from qianru.scores.exact.compiled import compiled, compiled_sums
from qianru.scores.exact.heap import place

CHUNK = 64      # fast scores that are looked at one by one only if one of them reaches the bar


@compiled_sums
def measure(vectors: Any, lengths: Any, start: int, stop: int) -> None:
    """vectors (n, d) float32 -> lengths (n,) float64, not finite where a number is not."""
    for i in range(start, stop):
        row = vectors[i]
        total = 0.0
        for j in range(len(row)):
            total += np.float64(row[j]) * np.float64(row[j])
        lengths[i] = np.sqrt(total)


@compiled_sums
def quantize(vectors: Any, bits: Any, codes: Any, scales: Any, errors: Any, start: int, stop: int) -> None:
    """vectors (n, d) float32 -> codes (n, d) int8, scales (n,); errors (n,): the length of vector - scale * codes.

    bits: the vectors' own, as uint32
    """
    edge = np.empty(1, np.uint32)
    number = edge.view(np.float32)
    for i in range(start, stop):
        row, row_bits, code = vectors[i], bits[i], codes[i]
        largest = np.uint32(0)
        for j in range(len(row_bits)):      # without their signs floats are in the order of whole numbers
            largest = max(largest, row_bits[j] & np.uint32(0x7FFFFFFF))
        edge[0] = largest
        scale = number[0] / np.float32(127)
        if scale < np.float32(1e-30):
            code[:] = 0
            scales[i], errors[i] = 0, number[0] * np.sqrt(np.float32(len(row)))
            continue
        inverse = np.float32(1) / scale
        total = np.float32(0)
        for j in range(len(row)):
            at = row[j] * inverse
            whole = np.int32(at + np.float32(128.5)) - np.int32(128)    # cut off, which rounds what is above 0
            code[j] = np.int8(whole)
            rest = at - np.float32(whole)
            total += rest * rest
        scales[i], errors[i] = scale, scale * np.sqrt(total)


@compiled_sums
def narrow(vectors: Any, bits: Any, half: Any, errors: Any, start: int, stop: int) -> None:
    """vectors (n, d) float32 -> half (n, d), the bits of the nearest bfloat16; errors (n,): the length of what is lost.

    bits: the vectors' own, as uint32;  half: uint16
    """
    wide = np.empty(bits.shape[1], np.uint32)
    number = wide.view(np.float32)
    for i in range(start, stop):
        row, row_bits, short = vectors[i], bits[i], half[i]
        for j in range(len(row)):
            b = row_bits[j]
            odd = (b >> np.uint32(16)) & np.uint32(1)       # the even one of two that are equally near
            near = (b + np.uint32(0x7FFF) + odd) >> np.uint32(16)
            short[j] = np.uint16(near)
            wide[j] = near << np.uint32(16)
        total = np.float32(0)
        for j in range(len(row)):
            rest = row[j] - number[j]
            total += rest * rest
        errors[i] = np.sqrt(total)


@compiled_sums
def dot(left: Any, right: Any) -> Any:
    """The dot product of two float32 vectors, summed in float64, always in the same order."""
    total = 0.0
    for j in range(len(left)):
        total += np.float64(left[j]) * np.float64(right[j])
    return total


@compiled
def sieve(
    fast: Any, scales: Any, errors: Any, lengths: Any, query_scales: Any, query_errors: Any, query_lengths: Any,
    relative: float, queries: Any, vectors: Any, ids: Any, scores: Any, found: Any, counts: Any, start: int, stop: int,
) -> None:
    """Scores exactly, for queries start to stop, the documents that may be among the k best, and keeps these.

    fast: (q, b) float32 or int32, the product; times query_scales (q,) and scales (b,) it is off by at most
    |query| |error of the document| + |error of the query| |document| + relative |query| |document|
    scores, found, counts: (q, k), (q, k), (q,) the best so far, heaps
    """
    b, k = fast.shape[1], scores.shape[1]
    for i in range(start, stop):
        row, query = fast[i], queries[i]
        best, best_ids, n = scores[i], found[i], counts[i]
        by = np.float32(query_scales[i])
        of_error = np.float32(query_lengths[i])
        of_length = np.float32(query_errors[i] + relative * query_lengths[i])
        bar = best[0] if n == k else np.float32(-np.inf)
        for first in range(0, b, CHUNK):
            last = min(first + CHUNK, b)
            part, part_scales = row[first:last], scales[first:last]
            part_errors, part_lengths = errors[first:last], lengths[first:last]
            hit = np.int32(0)
            for j in range(len(part)):
                hit |= np.int32(np.float32(part[j]) * (by * part_scales[j])
                                + (of_error * part_errors[j] + of_length * part_lengths[j]) >= bar)
            if not hit:
                continue
            for j in range(len(part)):
                if (np.float32(part[j]) * (by * part_scales[j])
                        + (of_error * part_errors[j] + of_length * part_lengths[j]) < bar):
                    continue
                score = np.float32(dot(query, vectors[first + j]))
                id = ids[first + j]
                if n < k or score > best[0] or (score == best[0] and id < best_ids[0]):
                    n = place(best, best_ids, n, k, score, id)
                    if n == k:
                        bar = best[0]
        counts[i] = n
