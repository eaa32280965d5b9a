"""Postings searched by compiled code: one term after another into a few thousand sums, then the best of these."""

from __future__ import annotations

from typing import Any

import numpy as np

from qianru.scores.exact.compiled import compiled
from qianru.scores.exact.heap import place, settle

SUMS = 8192     # documents at a time: 64 KB of sums, which stay near the processor
CHUNK = 64      # sums that are looked at one by one only if their largest is among the k best


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
    tops = np.empty(SUMS // CHUNK)
    bars, no_rows = np.empty(k), np.zeros(k, np.uint32)
    at, until, gain = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest)
    for query in range(first, last):
        n_terms = 0
        for a in range(offsets[query], offsets[query + 1]):
            t = np.searchsorted(terms, asked[a])
            if t < len(terms) and terms[t] == asked[a]:
                at[n_terms], until[n_terms], gain[n_terms] = starts[t], starts[t + 1], asked_weights[a]
                n_terms += 1
        n, best, best_rows = 0, scores[query], found[query]
        n_bars = 0
        bar = 0.0       # k documents are as good as this
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
            n_chunks = (size + CHUNK - 1) // CHUNK
            for c in range(n_chunks):       # the best of each chunk is another document, so k of these are a bar
                chunk = sums[c * CHUNK : (c + 1) * CHUNK]
                top = 0.0
                for i in range(CHUNK):
                    top = max(top, chunk[i])
                tops[c] = top
                if top > bar:
                    n_bars = place(bars, no_rows, n_bars, k, top, np.uint32(0))
                    if n_bars == k:
                        bar = bars[0]
            low = bar * (1 - 1e-6) if n_bars == k else -np.inf      # lower, for what is equal once it is rounded
            for c in range(n_chunks):
                if tops[c] < low:
                    continue
                chunk = sums[c * CHUNK : min((c + 1) * CHUNK, size)]
                for i in range(len(chunk)):
                    if chunk[i] < low:
                        continue
                    score = np.float32(chunk[i])
                    if score != 0 and (n < k or score > best[0]):
                        n = place(best, best_rows, n, k, score, np.uint32(base + c * CHUNK + i))
            sums[:size] = 0
        settle(best, best_rows, n)
        counts[query] = n
