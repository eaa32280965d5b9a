"""The index that follows the source of truth: replays what it lacks, and keeps BM25 exact though lengths drift."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from qianru.errors import CollectionDamaged, StorageFailed
from qianru.index.base import Index, Ranking
from qianru.index.engine import EngineIndex
from qianru.index.filter import Filter
from qianru.index.graph import GraphBuild
from qianru.index.postings import LivePostings
from qianru.index.rows import checked_sparse
from qianru.index.storage import Storage
from qianru.models.bm25 import BM25
from qianru.scores import sparse_dot
from qianru.scores.exact.compiled import has_numba
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, SparseRows

ENGINE = "engine"       # its folder in the collection's
MAX_DRIFT = 0.05
"""How far the mean length may move before every BM25 weight is written anew; below it, candidates are scored again."""
ROUNDING = 1 + 1e-4
"""More than the index's float32 sums can be off, as a proportion."""
SPARE = 16
"""Candidates beyond k that are scored again."""
MAX_WEIGHTS = 1 << 25
"""Sparse weights that are kept in memory too: 300 MB."""
log = logging.getLogger("qianru")


class Follower:
    """An index, and the number of the last transaction that it has taken in.

    BM25 weights depend on the mean length of all documents, which moves with every change. The index holds weights for
    one mean length; those for a larger one are larger by at most the ratio of the two means, those for a smaller one
    are no larger (d log w / d log mean is between 0 and 1). So candidates are scored again with the mean of now, and
    enough of them taken that no other document can be among the best k.

    Where numba is installed, sparse vectors are held in memory too once as many queries have come as there are
    documents: reading them costs about what these queries would have gained. They answer in a third of the time.
    """

    def __init__(
        self, storage: Storage, fresh: Callable[[], Index], bm25: BM25 | None, engine: EngineIndex | None = None,
        home: Path | None = None,
    ) -> None:
        """fresh makes an empty index; engine is the one on the disk in the home, for a process that may write."""
        self._storage = storage
        self._fresh = fresh
        self._bm25 = bm25
        self._engine = engine
        self._home = home
        self._build: GraphBuild | None = None
        self.partner: Follower | None = None    # that of another model, which needs the notes of deletions too
        self._postings: LivePostings | None = None
        self._n_asked = 0       # sparse queries that the engine has answered
        self._n_enough = 0      # that the postings would have been worth reading, as last counted
        self._too_many = False  # weights to hold in memory
        self._index: Index = engine if engine is not None else fresh()     # an empty one counts as false
        self._sequence = self._marked = engine.sequence if engine is not None else 0
        self._mean_length = float(storage.meta("mean_length", 0.0)) if self._sequence else 0.0

    def search(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None) -> list[Ranking]:
        """As Index.search, over all that is committed."""
        self.catch_up()
        if kind == "dense" and self._engine is not None and self._engine.precision == "float16":
            return self._in_float32(queries, k, where)
        if kind != "sparse":
            return self._index.search(queries, kind, k, where)
        if self._bm25 is None or self._mean_length == self._bm25.mean_length:
            return self._find_sparse(queries, k, where)
        return [self._scored_again(queries, i, k, where) for i in range(len(queries))]

    def catch_up(self, progress: Progress | None = None) -> None:
        """Takes in every transaction that has been committed since the last time."""
        for done, total in self.steps():
            if progress is not None:
                progress(done, total)

    def steps(self) -> Iterator[tuple[int, int]]:
        """Catches up piece by piece with what is committed when it begins, and yields (done, total) after each.

        In between the collection may change; what comes then is for the next time.
        """
        if self._build is not None and self._build.done:
            self._adopt()
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
            if self._postings is not None:
                self._postings.delete(gone)
        total = self._storage.query("SELECT count(*) FROM documents WHERE sequence > ?", (self._sequence,))[0][0]
        done = 0
        for rows in self._storage.each_stored(self._sequence):
            if rows.embeddings.kinds:       # none if token vectors are all that is stored
                weighed = self.weighed(rows.embeddings, self._mean_length)
                self._index.add(rows.ns, weighed, rows.fields)
                if self._postings is not None:
                    self._postings.add(rows.ns, checked_sparse(weighed))
            done += len(rows.ns)
            yield done, total
        self._sequence = latest
        if total > 5_000:
            self.mark()

    def mark(self) -> None:
        """Makes the index durable and lets go of the notes of deletions that it has taken in."""
        if self._engine is None or self._marked == self._sequence:
            return
        self._engine.mark(self._sequence)
        last = min(self._sequence, self._sequence if self._build is None else self._build.sequence,
                   self._sequence if self.partner is None else self.partner._marked)
        with self._storage.transaction():
            self._storage.connection.execute("DELETE FROM deleted WHERE sequence <= ?", (last,))
            self._storage.set_meta("forgotten", last)
        self._marked = self._sequence

    def rebuild(self, progress: Progress | None = None) -> None:
        """Makes the index again from the source of truth."""
        self._start_anew()
        self._mean_length = 0.0
        self.catch_up(progress)
        self.mark()

    def begin_graph(self) -> bool:
        """Whether a graph of the dense vectors is being built: not of so few that looking at all of them is faster."""
        if self._build is not None:
            return True
        self.catch_up()
        if self._engine is None or self._home is None or not self._engine.wants_graph():
            return False
        self.mark()
        self._engine.flush()
        self._build = GraphBuild.start(self._home, self._home / ENGINE, self._sequence, self._mean_length)
        return True

    def wait_for_graph(self, timeout_s: float) -> bool:
        """Whether no graph is being built any more, after at most that time; other threads may search meanwhile."""
        build = self._build
        return build is None or build.wait(timeout_s)

    def _adopt(self) -> None:
        """Goes on with the engine that has the graph."""
        build, self._build = self._build, None
        assert build is not None
        assert self._engine is not None
        assert self._home is not None
        path = self._home / ENGINE
        self._postings = None
        self._engine.abandon()
        try:
            build.adopt(path)
        except StorageFailed as error:
            log.warning("%s", error)
        else:
            self._mean_length = build.mean_length
            with self._storage.transaction():
                self._storage.set_meta("mean_length", build.mean_length)
        try:
            self._index = self._engine = EngineIndex.load(path)
            self._sequence = self._marked = self._engine.sequence
        except CollectionDamaged:
            self._start_anew()

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
        """Gives everything back; a graph that is not finished is thrown away."""
        if self._build is not None:
            self._build.stop()
        self._index.close()

    def discard(self) -> None:
        """Gives everything back where the index is of no more use."""
        if self._build is not None:
            self._build.stop()
        if self._engine is not None:
            self._engine.abandon()

    def has_graph(self) -> bool:
        """Whether dense vectors are found by a graph."""
        return self._engine is not None and self._engine.has_graph()

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
        self._postings = None
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
        self._postings = None
        self._sequence = self._marked = 0

    def _find_sparse(self, queries: Embeddings, k: int, where: Filter | None) -> list[Ranking]:
        """By the postings in memory if they are worth having, else by the index; both answer alike."""
        if where is not None or self._engine is None or not has_numba():
            return self._index.search(queries, "sparse", k, where)
        if self._postings is None and not self._too_many:
            self._n_asked += len(queries)
            if self._n_asked >= self._n_enough:
                self._n_enough = len(self._engine)          # takes as long as a search itself
            if self._n_asked >= self._n_enough:
                self._postings, self._n_asked = self._in_memory(), 0
                self._too_many = self._postings is None
        if self._postings is None:
            return self._index.search(queries, "sparse", k, where)
        return self._postings.search(checked_sparse(queries), k)

    def _in_memory(self) -> LivePostings | None:
        """All sparse vectors, weighed as in the index; None if there are too many."""
        postings, n_weights = LivePostings(), 0
        for rows in self._storage.each_stored(0):
            sparse = checked_sparse(self.weighed(rows.embeddings, self._mean_length))
            n_weights += len(sparse.weights)
            if n_weights > MAX_WEIGHTS:
                return None
            postings.add(rows.ns, sparse)
        return postings

    def exact_dense(self, query: FloatArray, ns: IntArray) -> FloatArray:
        """(m,) cosines of one query with documents ns, from the float32 vectors of the database."""
        if not len(ns):
            return np.zeros(0, np.float32)
        stored = self._storage.vectors(ns.tolist()).dense
        assert stored is not None
        scores: FloatArray = stored @ query.astype(np.float32)
        return scores

    def _in_float32(self, queries: Embeddings, k: int, where: Filter | None) -> list[Ranking]:
        """Twice as many as wanted, found in float16 and scored again."""
        assert queries.dense is not None
        rankings = []
        for query, found in zip(queries.dense, self._index.search(queries, "dense", 2 * k + SPARE, where), strict=True):
            scores = self.exact_dense(query, found.ids)
            order = np.lexsort((found.ids, -scores))[:k]
            rankings.append(Ranking(found.ids[order], scores[order]))
        return rankings

    def _scored_again(self, queries: Embeddings, i: int, k: int, where: Filter | None) -> Ranking:
        assert self._bm25 is not None
        assert queries.sparse is not None
        query = queries.sparse.take([i])
        one = Embeddings(queries.model, queries.n_tokens[i : i + 1], sparse=query)
        limit = k + SPARE
        growth = max(self._bm25.mean_length / self._mean_length, 1) * ROUNDING     # no weight can have grown by more
        while True:
            found = self._find_sparse(one, limit, where)[0]
            scores = self.exact(query, found.ids)
            order = np.lexsort((found.ids, -scores))[:k]
            everything = len(found.ids) < limit
            if everything or found.scores[-1] * growth < scores[order[-1]]:
                return Ranking(found.ids[order], scores[order])
            limit *= 4
