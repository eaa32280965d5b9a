"""An index in memory that looks at every document: small collections, evaluation, and a second process that reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import CollectionError
from qianru.index.base import Ranking
from qianru.index.filter import Filter
from qianru.index.rows import (
    NOTHING,
    best,
    checked_dense,
    checked_ids,
    checked_kinds,
    checked_rows,
    checked_search,
    checked_sparse,
)
from qianru.types import Embeddings, FloatArray, IntArray, Kind, SparseRows, Value

QUERIES_AT_ONCE = 64
ROWS_AT_ONCE = 16_384       # with 64 queries, 4 MiB of scores
MERGE_BELOW = 4             # a part of the postings is merged with the next when less than 4 times as long


class Postings(NamedTuple):
    """The sparse vectors of neighbouring rows, by term.

    terms: (t,) ascending;  starts: (t + 1,) term i's postings are rows[starts[i]:starts[i + 1]], with their weights
    """

    terms: IntArray
    starts: IntArray
    rows: IntArray
    weights: FloatArray


class ExactIndex:
    """Index in memory.

    Scores are summed in float64 and rounded to float32, so that equal documents score equal wherever they stand.
    """

    def __init__(self, kinds: Sequence[Kind], dim: int | None = None) -> None:
        self._kinds, self._dim = checked_kinds(kinds, dim)
        self._closed = False
        self._n = 0             # rows in use, dead ones included
        self._ids = np.empty(0, np.int64)
        self._alive = np.empty(0, bool)
        self._dense = np.empty((0, self._dim), np.float32)
        self._longest = 0.0     # of the dense vectors, dead ones included
        self._fields: list[Mapping[str, Value]] = []
        self._row_of: dict[int, int] = {}
        self._waiting: list[tuple[int, SparseRows]] = []
        self._postings: list[Postings] = []

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of vectors that it stores."""
        return self._kinds

    def __len__(self) -> int:
        """How many ids are stored."""
        return len(self._row_of)

    def add(self, ids: IntArray, embeddings: Embeddings, fields: Sequence[Mapping[str, Value]]) -> None:
        """As Index.add."""
        self._check_open()
        rows = checked_rows(self._kinds, self._dim, ids, embeddings, fields)
        self.delete(rows.ids)
        start, end = self._n, self._n + len(rows.ids)
        if end > len(self._ids):
            self._grow(max(end, 2 * len(self._ids)))
        self._ids[start:end] = rows.ids
        self._alive[start:end] = True
        if rows.dense is not None:
            self._dense[start:end] = rows.dense
            if end > start:
                lengths = np.sqrt(np.einsum("nd,nd->n", rows.dense, rows.dense, dtype=np.float64))
                self._longest = max(self._longest, float(lengths.max()))
        if rows.sparse is not None:
            copied = SparseRows.concat([rows.sparse])       # the caller may write over its own
            self._waiting.append((start, copied))
        self._fields.extend(dict(row) for row in rows.fields)
        self._row_of.update(zip(rows.ids.tolist(), range(start, end), strict=True))
        self._n = end

    def delete(self, ids: IntArray) -> None:
        """As Index.delete."""
        self._check_open()
        for id in checked_ids(ids).tolist():
            row = self._row_of.pop(id, None)
            if row is not None:
                self._alive[row] = False
                self._fields[row] = {}
        if self._n > 1000 and len(self) < self._n // 2:
            self._compact()

    def search(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None = None) -> list[Ranking]:
        """As Index.search."""
        self._check_open()
        k = checked_search(self._kinds, kind, k)
        able = self._alive[: self._n]
        if where is not None:
            able = able & np.fromiter(map(where.matches, self._fields), bool, self._n)
        if kind == "dense":
            vectors = checked_dense(queries, self._dim)
            parts = [vectors[i : i + QUERIES_AT_ONCE] for i in range(0, len(vectors), QUERIES_AT_ONCE)]
            return [ranking for part in parts for ranking in self._search_dense(part, k, able)]
        self._merge_waiting()
        return [self._search_sparse(terms, weights, k, able) for terms, weights in checked_sparse(queries)]

    def close(self) -> None:
        """Gives back the memory; closing twice is fine."""
        self.__dict__.update(ExactIndex(self._kinds, self._dim).__dict__)
        self._closed = True

    def _search_dense(self, queries: NDArray[np.float32], k: int, able: NDArray[np.bool_]) -> list[Ranking]:
        """Finds candidates by a fast product whose rounding depends on the place, then scores these exactly."""
        rows = np.flatnonzero(able)
        if not len(rows) or not k:
            return [NOTHING] * len(queries)
        # two roundings of a dot product of d numbers differ by at most this (Higham, Accuracy and Stability, 3.1)
        slack = 2 * self._dim * 2.0**-23 * self._longest * np.sqrt(np.square(queries, dtype=np.float64).sum(axis=1))
        found: list[tuple[IntArray, FloatArray]] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            first, last = int(part[0]), int(part[-1]) + 1
            whole = last - first == len(part)
            scores = queries @ (self._dense[first:last] if whole else self._dense[part]).T     # (q, rows)
            for i, row in enumerate(scores):
                every, at = np.concatenate([found[i][1], row]), np.concatenate([found[i][0], part])
                if len(every) > k:
                    near = np.flatnonzero(every >= np.partition(every, len(every) - k)[len(every) - k] - slack[i])
                    every, at = every[near], at[near]
                found[i] = (at, every)
        return [self._scored_exactly(query, at, k) for query, (at, _) in zip(queries, found, strict=True)]

    def _scored_exactly(self, query: NDArray[np.float32], at: IntArray, k: int) -> Ranking:
        scores = np.empty(len(at), np.float32)
        for start in range(0, len(at), ROWS_AT_ONCE):
            part = at[start : start + ROWS_AT_ONCE]
            scores[start : start + len(part)] = (self._dense[part] * query.astype(np.float64)).sum(axis=1)
        return best(self._ids[at], scores, k)

    def _search_sparse(self, terms: IntArray, weights: FloatArray, k: int, able: NDArray[np.bool_]) -> Ranking:
        hits: list[IntArray] = []
        gains: list[FloatArray] = []
        for postings in self._postings:
            places = np.searchsorted(postings.terms, terms)
            for place, term, weight in zip(places.tolist(), terms.tolist(), weights.tolist(), strict=True):
                if place < len(postings.terms) and postings.terms[place] == term:
                    span = slice(postings.starts[place], postings.starts[place + 1])
                    hits.append(postings.rows[span])
                    gains.append(postings.weights[span] * weight)
        if not hits or not k:
            return NOTHING
        # to skip long postings by upper bounds (MaxScore) was tried: 1.6 times slower in NumPy
        # float64 sums; a document whose terms cancel out to 0 counts as sharing none, as in the engine
        scores = np.bincount(np.concatenate(hits), np.concatenate(gains), self._n).astype(np.float32)
        rows = np.flatnonzero((scores != 0) & able)
        return best(self._ids[rows], scores[rows], k)

    def _merge_waiting(self) -> None:
        """Sorts the rows that came since the last search into postings; few parts, each row sorted O(log n) times."""
        if self._waiting:
            starts = np.concatenate([start + np.arange(len(rows)) for start, rows in self._waiting])
            rows = SparseRows.concat([rows for _, rows in self._waiting])
            self._waiting = []
            self._postings.append(_postings(rows.terms, np.repeat(starts, np.diff(rows.offsets)), rows.weights))
        while len(self._postings) > 1 and len(self._postings[-2].rows) < MERGE_BELOW * len(self._postings[-1].rows):
            pair = [self._postings.pop(-2), self._postings.pop()]
            terms = np.concatenate([np.repeat(part.terms, np.diff(part.starts)) for part in pair])
            self._postings.append(_postings(
                terms, np.concatenate([part.rows for part in pair]), np.concatenate([part.weights for part in pair])))

    def _grow(self, n: int) -> None:
        """Makes room for n rows."""
        for name in ("_ids", "_alive", "_dense"):
            old = getattr(self, name)
            new = np.zeros((n, *old.shape[1:]), old.dtype)
            new[: self._n] = old[: self._n]
            setattr(self, name, new)

    def _compact(self) -> None:
        """Drops the rows that are dead."""
        self._merge_waiting()
        alive = np.flatnonzero(self._alive[: self._n])
        new_row = np.full(self._n, -1)
        new_row[alive] = np.arange(len(alive))
        self._ids, self._dense, self._alive = self._ids[alive], self._dense[alive], np.ones(len(alive), bool)
        self._fields = [self._fields[row] for row in alive.tolist()]
        self._row_of = dict(zip(self._ids.tolist(), range(len(alive)), strict=True))
        self._n = len(alive)
        for i, part in enumerate(self._postings):
            kept = new_row[part.rows] >= 0
            terms = np.repeat(part.terms, np.diff(part.starts))[kept]
            self._postings[i] = _postings(terms, new_row[part.rows[kept]], part.weights[kept])

    def _check_open(self) -> None:
        if self._closed:
            raise CollectionError("This index is closed. Open it again.")


def _postings(terms: IntArray, rows: IntArray, weights: FloatArray) -> Postings:
    """Postings of entries in any order of terms; rows stay in their order within a term."""
    order = np.argsort(terms, kind="stable")
    unique, starts = np.unique(terms[order], return_index=True)
    return Postings(unique, np.append(starts, len(terms)), rows[order], weights[order])
