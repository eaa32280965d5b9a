"""The backend of a collection on this machine: the engine finds, the database scores exactly and reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qianru.index.base import Ranking
from qianru.index.filter import Filter
from qianru.index.follower import Follower
from qianru.index.layout import MultiPrecision
from qianru.index.pipeline import row_of
from qianru.index.storage import Storage
from qianru.scores import maxsim
from qianru.types import Document, Embeddings, FloatArray, IntArray, Kind


class Shelf:
    """A Backend (see qianru.index.pipeline).

    follow: gives the index, which is opened at the first search
    """

    def __init__(self, storage: Storage, follow: Callable[[], Follower], precision: MultiPrecision) -> None:
        self._storage = storage
        self._follow = follow
        self._precision: MultiPrecision = precision

    def candidates(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None) -> list[Ranking]:
        """As Index.search."""
        return self._follow().search(queries, kind, k, where)

    def scores(self, queries: Embeddings, i: int, kind: Kind, ns: IntArray) -> FloatArray:
        """(m,) exact scores of query i with documents ns; token vectors are read a bounded number at a time."""
        if not len(ns):
            return np.zeros(0, np.float32)
        if kind == "multi":
            assert queries.multi is not None
            query = row_of(queries.multi, i)
            parts = self._storage.each_multi(ns.tolist(), self._precision)
            return np.concatenate([maxsim(query, multi)[0] if len(multi.data) else np.zeros(len(part), np.float32)
                                   for part, multi in parts])
        if kind == "sparse":
            assert queries.sparse is not None
            return self._follow().exact(queries.sparse.take([i]), ns)
        assert queries.dense is not None
        return self._follow().exact_dense(queries.dense[i], ns)

    def everything(self, where: Filter | None) -> IntArray:
        """All documents that pass the filter, ascending."""
        if where is None:
            return np.array([n for (n,) in self._storage.query("SELECT n FROM documents ORDER BY n")], np.int64)
        return np.fromiter((n for n, _ in self._storage.each_document(where)), np.int64)

    def documents(self, ns: Sequence[int]) -> Mapping[int, Document]:
        """The documents ns."""
        return self._storage.documents(ns)

    def vectors(self, ns: IntArray) -> Embeddings:
        """The dense and sparse vectors of documents ns."""
        return self._follow().weighed(self._storage.vectors(ns.tolist()))
