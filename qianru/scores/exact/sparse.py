"""The k best documents by dot product of sparse vectors, through an inverted file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch
from qianru.scores.best import Best, best_of, checked_k
from qianru.scores.exact.blocks import check_offsets, checked_blocks
from qianru.scores.exact.compiled import has_numba, spread
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray, Progress, SparseRows

WORTH_COMPILED = 20_000_000     # postings and sums; NumPy needs as long for them as numba to load
WORTH_A_THREAD = 200_000        # as many take 0.2 ms
EVERYTHING = np.empty(0, np.uint8)


class Postings:
    """Sparse vectors by term: built once, searched many times.

    ids: (n,) of the documents, each another;  rows: their n vectors, terms ascending and unique within a row
    Scores are summed in float64, in the order of terms, and rounded to float32. A document whose score is 0 shares
    nothing and is never found.
    Memory: 8 bytes for each weight, 16 for each term and document; while it is built 40 for each weight.
    Raises ShapeMismatch where ids and rows are not as many, BadInput for weights that are not finite in float32.
    """

    def __init__(self, ids: IntArray, rows: SparseRows) -> None:
        ((numbers, rows),) = checked_blocks([(ids, rows)], None)
        weights = checked_weights(rows)
        places = np.repeat(np.arange(len(rows), dtype=np.uint32), np.diff(rows.offsets))
        self._sort(numbers, rows.terms, places, weights)

    @classmethod
    def merged(cls, parts: Sequence[tuple[Postings, NDArray[np.bool_] | None]]) -> Self:
        """The postings of several as one, without the documents that a mask (n,) calls dead; None for none dead."""
        kept = [np.flatnonzero(np.ones(len(part), bool) if alive is None else alive) for part, alive in parts]
        terms: list[IntArray] = []
        places: list[IntArray] = []
        weights: list[FloatArray] = []
        start = 0
        for (part, alive), rows in zip(parts, kept, strict=True):
            new = np.zeros(len(part), np.uint32)
            new[rows] = np.arange(start, start + len(rows), dtype=np.uint32)
            start += len(rows)
            there = slice(None) if alive is None else alive[part.places]
            terms.append(np.repeat(part.terms, np.diff(part.starts))[there])
            places.append(new[part.places[there]])
            weights.append(part.weights[there])
        merged = cls.__new__(cls)
        ids = np.concatenate([part.ids[rows] for (part, _), rows in zip(parts, kept, strict=True)])
        merged._sort(ids, np.concatenate(terms), np.concatenate(places), np.concatenate(weights))
        return merged

    def _sort(self, ids: IntArray, terms: IntArray, places: IntArray, weights: NDArray[np.float32]) -> None:
        """ids (n,) of the documents;  terms, places, weights (nnz,): the entries, places ascending for each term"""
        if (ids[1:] <= ids[:-1]).any():     # equal scores go by the lower place, so this must be the lower id
            order = np.argsort(ids, kind="stable")
            new = np.empty(len(ids), np.uint32)
            new[order] = np.arange(len(ids), dtype=np.uint32)
            ids, places = ids[order], new[places]
            by_term: IntArray = np.lexsort((places, terms))
        else:
            by_term = np.argsort(terms, kind="stable")
        unique, starts = np.unique(terms[by_term], return_index=True)
        self._done = 0      # work of all searches so far
        self.ids: NDArray[np.int64] = ids.astype(np.int64)
        """(n,) of the documents, ascending."""
        self.terms: NDArray[np.int64] = unique.astype(np.int64, copy=False)
        """(t,) ascending."""
        self.starts: NDArray[np.int64] = np.append(starts, len(by_term)).astype(np.int64)
        """(t + 1,) term i stands in the documents places[starts[i]:starts[i + 1]], ascending, with those weights."""
        self.places = places[by_term].astype(np.uint32, copy=False)
        self.weights: NDArray[np.float32] = weights[by_term]

    @property
    def size_bytes(self) -> int:
        """What the arrays take."""
        return sum(array.nbytes for array in (self.ids, self.terms, self.starts, self.places, self.weights))

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self.ids)

    def top_k(
        self, queries: SparseRows, k: int, *, able: NDArray[np.bool_] | None = None, n_threads: int | None = None
    ) -> list[Ranked]:
        """For each query ids and scores of its k best documents, best first, equal scores by the lower id.

        able: (n,) whether a document may be found, in the order of self.ids; None for all
        n_threads: None for one a core, where there is enough to do
        Memory: 8 bytes for each of queries x k places, and per thread 150 KB (without numba 12 bytes a document).
        """
        k = min(checked_k(k), len(self))
        weights = checked_weights(queries)
        if not k:
            return [(self.ids[:0], self.weights[:0])] * len(queries)
        if able is not None and able.shape != (len(self),):
            raise ShapeMismatch(f"{len(self)} documents need as many marks, not an array of shape {able.shape}.")
        mask = EVERYTHING if able is None else np.ascontiguousarray(able, bool).view(np.uint8)
        work = self._work(queries)
        self._done += work
        if has_numba() and ("numba" in sys.modules or self._done > WORTH_COMPILED):
            return self._compiled(queries, weights, k, mask, n_threads, work)
        narrow = SparseRows(queries.offsets, queries.terms, weights, queries.width)
        return [self._one(terms, of_terms, k, mask) for terms, of_terms in narrow]

    def _work(self, queries: SparseRows) -> int:
        """How many sums there are to look at, and about how many postings to add to them."""
        return len(queries) * len(self) + len(queries.terms) * (len(self.places) // max(len(self.terms), 1))

    def _compiled(
        self, queries: SparseRows, weights: NDArray[np.float32], k: int, able: NDArray[np.uint8],
        n_threads: int | None, work: int,
    ) -> list[Ranked]:
        from qianru.scores.exact.sparse_numba import search

        n = len(queries)
        longest = len(queries.terms) if n == 1 else int(np.diff(queries.offsets).max(initial=0))
        scores, places, counts = np.empty((n, k), np.float32), np.zeros((n, k), np.uint32), np.empty(n, np.int64)

        def part(start: int, stop: int) -> None:
            search(self.terms, self.starts, self.places, self.weights, able, len(self), queries.offsets, queries.terms,
                   weights, longest, scores, places, counts, start, stop)

        spread(part, n, n_threads, max(1, WORTH_A_THREAD * n // max(work, 1)))
        ids = self.ids[places]
        return [(ids[i, :m], scores[i, :m]) for i, m in enumerate(counts.tolist())]

    def _one(self, terms: IntArray, weights: FloatArray, k: int, able: NDArray[np.uint8]) -> Ranked:
        sums = np.zeros(len(self))
        for t, term, weight in zip(np.searchsorted(self.terms, terms).tolist(), terms.tolist(), weights.tolist(),
                                   strict=True):
            if t < len(self.terms) and self.terms[t] == term:
                span = slice(self.starts[t], self.starts[t + 1])
                sums[self.places[span]] += self.weights[span] * np.float64(weight)
        if len(able):
            sums *= able
        narrow = sums.astype(np.float32)
        places = np.flatnonzero(narrow)
        return best_of(self.ids[places], narrow[places], k)


def sparse_top_k(
    queries: SparseRows,
    blocks: Iterable[tuple[IntArray, SparseRows]],
    k: int,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[Ranked]:
    """For each query ids and scores of its k best documents, best first, equal scores by the lower id.

    blocks: (ids (b,), b sparse rows); each is read once and turned into Postings; no id may stand in two of them
    progress: counts documents
    A document that shares no term with the query is never found.
    Memory: 40 bytes for each weight of PART_WEIGHTS, since a larger block is cut, and the answers.
    Raises BadInput for weights that are not finite in float32.
    """
    best = Best(len(queries), k)
    for ids, rows in checked_blocks(blocks, progress):
        for start, stop in _parts(rows):
            postings = Postings(ids[start:stop], rows.take(np.arange(start, stop)) if stop - start < len(ids) else rows)
            for query, (found, scores) in enumerate(postings.top_k(queries, best.k, n_threads=n_threads)):
                best.offer_to(query, scores, found)
    return best.rankings()


PART_WEIGHTS = 1 << 23


def _parts(rows: SparseRows) -> Iterable[tuple[int, int]]:
    """Spans of rows with at most PART_WEIGHTS weights; one row at least."""
    start = 0
    while start < len(rows):
        stop = int(np.searchsorted(rows.offsets, rows.offsets[start] + PART_WEIGHTS, "right")) - 1
        stop = min(max(stop, start + 1), len(rows))
        yield start, stop
        start = stop


def checked_weights(rows: SparseRows) -> NDArray[np.float32]:
    """The weights as float32. BadInput for one that is not finite then, and for rows that are not where they say."""
    check_offsets(rows.offsets, "sparse vectors")
    with np.errstate(over="ignore"):
        weights = rows.weights.astype(np.float32, copy=False)
    if not np.isfinite(weights).all():
        raise BadInput("A sparse vector holds a weight that is not a finite number in float32.")
    return weights
