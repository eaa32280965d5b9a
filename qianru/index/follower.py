"""The index that follows the source of truth: replays what it lacks, and keeps BM25 exact though lengths drift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qianru.index.base import Index, Ranking
from qianru.index.engine import EngineIndex
from qianru.index.filter import Filter
from qianru.index.storage import Storage
from qianru.models.bm25 import BM25
from qianru.scores import sparse_dot
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, SparseRows

MAX_DRIFT = 0.05
"""How far the mean length may move before every BM25 weight is written anew; below it, candidates are scored again."""
ROUNDING = 1 + 1e-4
"""More than the index's float32 sums can be off, as a proportion."""
SPARE = 16
"""Candidates beyond k that are scored again."""


class Follower:
    """An index, and the number of the last transaction that it has taken in.

    BM25 weights depend on the mean length of all documents, which moves with every change. The index holds weights for
    one mean length; those for a larger one are larger by at most the ratio of the two means, those for a smaller one
    are no larger (d log w / d log mean is between 0 and 1). So candidates are scored again with the mean of now, and
    enough of them taken that no other document can be among the best k.
    """

    def __init__(
        self, storage: Storage, fresh: Callable[[], Index], bm25: BM25 | None, engine: EngineIndex | None = None
    ) -> None:
        """fresh makes an empty index; engine is the one on the disk, for a process that may write."""
        self._storage = storage
        self._fresh = fresh
        self._bm25 = bm25
        self._engine = engine
        self._index = engine or fresh()
        self._sequence = self._marked = engine.sequence if engine else 0
        self._mean_length = float(storage.meta("mean_length", 0.0)) if self._sequence else 0.0

    def search(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None) -> list[Ranking]:
        """As Index.search, over all that is committed."""
        self.catch_up()
        if kind != "sparse" or self._bm25 is None or self._mean_length == self._bm25.mean_length:
            return self._index.search(queries, kind, k, where)
        return [self._scored_again(queries, i, k, where) for i in range(len(queries))]

    def catch_up(self, progress: Progress | None = None) -> None:
        """Takes in every transaction that has been committed since the last time."""
        latest = int(self._storage.meta("sequence"))
        if latest == self._sequence:
            return
        if self._sequence < int(self._storage.meta("forgotten", 0)):     # notes of deletions that we need are gone
            self._start_anew()
        if self._bm25 is not None and self._drift() > MAX_DRIFT:
            self._weigh_anew()
        gone = self._storage.deleted_since(self._sequence)
        if len(gone):
            self._index.delete(gone)
        total = self._storage.query("SELECT count(*) FROM documents WHERE sequence > ?", (self._sequence,))[0][0]
        done = 0
        for rows in self._storage.each_stored(self._sequence):
            self._index.add(rows.ns, self.weighed(rows.embeddings, self._mean_length), rows.fields)
            done += len(rows.ns)
            if progress is not None:
                progress(done, total)
        self._sequence = latest
        if total > 5_000:
            self.mark()

    def mark(self) -> None:
        """Makes the index durable and lets go of the notes of deletions that it has taken in."""
        if self._engine is None or self._marked == self._sequence:
            return
        self._engine.mark(self._sequence)
        with self._storage.transaction():
            self._storage.connection.execute("DELETE FROM deleted WHERE sequence <= ?", (self._sequence,))
            self._storage.set_meta("forgotten", self._sequence)
        self._marked = self._sequence

    def rebuild(self, progress: Progress | None = None) -> None:
        """Makes the index again from the source of truth."""
        self._start_anew()
        self._mean_length = 0.0
        self.catch_up(progress)
        self.mark()

    def weighed(self, stored: Embeddings, mean_length: float | None = None) -> Embeddings:
        """Stored vectors as they are scored: BM25's counts as weights, for the mean length of now if none is given."""
        if self._bm25 is None or stored.sparse is None:
            return stored
        weights = self._bm25.weigh(stored.sparse, stored.n_tokens, mean_length or self._bm25.mean_length)
        return Embeddings(stored.model, stored.n_tokens, dense=stored.dense, sparse=weights)

    def exact(self, query: SparseRows, ns: IntArray) -> FloatArray:
        """(m,) sparse scores of one query for documents ns, from what is stored now."""
        if not len(ns):
            return np.zeros(0)
        documents = self.weighed(self._storage.vectors(ns.tolist())).sparse
        assert documents is not None
        scores: FloatArray = sparse_dot(query, documents)[0]
        return scores

    def close(self) -> None:
        self._index.close()

    def _drift(self) -> float:
        """How far the mean length of now is from the one that the weights are for, as a proportion."""
        now = self._bm25.mean_length if self._bm25 is not None else 0.0
        if not now or not self._mean_length:
            return 0.0 if now == self._mean_length else float("inf")
        return max(now / self._mean_length, self._mean_length / now) - 1

    def _start_anew(self) -> None:
        if self._engine is not None:
            self._engine.abandon()
        else:
            self._index.close()
        self._index = self._fresh()
        if isinstance(self._index, EngineIndex):
            self._engine = self._index
        self._sequence = self._marked = 0

    def _weigh_anew(self) -> None:
        """Has all documents written again, with weights for the mean length of now."""
        assert self._bm25 is not None
        if self._engine is not None:
            if self._sequence:
                self._engine.mark(0)       # first: an index that is half rewritten must not count as up to date
            with self._storage.transaction():
                self._storage.set_meta("mean_length", self._bm25.mean_length)
        self._mean_length = self._bm25.mean_length
        self._sequence = self._marked = 0

    def _scored_again(self, queries: Embeddings, i: int, k: int, where: Filter | None) -> Ranking:
        assert self._bm25 is not None
        assert queries.sparse is not None
        query = queries.sparse.take([i])
        one = Embeddings(queries.model, queries.n_tokens[i : i + 1], sparse=query)
        limit = k + SPARE
        growth = max(self._bm25.mean_length / self._mean_length, 1) * ROUNDING     # no weight can have grown by more
        while True:
            found = self._index.search(one, "sparse", limit, where)[0]
            scores = self.exact(query, found.ids)
            order = np.lexsort((found.ids, -scores))[:k]
            everything = len(found.ids) < limit
            if everything or found.scores[-1] * growth < scores[order[-1]]:
                return Ranking(found.ids[order], scores[order])
            limit *= 4
