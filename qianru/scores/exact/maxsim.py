"""The k best documents by MaxSim of token vectors, and MaxSim of chosen candidates."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.scores.best import checked_k
from qianru.scores.exact.blocks import (
    check_finite,
    check_offsets,
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
from qianru.scores.similarity import maxsim
from qianru.types import FloatArray, IntArray, Progress, Ragged

TOKENS_AT_ONCE = 4096           # of documents
QUERY_TOKENS_AT_ONCE = 512      # with these, 8 MB of products
WORTH_COMPILED = 1 << 33        # multiplications; from then on numba's loading, half a second, comes back


def maxsim_top_k(
    queries: Ragged,
    blocks: Iterable[tuple[IntArray, Ragged]],
    k: int,
    *,
    precision: Precision = "int8",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[Ranked]:
    """For each query ids and scores of its k best documents, best first, equal scores by the lower id.

    queries: token vectors of q queries;  blocks: (ids (b,), token vectors of b documents); each is read once
    precision: of the products that find candidates; what comes back is the same for all (see dense_top_k)
    n_threads: of all but the products, which have those of NumPy or torch;  progress: counts documents
    The score is the mean over the query's tokens of the best dot product with a token of the document, in float64,
    rounded to float32. A document without tokens is never found, and a query without tokens finds nothing.
    Memory: besides queries and answers 4 bytes for each query and document of a block, and at most 60 MB at 1,024
    dimensions. A block should hold some hundred documents: in each, k for each query are scored in float64.
    Raises ShapeMismatch for another number of dimensions, BadInput for numbers that are not finite in float32.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    checked_matrix(queries.data, None, "Token vectors")
    check_offsets(queries.offsets, "token vectors")
    asking = np.flatnonzero(np.diff(queries.offsets))
    search = _Search(*_checked(queries, asking, "query"), checked_k(k), precision, n_threads)
    for ids, documents in checked_blocks(blocks, progress):
        checked_matrix(documents.data, queries.data.shape[1], "Token vectors of documents")
        check_offsets(documents.offsets, "token vectors")
        if k and len(asking):
            search.offer(ids, documents)
    found: list[Ranked] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    for query, ranking in zip(asking.tolist(), search.sieve.rankings(), strict=True):
        found[query] = ranking
    return found


def maxsim_candidates(queries: Ragged, candidates: Sequence[IntArray], documents: Ragged) -> list[FloatArray]:
    """For each query the MaxSim of its candidates, in their order, as maxsim_top_k scores; 0 where there are no tokens.

    candidates: one array of rows of the documents for each query
    Raises ShapeMismatch for another number of dimensions, BadInput for numbers that are not finite.
    """
    if len(candidates) != len(queries):
        raise ShapeMismatch(f"{len(queries)} queries need as many lists of candidates, not {len(candidates)}.")
    checked_matrix(documents.data, queries.data.shape[1], "Token vectors of documents")
    found: list[FloatArray] = []
    for query, rows in enumerate(candidates):
        scores = _scored(queries.row(query), documents, np.asarray(rows, np.int64), np.float64)
        if not np.isfinite(scores).all():
            row = int(np.asarray(rows)[np.flatnonzero(~np.isfinite(scores))[0]])
            raise BadInput(f"A token vector of query {query} or document {row} (counting from 0) holds a number that "
                           "is not finite.")
        found.append(scores)
    return found


class _Search:
    """Fast scores of one block after the other, and the sieve that has the best of them scored exactly."""

    def __init__(
        self, queries: Ragged, lengths: NDArray[np.float64], k: int, precision: Precision, n_threads: int | None
    ) -> None:
        self.sieve = Sieve(len(queries), k)
        self._queries, self._lengths, self._n_threads = queries, lengths, n_threads
        self._precision = precision
        self._product: Product | None = None      # once it pays: torch, where it must be loaded, takes a second
        self._mean_length = _means(self._lengths, queries.offsets)
        self._n = 0
        self._work = 0
        self._compiled = False

    def offer(self, ids: IntArray, documents: Ragged) -> None:
        """Takes in a block."""
        self._work += len(self._queries.data) * documents.data.size
        self._compiled = has_numba() and ("numba" in sys.modules or self._work > WORTH_COMPILED)
        if self._compiled and self._product is None:
            self._precision = usable(self._precision, self._queries.data.shape[1])
            self._product = Product(self._precision)
        told = np.flatnonzero(np.diff(documents.offsets))
        fast = np.empty((len(self._queries), len(told)), np.float32)
        error, longest = np.zeros(len(self._queries)), 0.0
        for start, stop in _spans(documents.offsets, told, TOKENS_AT_ONCE):
            part, lengths = _checked(documents, told[start:stop], "document", self._n, compiled=self._compiled)
            longest = max(longest, float(lengths.max()))
            check_products(float(self._lengths.max()), longest)
            scores = self._fast if self._compiled else self._slow
            fast[:, start:stop], of_part = scores(part, lengths)
            error = np.maximum(error, of_part)
        self._n += len(ids)

        def exact(query: int, at: IntArray) -> FloatArray:
            return _scored(self._queries.row(query), documents, told[at], np.float64)

        def closer(query: int, at: IntArray) -> FloatArray:
            return _scored(self._queries.row(query), documents, told[at], np.float32)

        lost = relative_error("float32", documents.data.shape[1]) * self._mean_length * longest
        self.sieve.offer(fast, error, ids[told], exact, closer=(closer, lost) if self._compiled else None)

    def _slow(self, part: Ragged, lengths: NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
        error = relative_error("float32", part.data.shape[1]) * self._mean_length * lengths.max()
        return maxsim(self._queries, part), error

    def _fast(self, part: Ragged, lengths: NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
        """(q, m) scores, and (q,) by how much they may be wrong: see dense_numba.sieve."""
        from qianru.scores.exact.maxsim_numba import add_best

        queries, dim = self._queries, part.data.shape[1]
        precision, product = self._precision, self._product
        assert product is not None
        documents = coded(part.data, lengths, precision, self._n_threads)
        sums = np.zeros((len(queries), len(part)), np.float32)
        error = np.empty(len(queries))
        for first, last in _spans(queries.offsets, np.arange(len(queries)), QUERY_TOKENS_AT_ONCE):
            tokens = slice(queries.offsets[first], queries.offsets[last])
            offsets = queries.offsets[first : last + 1] - queries.offsets[first]
            asked = coded(queries.data[tokens], self._lengths[tokens], precision, self._n_threads)
            products = product(asked.codes, documents.codes)
            spread(partial(add_best, products, asked.scales, documents.scales, offsets, part.offsets, sums[first:last]),
                   last - first, self._n_threads)
            relative = relative_error(precision, dim) + 1e-7 * (offsets[1:] - offsets[:-1])     # the sum's own rounding
            error[first:last] = (
                _means(asked.lengths, offsets) * float(documents.errors.max()) + float(lengths.max()) * (1 + 1e-6)
                * (_means(asked.errors, offsets) * 1.01 + relative * _means(asked.lengths, offsets)))
        sums /= np.diff(queries.offsets)[:, None].astype(np.float32)
        return sums, error


def _scored(asked: FloatArray, documents: Ragged, rows: IntArray, dtype: type[np.floating[Any]]) -> FloatArray:
    """(m,) float32 MaxSim of one query with the documents' rows, computed in dtype; 0 where there are no tokens."""
    scores = np.zeros(len(rows), np.float32)
    asked = asked.astype(dtype, copy=False)
    if not len(asked):
        return scores
    starts, stops = documents.offsets[rows].tolist(), documents.offsets[rows + 1].tolist()
    with np.errstate(over="ignore", invalid="ignore"):
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            if start < stop:
                told = documents.data[start:stop].astype(dtype, copy=False)
                best = np.maximum.reduce(asked @ told.T, axis=1)      # as .max() and .mean(), but a third of their time
                scores[i] = np.add.reduce(best) / len(best)
    return scores


def _checked(
    ragged: Ragged, rows: IntArray, what: str, first: int = 0, *, compiled: bool = False
) -> tuple[Ragged, NDArray[np.float64]]:
    """The named rows, ascending, as float32, and their tokens' lengths; rows between them have no tokens."""
    if not len(rows):
        return Ragged(np.empty((0, ragged.data.shape[1]), np.float32), np.zeros(1, np.int64)), np.empty(0)
    start, stop = ragged.offsets[rows[0]], ragged.offsets[rows[-1] + 1]
    data = narrowed(ragged.data[start:stop])
    offsets = np.append(ragged.offsets[rows], stop) - start
    lengths = measured(data, 1) if compiled else lengths_of(data)
    if not np.isfinite(lengths).all():
        longest = np.zeros(int(rows[-1]) + 1)
        longest[rows] = np.maximum.reduceat(lengths, offsets[:-1])
        check_finite(longest, f"A token vector of {what}", first)
    return Ragged(data, offsets), lengths


def _means(values: FloatArray, offsets: IntArray) -> NDArray[np.float64]:
    """(n,) mean of each span, none of which is empty."""
    sums: NDArray[np.float64] = np.add.reduceat(values.astype(np.float64), offsets[:-1])
    return sums / np.diff(offsets)


def _spans(offsets: IntArray, rows: IntArray, limit: int) -> Iterator[tuple[int, int]]:
    """Spans of rows with at most so many tokens; one row at least."""
    ends = offsets[rows + 1]
    start = 0
    while start < len(rows):
        stop = max(start + 1, int(np.searchsorted(ends, offsets[rows[start]] + limit, "right")))
        yield start, stop
        start = stop
