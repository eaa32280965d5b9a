"""The backend of a collection on a server: what the search pipeline and a collection's calls ask of it.

A point's payload, beside the fields that filters see (engine_filter.py) and BM25's counts (cluster_bm25.py):
"id", "text", "fields" (as JSON), "digest" of these two, "names" of the fields, "length" in tokens, and "order".
The point's own number is a hash of the id, so every client gives a document the same one; "order" is the time of first
adding in microseconds, by which documents with equal scores stand. In rankings a document is known by its order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qianru.errors import CollectionDamaged, CollectionError
from qianru.index.base import Ranking
from qianru.index.cluster import ClusterIndex, Some
from qianru.index.cluster_bm25 import COUNTS, ClusterBM25
from qianru.index.cluster_filter import translated
from qianru.index.cluster_points import stored_rows
from qianru.index.filter import Filter
from qianru.types import Document, Embeddings, FloatArray, IntArray, Kind, SparseRows

if TYPE_CHECKING:
    from qdrant_client.http.models import Record

TOLD = ("id", "text", "fields")


class KnownPoint(NamedTuple):
    """What stands under an id already."""

    point: int
    digest: str
    order: int


class Moved(CollectionError):
    """Another client has deleted what a search had found."""


class ClusterShelf:
    """A Backend (see qianru.index.pipeline). One search at a time; the caller sees to that."""

    def __init__(self, index: ClusterIndex, dim: int, bm25: ClusterBM25 | None) -> None:
        self.index, self.bm25 = index, bm25
        self._dim = dim
        self._points: dict[int, int] = {}       # number in rankings -> point

    # for the pipeline

    def begin(self) -> None:
        """A new search: numbers of the last one mean nothing any more, and statistics may have grown old."""
        self._points.clear()
        if self.bm25 is not None:
            self.bm25.statistics.refresh()

    def candidates(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None) -> list[Ranking]:
        """As Index.search, by numbers in rankings."""
        if kind == "sparse" and self.bm25 is not None:
            assert queries.sparse is not None
            found = self.bm25.search([self._words(queries.sparse, i) for i in range(len(queries))], k, where)
        else:
            found = self.index.find(self.index.vectors_of(queries, kind), kind, k, where, order="order")
        return [Ranking(np.array([self._number(hit.id, hit.payload["order"]) for hit in hits], np.int64),
                        np.array([hit.score for hit in hits], np.float32)) for hits in found]

    def scores(self, queries: Embeddings, i: int, kind: Kind, ns: IntArray) -> FloatArray:
        """(m,) exact scores of query i with documents ns."""
        points = [self._points[n] for n in ns.tolist()]
        if kind == "sparse" and self.bm25 is not None:
            assert queries.sparse is not None
            records = self._read(points, COUNTS)
            return self.bm25.exact(self._words(queries.sparse, i), [record.payload for record in records])
        vector = self.index.vectors_of(queries, kind)[i]
        n_tokens = len(vector) if kind == "multi" else 1        # the server adds up; MaxSim here is the mean
        found = self.index.scores(vector, kind, points) if n_tokens else {}
        return np.array([found.get(point, 0.0) for point in points], np.float32) / np.float32(max(n_tokens, 1))

    def everything(self, where: Filter | None) -> IntArray:
        """All documents that pass the filter, ascending."""
        return np.sort(np.array([self._number(point, order) for point, order in self._passing(where)], np.int64))

    def documents(self, ns: Sequence[int]) -> Mapping[int, Document]:
        """The documents ns."""
        records = self._read([self._points[n] for n in ns], TOLD)
        return {n: document_of(record.payload or {}) for n, record in zip(ns, records, strict=True)}

    def vectors(self, ns: IntArray) -> Embeddings:
        """The dense and sparse vectors of documents ns; BM25's as they are now."""
        return self.stored([self._points[n] for n in ns.tolist()])

    # for the collection

    def known(self, ids: Sequence[str]) -> dict[str, KnownPoint]:
        """Those of the ids that are stored."""
        point_of_id = {point_of(id): id for id in ids}
        known = {}
        for point, record in self.index.records(list(point_of_id), ["id", "digest", "order"]).items():
            told, id = record.payload or {}, point_of_id[point]
            if told["id"] != id:        # one in 10**19 pairs
                raise CollectionError(f"{id!r} and {told['id']!r} have the same hash. Change one of the two ids.")
            known[id] = KnownPoint(point, told["digest"], int(told["order"]))
        return known

    def number(self, known: KnownPoint) -> int:
        """The document's number in rankings."""
        return self._number(known.point, known.order)

    def stored(self, points: Sequence[int]) -> Embeddings:
        """All stored vectors of the points, but token vectors; BM25's with the weights of now."""
        records = self._read(points, COUNTS if self.bm25 is not None else ["length"], vectors=self.index.kinds)
        dense, sparse = stored_rows([record.vector or {} for record in records], self._dim, self.index.kinds)
        if self.bm25 is not None:
            sparse = self.bm25.weighed_now([record.payload for record in records])
        lengths = np.array([(record.payload or {})["length"] for record in records], np.int64)
        return Embeddings("stored", lengths, dense=dense, sparse=sparse)

    def each(self, where: Filter | None, keys: Sequence[str] = TOLD, *, vectors: Some = False) -> Iterator[Record]:
        """The record of each document that passes, in the order of first adding."""
        condition, exact = translated(where)
        check = None if where is None or exact else where.matches
        for record in self.index.each(condition, [*keys, *(["fields"] if check else [])], vectors=vectors):
            if check is None or check(json.loads((record.payload or {})["fields"])):
                yield record

    def count(self, where: Filter | None) -> int:
        """How many documents pass the filter."""
        condition, exact = translated(where)
        return self.index.count(condition) if exact else sum(1 for _ in self.each(where, []))

    def passages_beyond(self, path: str, last: int) -> list[int]:
        """Points of the passages path#k with k above the last."""
        from qdrant_client.http import models

        start = f"{path}#"
        those = models.Filter(must=[models.FieldCondition(key="id", match=models.MatchPrefix(prefix=start))])
        numbered = ((int(record.id), (record.payload or {})["id"][len(start) :])
                    for record in self.index.each(those, ["id"]))
        return [point for point, number in numbered if number.isdecimal() and int(number) > last]

    def _passing(self, where: Filter | None) -> Iterator[tuple[int, int]]:
        return ((int(record.id), int((record.payload or {})["order"])) for record in self.each(where, []))

    def _read(self, points: Sequence[int], keys: Sequence[str], *, vectors: Some = False) -> list[Any]:
        records = self.index.records(points, keys, vectors=vectors)
        if gone := [point for point in points if point not in records]:
            raise Moved(f"{len(gone)} documents were deleted while they were searched. Search again.")
        return [records[point] for point in points]

    def _number(self, point: int, order: int) -> int:
        """The point's order; the next free number where two clients have added something in the same microsecond."""
        n = order
        while self._points.setdefault(n, point) != point:
            n += 1
        return n

    def _words(self, sparse: SparseRows, i: int) -> dict[str, float]:
        assert self.bm25 is not None
        columns, weights = sparse.row(i)
        return dict(zip(self.bm25.statistics.terms(columns), weights.tolist(), strict=True))


def point_of(id: str) -> int:
    """The number of the point that a document is stored under.

    >>> point_of("静夜思") == point_of("静夜思") < 2**63
    True
    """
    return int.from_bytes(blake2b(id.encode(), digest_size=8).digest(), "big") >> 1


def payload_of(document: Document, fields: str, digest: bytes, order: int, n_tokens: int) -> dict[str, Any]:
    """What is kept of a document beside its fields for filters."""
    return {"id": document.id, "text": document.text, "fields": fields, "digest": digest.hex(), "order": order,
            "names": sorted(document.fields), "length": n_tokens}


def document_of(told: Mapping[str, Any]) -> Document:
    """The document of a payload. Raises CollectionDamaged for a payload of something else."""
    try:
        return Document(told["id"], told["text"], json.loads(told["fields"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CollectionDamaged(f"A point of the collection is no document of ours ({error!r:.80}). Has another "
                                "program written to it? Push the collection again.") from error
