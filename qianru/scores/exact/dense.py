"""The k best documents by dot product of dense vectors."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qianru.errors import ShapeMismatch, UnknownName
from qianru.scores.best import checked_k
from qianru.scores.exact.blocks import (
    check_finite,
    check_products,
    checked_blocks,
    checked_matrix,
    lengths_of,
    narrowed,
)
from qianru.scores.exact.compiled import has_numba, spread
from qianru.scores.exact.products import PRECISIONS, Precision, Product, coded, measured, relative_error, usable
from qianru.scores.exact.sieve import Sieve
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray, Progress

QUERIES_AT_ONCE = 1024
ROWS_AT_ONCE = 1024             # with 1,024 queries, 4 MB of scores, which stay near the processor
WORTH_COMPILED = 1 << 33        # multiplications; from then on numba's loading, half a second, comes back
QUERIES_PER_THREAD = 16


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
    precision: of the product that finds candidates; what comes back is the same for all, since a document is passed
    over only where the product's error, bounded by the lengths of what rounding took off, cannot make it one of the
    best. Lower ones need torch and numba, and pay from about 16 queries on; without these it is float32.
    n_threads: of all but the product, which has those of NumPy or torch; None for one a core
    progress: counts documents
    Scores are summed in float64 and rounded to float32.
    Memory: besides queries and answers, no more of which than documents, at most 16 MB at 768 dimensions, whatever the
    size of the blocks.
    Raises ShapeMismatch for another number of dimensions, BadInput for numbers that are not finite in float32.
    """
    search = DenseSearch(queries, k, precision=precision, n_threads=n_threads)
    for ids, vectors in checked_blocks(blocks, progress):
        search.offer(ids, vectors)
    return search.rankings()


class DenseSearch:
    """What dense_top_k does, block by block."""

    def __init__(
        self, queries: FloatArray, k: int, *, precision: Precision = "float32", n_threads: int | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
        checked_matrix(queries, None, "Queries")
        self._queries = narrowed(queries)
        self._lengths = lengths_of(self._queries)
        check_finite(self._lengths, "The vector of query")
        self._k, self._n_threads, self._precision = checked_k(k), n_threads, precision
        self._longest = float(self._lengths.max(initial=0))
        self._n = self._work = 0
        self._slow = Sieve(len(queries), self._k)
        self._fast: _Compiled | None = None

    def offer(self, ids: IntArray, vectors: FloatArray, lengths: NDArray[np.float64] | None = None) -> None:
        """Takes in documents: ids (b,), vectors (b, d); ShapeMismatch if these are not as many.

        lengths: of vectors that are known to be finite, so that these need not be looked at
        """
        q, dim = self._queries.shape
        checked_matrix(vectors, dim, "Documents")
        if len(ids) != len(vectors):
            raise ShapeMismatch(f"A block has one id for each document, not {len(ids)} for {len(vectors)}.")
        if not q or not self._k:
            return
        self._work += q * dim * len(ids)
        if self._fast is None and has_numba() and ("numba" in sys.modules or self._work > WORTH_COMPILED):
            precision = usable(self._precision, dim)
            self._fast = _Compiled(self._queries, self._lengths, self._k, precision, self._n_threads)
            self._fast.go_on(self._slow.rankings())
        for start in range(0, len(ids), ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, len(ids))
            part = narrowed(vectors[start:stop])
            if lengths is not None:
                of_part = lengths[start:stop]
            else:
                of_part = lengths_of(part) if self._fast is None else measured(part, self._n_threads)
                check_finite(of_part, "The vector of document", self._n + start)
            check_products(self._longest, float(of_part.max()))
            if self._fast is not None:
                self._fast.offer(ids[start:stop], part, of_part)
            else:
                self._offer_slowly(ids[start:stop], part, of_part)
        self._n += len(ids)

    def rankings(self) -> list[Ranked]:
        """For each query ids (m,) and scores (m,), best first; m <= k."""
        return self._slow.rankings() if self._fast is None else self._fast.rankings()

    def _offer_slowly(self, ids: IntArray, part: NDArray[np.float32], lengths: NDArray[np.float64]) -> None:

        def exact(query: int, at: IntArray) -> FloatArray:
            products: FloatArray = (part[at] * self._queries[query].astype(np.float64)).sum(axis=1).astype(np.float32)
            return products

        error = relative_error("float32", part.shape[1]) * float(lengths.max()) * self._lengths
        for first in range(0, len(self._queries), QUERIES_AT_ONCE):
            group = slice(first, first + QUERIES_AT_ONCE)
            self._slow.offer(self._queries[group] @ part.T, error[group], ids, exact, first)


class _Compiled:
    """The same by compiled code."""

    def __init__(
        self, queries: NDArray[np.float32], lengths: NDArray[np.float64], k: int, precision: Precision,
        n_threads: int | None,
    ) -> None:
        self._queries, self._precision, self._n_threads = queries, precision, n_threads
        self._coded = coded(queries, lengths, precision, n_threads)
        self._product = Product(precision)
        self._relative = relative_error(precision, queries.shape[1])
        self._k = k
        self._scores = np.empty((len(queries), 0), np.float32)
        self._ids = np.zeros((len(queries), 0), np.int64)
        self._counts = np.zeros(len(queries), np.int64)

    def go_on(self, rankings: list[Ranked]) -> None:
        """Starts from what has been found so far; from the worst up it is a heap."""
        self._make_room(max((len(ids) for ids, _ in rankings), default=0))
        for i, (ids, scores) in enumerate(rankings):
            self._ids[i, : len(ids)], self._scores[i, : len(ids)] = ids[::-1], scores[::-1]
            self._counts[i] = len(ids)

    def offer(self, ids: IntArray, part: NDArray[np.float32], lengths: NDArray[np.float64]) -> None:
        from qianru.scores.exact.dense_numba import sieve

        self._make_room(len(ids))
        documents = coded(part, lengths, self._precision, self._n_threads)
        for first in range(0, len(self._queries), QUERIES_AT_ONCE):
            group = slice(first, first + QUERIES_AT_ONCE)
            asked = self._coded
            fast = self._product(asked.codes[group], documents.codes)
            arguments = (
                fast, documents.scales, documents.errors, documents.lengths + documents.errors,
                asked.scales[group], asked.errors[group], asked.lengths[group], self._relative,
                self._queries[group], part, ids, self._scores[group], self._ids[group], self._counts[group],
            )
            spread(partial(sieve, *arguments), len(fast), self._n_threads, QUERIES_PER_THREAD)

    def _make_room(self, n: int) -> None:
        """For n more answers to each query: there are no more of them than documents, however large k is."""
        have = self._scores.shape[1]
        wanted = min(self._k, int(self._counts.max(initial=0)) + n)
        if wanted <= have:
            return
        more = [(0, 0), (0, min(self._k, max(wanted, 2 * have)) - have)]
        self._scores, self._ids = np.pad(self._scores, more), np.pad(self._ids, more)

    def rankings(self) -> list[Ranked]:
        found: list[Ranked] = []
        for ids, scores, count in zip(self._ids, self._scores, self._counts.tolist(), strict=True):
            order = np.lexsort((ids[:count], -scores[:count]))
            found.append((ids[order], scores[order]))
        return found
