"""An index in memory that looks at every document: small collections, evaluation, and a second process that reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qianru.errors import CollectionError
from qianru.index.base import Ranking
from qianru.index.filter import Filter
from qianru.index.postings import LivePostings
from qianru.index.rows import (
    checked_dense,
    checked_ids,
    checked_kinds,
    checked_rows,
    checked_search,
    checked_sparse,
)
from qianru.scores.exact import DenseSearch, lengths_of
from qianru.types import Embeddings, IntArray, Kind, Value

ROWS_AT_ONCE = 16_384


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
        self._lengths = np.empty(0)     # of the dense vectors
        self._fields: list[Mapping[str, Value]] = []
        self._row_of: dict[int, int] = {}
        self._postings = LivePostings()

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
            self._lengths[start:end] = lengths_of(rows.dense)
        if rows.sparse is not None:
            self._postings.add(rows.ids, rows.sparse)
        self._fields.extend(dict(row) for row in rows.fields)
        self._row_of.update(zip(rows.ids.tolist(), range(start, end), strict=True))
        self._n = end

    def delete(self, ids: IntArray) -> None:
        """As Index.delete."""
        self._check_open()
        numbers = checked_ids(ids)
        self._postings.delete(numbers)
        for id in numbers.tolist():
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
            return self._search_dense(vectors, k, able)
        among = None if where is None else np.sort(self._ids[: self._n][able])
        return self._postings.search(checked_sparse(queries), k, among)

    def close(self) -> None:
        """Gives back the memory; closing twice is fine."""
        self.__dict__.update(ExactIndex(self._kinds, self._dim).__dict__)
        self._closed = True

    def _search_dense(self, queries: NDArray[np.float32], k: int, able: NDArray[np.bool_]) -> list[Ranking]:
        search = DenseSearch(queries, k)
        rows = np.flatnonzero(able)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            first, last = int(part[0]), int(part[-1]) + 1
            chosen = slice(first, last) if last - first == len(part) else part      # neighbours need no copy
            search.offer(self._ids[chosen], self._dense[chosen], self._lengths[chosen])
        return [Ranking(*ranked) for ranked in search.rankings()]

    def _grow(self, n: int) -> None:
        """Makes room for n rows."""
        for name in ("_ids", "_alive", "_dense", "_lengths"):
            old = getattr(self, name)
            new = np.zeros((n, *old.shape[1:]), old.dtype)
            new[: self._n] = old[: self._n]
            setattr(self, name, new)

    def _compact(self) -> None:
        """Drops the rows that are dead."""
        alive = np.flatnonzero(self._alive[: self._n])
        self._ids, self._dense, self._lengths = self._ids[alive], self._dense[alive], self._lengths[alive]
        self._alive = np.ones(len(alive), bool)
        self._fields = [self._fields[row] for row in alive.tolist()]
        self._row_of = dict(zip(self._ids.tolist(), range(len(alive)), strict=True))
        self._n = len(alive)

    def _check_open(self) -> None:
        if self._closed:
            raise CollectionError("This index is closed. Open it again.")

