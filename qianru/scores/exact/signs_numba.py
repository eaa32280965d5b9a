"""Codes of one bit a number compared by compiled code, many documents at a time, and the few best scored exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from qianru.scores.exact.compiled import compiled
from qianru.scores.exact.dense_numba import dot

LANES = 256     # documents side by side: their counts are 2 KB
FEW = 16        # of which are looked at one by one only if one of them is near


@compiled
def ones(word: Any) -> Any:
    """How many bits of 64 are set; LLVM knows these steps and takes the processor's instruction, if it has one."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@compiled
def _keep(places: Any, apart: Any, n: int, m: int, counts: Any) -> int:
    """Leaves the m nearest of n, in their order, equally near ones by their place; returns how far the last is."""
    counts[:] = 0
    for i in range(n):
        counts[apart[i]] += 1
    last, before = 0, 0
    while before + counts[last] < m:
        before += counts[last]
        last += 1
    ties: Any = m - before
    kept: Any = 0
    for i in range(n):      # without branches, which a processor would guess wrongly half of the time
        far = apart[i]
        tie = np.int64(far == last)
        places[kept], apart[kept] = places[i], far
        kept += np.int64(far < last) | (tie & np.int64(ties > 0))
        ties -= tie
    return last


@compiled
def nearest(codes: Any, n: int, asked: Any, found: Any, start: int, stop: int) -> None:
    """For queries start to stop the places of the documents whose codes differ in the fewest bits, ascending.

    codes: (blocks, words, LANES) uint64, of n documents and nothing after them;  asked: (q, words)
    found: (q, m), to be filled; m is at most n
    """
    n_words, m = codes.shape[1], found.shape[1]
    differ = np.empty(LANES, np.uint64)
    places, apart = np.empty(2 * m + LANES + 1, np.int64), np.empty(2 * m + LANES + 1, np.int64)
    counts = np.empty(64 * n_words + 1, np.int64)
    for query in range(start, stop):
        have: Any = 0
        bar = np.uint64(64 * n_words + 1)       # nothing that differs in so many bits is wanted any more
        for block in range(len(codes)):
            differ[:] = 0
            for word in range(n_words):
                part, bits = codes[block, word], asked[query, word]
                for j in range(LANES):
                    differ[j] += ones(part[j] ^ bits)
            first = block * LANES
            for few in range(0, min(LANES, n - first), FEW):
                near = False
                for j in range(FEW):
                    near |= differ[few + j] < bar
                if near:
                    for j in range(few, min(few + FEW, n - first)):
                        places[have], apart[have] = first + j, differ[j]
                        have += np.int64(differ[j] < bar)
            if have >= 2 * m:
                bar = np.uint64(_keep(places, apart, have, m, counts))      # as far as that, but with a lower place
                have = m
        _keep(places, apart, have, m, counts)
        found[query] = places[:m]


@compiled
def score(vectors: Any, queries: Any, found: Any, scores: Any, start: int, stop: int) -> None:
    """scores (q, m): of queries start to stop with the documents found (q, m), summed in float64."""
    for query in range(start, stop):
        for i in range(found.shape[1]):
            scores[query, i] = np.float32(dot(queries[query], vectors[found[query, i]]))
