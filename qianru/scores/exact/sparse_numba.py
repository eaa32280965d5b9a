"""Postings searched by compiled code: one term after another into a few thousand sums, then the best of these."""

from __future__ import annotations

from typing import Any

import numpy as np

from qianru.scores.exact.compiled import compiled
from qianru.scores.exact.heap import place, settle

SUMS = 16384    # documents at a time: 128 KB of sums, which stay near the processor
CLOSE = 1e-6    # further off than what rounding to float32 makes equal
GROUPS = 512    # sums 512 apart are one group, looked at one by one only if the largest of them is among the k best


@compiled
def search(
    terms: Any, starts: Any, rows: Any, weights: Any, able: Any, n_documents: int,
    offsets: Any, asked: Any, asked_weights: Any, longest: int,
    scores: Any, found: Any, counts: Any, first: int, last: int,
) -> None:
    """Queries first to last.

    terms (t,) ascending; starts (t + 1,), rows and weights (nnz,): their postings, rows ascending (uint32)
    able: (n_documents,) uint8, 0 for those not to be found, or nothing if all may be
    offsets (q + 1,), asked and asked_weights: the queries;  longest: terms of the longest of them
    scores, found: (q, k) float32 and uint32, to be filled, best first;  counts: (q,) how many are found
    """
    k = scores.shape[1]
    sums = np.zeros(SUMS)
    tops = np.empty(GROUPS)
    bars, no_rows = np.empty(min(k, GROUPS)), np.zeros(min(k, GROUPS), np.uint32)
    at, until, gain = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest)
    for query in range(first, last):
        n_terms = 0
        for a in range(offsets[query], offsets[query + 1]):
            t = np.searchsorted(terms, asked[a])
            if t < len(terms) and terms[t] == asked[a]:
                at[n_terms], until[n_terms], gain[n_terms] = starts[t], starts[t + 1], asked_weights[a]
                n_terms += 1
        n, best, best_rows = 0, scores[query], found[query]
        for base in range(0, n_documents, SUMS):
            size = min(SUMS, n_documents - base)
            offset = np.uint32(base)
            for t in range(n_terms):
                end = until[t]
                if base + SUMS < n_documents:
                    end = at[t] + np.searchsorted(rows[at[t] : end], np.uint32(base + SUMS))
                rows_of, weights_of, by = rows[at[t] : end], weights[at[t] : end], gain[t]
                for i in range(len(rows_of)):
                    sums[rows_of[i] - offset] += by * weights_of[i]
                at[t] = end
            if len(able):
                able_of = able[base : base + size]
                for i in range(len(able_of)):
                    sums[i] *= able_of[i]
            n_rows = (size + GROUPS - 1) // GROUPS
            tops[:] = 0
            for r in range(n_rows):
                row = sums[r * GROUPS : (r + 1) * GROUPS]
                for c in range(GROUPS):
                    tops[c] = max(tops[c], row[c])
            low = -np.inf               # k documents are better than this
            if n == k:
                low = best[0] - CLOSE * abs(best[0])
            elif k <= GROUPS:           # the best of each group is another document, so k of these are a bar
                n_bars = 0
                for c in range(GROUPS):
                    if tops[c] > 0 and (n_bars < k or tops[c] > bars[0]):
                        n_bars = place(bars, no_rows, n_bars, k, tops[c], np.uint32(0))
                if n_bars == k:
                    low = bars[0] * (1 - CLOSE)
            for c in range(GROUPS):
                if tops[c] < low:
                    continue
                for i in range(c, size, GROUPS):
                    if sums[i] < low:
                        continue
                    score, at_row = np.float32(sums[i]), np.uint32(base + i)
                    if score != 0 and (n < k or score > best[0] or (score == best[0] and at_row < best_rows[0])):
                        n = place(best, best_rows, n, k, score, at_row)
                        if n == k:
                            low = best[0] - CLOSE * abs(best[0])
            sums[:size] = 0
        settle(best, best_rows, n)
        counts[query] = n
