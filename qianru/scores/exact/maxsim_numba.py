"""From products of tokens with tokens to MaxSim, compiled: one pass over the products."""

from __future__ import annotations

from typing import Any

import numpy as np

from qianru.scores.exact.compiled import compiled_finite


@compiled_finite
def add_best(
    fast: Any, query_scales: Any, scales: Any, query_offsets: Any, offsets: Any, sums: Any, start: int, stop: int
) -> None:
    """Adds to sums (q, m), for queries start to stop, the best product of each of their tokens with each document.

    fast: (tokens, document tokens) float32 or int32;  query_scales, scales: by which it is multiplied on both sides
    query_offsets (q + 1,), offsets (m + 1,): where queries and documents, which all have tokens, begin
    """
    scaled = np.empty(fast.shape[1], np.float32)
    for query in range(start, stop):
        of_query = sums[query]
        for token in range(query_offsets[query], query_offsets[query + 1]):
            row, by = fast[token], np.float32(query_scales[token])
            for j in range(len(scaled)):
                scaled[j] = np.float32(row[j]) * scales[j]
            for m in range(len(of_query)):
                part = scaled[offsets[m] : offsets[m + 1]]
                best = part[0]
                for j in range(len(part)):
                    best = max(best, part[j])
                of_query[m] += by * best
