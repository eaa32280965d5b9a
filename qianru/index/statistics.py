"""BM25's view of a collection, kept in the collection's own database: which terms, in how many documents, how long."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from qianru.index.storage import Storage
from qianru.types import IntArray

CACHED_TERMS = 50_000


class StoredStatistics:
    """Statistics (see qianru.models.bm25) that live in a Storage.

    A search looks up its own few terms and keeps them; the first write reads the whole vocabulary. Changes are held
    back until `write`, inside the transaction that stores the documents; `forget_changes` drops them if that fails.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._terms = storage.table("terms")
        self.forget_changes()

    def forget_changes(self) -> None:
        """Back to what the database says."""
        self.n_documents = int(self._storage.meta("n_documents", 0))
        self.n_tokens = int(self._storage.meta("n_tokens", 0))
        last = self._storage.query(f"SELECT max(term_column) FROM {self._terms}")[0][0]
        self.width = 0 if last is None else int(last) + 1
        self._columns: dict[str, int] = {}          # of every term once `_whole`, else of those asked for
        self._frequencies: dict[int, int] = {}
        self._whole = False
        self._new_from = self.width
        self._changes: list[tuple[IntArray, IntArray]] = []

    def ids(self, terms: Sequence[str], *, grow: bool = False) -> IntArray:
        """(n,) columns of the terms, -1 where unknown; with grow, unknown ones get the next free columns."""
        if grow:
            self._read_whole()
            columns = self._columns
            new = [term for term in terms if term not in columns]
            columns.update(zip(dict.fromkeys(new), count(self.width), strict=False))
            self.width = len(columns)
            return np.fromiter(map(columns.__getitem__, terms), np.int64, len(terms))
        return np.array([self._column(term) for term in terms], np.int64)

    def frequencies(self, ids: IntArray) -> IntArray:
        """(n,) in how many documents each column's term stands."""
        known = self._frequencies
        found = []
        for column in ids.tolist():
            if column not in known:
                rows = self._storage.query(f"SELECT frequency FROM {self._terms} WHERE term_column = ?", (column,))
                known[column] = int(rows[0][0]) if rows else 0
            found.append(known[column])
        return np.array(found, np.int64)

    def update(self, ids: IntArray, deltas: IntArray, n_documents: int, n_tokens: int) -> None:
        """Adds deltas to the frequencies of the columns and to the two totals; a column may stand there repeatedly."""
        self._changes.append((ids, deltas))
        self.n_documents += n_documents
        self.n_tokens += n_tokens
        self._frequencies.clear()

    def write(self) -> None:
        """Writes what has changed; inside a transaction."""
        ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in self._changes)])
        deltas = np.concatenate([np.zeros(0, np.int64), *(deltas for _, deltas in self._changes)])
        sums = np.bincount(ids, weights=deltas, minlength=self.width).astype(np.int64)     # by column
        old, new = np.flatnonzero(sums[: self._new_from]), range(self._new_from, self.width)
        names = list(self._columns)[len(self._columns) - len(new) :]       # a dict keeps the order of growing
        self._storage.connection.executemany(
            f"INSERT INTO {self._terms} VALUES (?, ?, ?)", zip(new, names, sums[self._new_from :].tolist(), strict=True)
        )
        self._storage.connection.executemany(
            f"UPDATE {self._terms} SET frequency = frequency + ? WHERE term_column = ?",
            zip(sums[old].tolist(), old.tolist(), strict=True),
        )
        self._new_from = self.width
        self._changes.clear()
        self._storage.set_meta("n_documents", self.n_documents)
        self._storage.set_meta("n_tokens", self.n_tokens)
        self._frequencies.clear()

    def clear(self) -> None:
        """Forgets all counts but not which term has which column; inside a transaction."""
        self._storage.connection.execute(f"UPDATE {self._terms} SET frequency = 0")
        self.n_documents = self.n_tokens = 0
        self._frequencies.clear()

    def _column(self, term: str) -> int:
        if self._whole or term in self._columns:
            return self._columns.get(term, -1)
        rows = self._storage.query(f"SELECT term_column FROM {self._terms} WHERE term = ?", (term,))
        if len(self._columns) >= CACHED_TERMS:
            self._columns.clear()
        column = self._columns[term] = int(rows[0][0]) if rows else -1
        return column

    def _read_whole(self) -> None:
        if not self._whole:
            sql = f"SELECT term, term_column FROM {self._terms} ORDER BY term_column"
            self._columns = dict(self._storage.query(sql))
            self._whole = True
