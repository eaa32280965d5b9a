"""The k best documents by dot product of dense vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, UnknownName
from qianru.scores.exact.blocks import checked_blocks, checked_matrix, finite
from qianru.scores.exact.sieve import Sieve
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray, Progress

Precision: TypeAlias = Literal["float32", "bfloat16", "int8", "binary"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "binary")

QUERIES_AT_ONCE = 1024
ROWS_AT_ONCE = 4096


def dense_top_k(
    queries: FloatArray,
    blocks: Iterable[tuple[IntArray, FloatArray]],
    k: int,
    *,
    precision: Precision = "float32",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[Ranked]:
    """For each query ids and scores of its k best documents, best first, equal scores by the lower id.

    queries: (q, d);  blocks: (ids (b,), vectors (b, d)) of any size, also memory-mapped; each is read once
    precision: of the product that finds candidates; what it returns is the same for all but "binary"
    progress: counts documents
    Scores are summed in float64 and rounded to float32.
    Memory: besides queries and answers at most 40 MB, whatever the blocks' size.
    Raises ShapeMismatch for another number of dimensions, BadInput for numbers that are not finite in float32.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    checked_matrix(queries, None, "Queries")
    asked, asked_lengths = finite(queries, "The vector of query")
    dim = asked.shape[1]
    sieve = Sieve(len(asked), k)
    for ids, vectors in checked_blocks(blocks, progress):
        checked_matrix(vectors, dim, "Documents")
        for start in range(0, len(ids), ROWS_AT_ONCE):
            part, lengths = finite(vectors[start : start + ROWS_AT_ONCE], f"From row {start} on, the vector of row")
            longest = float(lengths.max())
            if longest * asked_lengths.max(initial=0) > 1e38:
                raise BadInput("The vectors are so long that their dot products overflow float32. Normalise them.")
            # two roundings of a dot product of d numbers differ by at most this (Higham, Accuracy and Stability, 3.1)
            error = 2 * dim * 2.0**-23 * longest * asked_lengths
            for first in range(0, len(asked), QUERIES_AT_ONCE):
                group = slice(first, first + QUERIES_AT_ONCE)

                def exact(query: int, at: IntArray, part: NDArray[np.float32] = part) -> FloatArray:
                    products: FloatArray = (part[at] * asked[query].astype(np.float64)).sum(axis=1).astype(np.float32)
                    return products

                sieve.offer(asked[group] @ part.T, error[group], ids[start : start + ROWS_AT_ONCE], exact, first)
    return sieve.rankings()
