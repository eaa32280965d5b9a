"""The two ends of a push: a collection in a folder and one on a server, each read and written in the same terms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from qianru.index.cluster_bm25 import COUNTS
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_points import stored_rows
from qianru.index.cluster_shelf import TOLD, document_of
from qianru.index.collection import Collection
from qianru.index.intake import SourceFile, fields_json
from qianru.index.layout import Layout
from qianru.types import Document, Embeddings, IntArray, Ragged

if TYPE_CHECKING:
    from qdrant_client.http.models import Record

AT_ONCE = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cargo:
    """Some documents with everything that is stored of them.

    orders: their places in the order of first adding
    words: for BM25, in place of sparse vectors: how often each word stands in each document
    """

    documents: Sequence[Document]
    orders: Sequence[int]
    vectors: Embeddings
    words: Sequence[Mapping[str, int]] | None

    def some(self, chosen: list[int]) -> Cargo:
        """The chosen documents alone."""
        dense, sparse, multi = self.vectors.dense, self.vectors.sparse, self.vectors.multi
        return Cargo(
            [self.documents[i] for i in chosen],
            [self.orders[i] for i in chosen],
            replace(
                self.vectors,
                n_tokens=self.vectors.n_tokens[chosen],
                dense=None if dense is None else dense[chosen],
                sparse=None if sparse is None else sparse.take(chosen),
                multi=None if multi is None else _joined([multi.row(i) for i in chosen]),
            ),
            None if self.words is None else [self.words[i] for i in chosen],
        )

    def checksums(self, *, multi: bool) -> dict[str, bytes]:
        """id -> 16 bytes that change with the text, a field, a number of a vector or a count; multi: of tokens too."""
        sums = {}
        dense, sparse, tokens = self.vectors.dense, self.vectors.sparse, self.vectors.multi
        for i, document in enumerate(self.documents):
            parts: list[bytes] = [document.text.encode(), fields_json(document).encode()]
            parts.append(b"" if dense is None else dense[i].astype("<f4").tobytes())
            if self.words is not None:
                parts.append(json.dumps(sorted((word, int(n)) for word, n in self.words[i].items())).encode())
            elif sparse is not None:
                terms, weights = sparse.row(i)
                parts += [terms.astype("<u4").tobytes(), weights.astype("<f4").tobytes()]
            if multi and tokens is not None:
                parts.append(tokens.row(i).astype("<f2").tobytes())
            digest = blake2b(digest_size=16)
            for part in parts:
                digest.update(len(part).to_bytes(8, "little") + part)
            sums[document.id] = digest.digest()
        return sums


class End(Protocol):
    """Where documents come from or go to."""

    @property
    def collection(self) -> Collection:
        """Whose documents they are."""
        ...

    @property
    def layout(self) -> Layout:
        """Which vectors are stored, and how exactly."""
        ...

    def each(self, places: IntArray | None = None, *, multi: bool = True) -> Iterator[Cargo]:
        """All documents, or those at the places, in the order of first adding, some at a time.

        places: counted from 0, rising;  multi: with token vectors, which are by far the largest
        """
        ...

    def read(self, ids: Sequence[str]) -> Cargo:
        """Those of the ids that are stored."""
        ...

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """id -> digest of text and fields, for those that are stored."""
        ...

    def take(self, cargo: Cargo) -> None:
        """Stores the documents, replacing those with the same id."""
        ...

    def sources(self) -> list[SourceFile]:
        """The files that are noted."""
        ...

    def finish(self, files: Sequence[SourceFile]) -> None:
        """All documents have come: notes the files that they are of."""
        ...


class FolderEnd:
    """A collection in a folder."""

    def __init__(self, collection: Collection) -> None:
        self.collection, self.layout = collection, collection._layout
        self._storage = collection._storage
        self._words: dict[int, str] = {}

    def each(self, places: IntArray | None = None, *, multi: bool = True) -> Iterator[Cargo]:
        """As End.each."""
        ns = at_places(self._storage.each_number(), places)
        while some := list(islice(ns, AT_ONCE)):
            yield self._cargo(some, multi)

    def read(self, ids: Sequence[str]) -> Cargo:
        """As End.read."""
        return self._cargo([known.n for known in self._storage.known(ids).values()])

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """As End.digests."""
        return {id: known.digest.hex() for id, known in self._storage.known(ids).items()}

    def take(self, cargo: Cargo) -> None:
        """As End.take."""
        self.collection._writer.take(cargo.documents, cargo.vectors, cargo.words)

    def sources(self) -> list[SourceFile]:
        """As End.sources."""
        return [SourceFile(*row) for row in self._storage.query("SELECT path, digest, n_passages FROM sources")]

    def finish(self, files: Sequence[SourceFile]) -> None:
        """As End.finish."""
        self.collection._writer.note_sources(files)

    def _cargo(self, ns: list[int], multi: bool = True) -> Cargo:
        documents = self._storage.documents(ns)
        ns = [n for n in ns if n in documents]      # without those that were deleted between two pieces
        vectors, words = self._storage.vectors(ns), None
        if self.collection._bm25 is not None:
            assert vectors.sparse is not None
            words = [{self._word(column): int(n) for column, n in zip(terms.tolist(), counts.tolist(), strict=True)}
                     for terms, counts in vectors.sparse]
            vectors = replace(vectors, sparse=None)
        if multi and "multi" in (self.layout.kinds or ()):
            parts = [part for _, part in self._storage.each_multi(ns, self.layout.multi)]
            vectors = replace(vectors, multi=_joined([part.row(i) for part in parts for i in range(len(part))]))
        return Cargo([documents[n] for n in ns], ns, vectors, words)

    def _word(self, column: int) -> str:
        if column not in self._words:
            self._words = dict(self._storage.query("SELECT term_column, term FROM terms"))
        return self._words[column]


class ClusterEnd:
    """A collection on a server."""

    def __init__(self, collection: ClusterCollection) -> None:
        self.collection, self.layout = collection, collection._layout
        self._cluster, self._shelf = collection, collection._shelf
        self._keys = [*TOLD, "order", *(COUNTS if collection._bm25 is not None else ["length"])]

    def each(self, places: IntArray | None = None, *, multi: bool = True) -> Iterator[Cargo]:
        """As End.each."""
        vectors = True if multi else self._shelf.index.kinds        # of which token vectors are none
        records = at_places(self._shelf.each(None, self._keys, vectors=vectors), places)
        while some := list(islice(records, AT_ONCE)):
            yield self._cargo(some, multi)

    def read(self, ids: Sequence[str]) -> Cargo:
        """As End.read."""
        points = [known.point for known in self._shelf.known(ids).values()]
        return self._cargo(list(self._shelf.index.records(points, self._keys, vectors=True).values()))

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """As End.digests."""
        return {id: known.digest for id, known in self._shelf.known(ids).items()}

    def take(self, cargo: Cargo) -> None:
        """As End.take."""
        self._cluster._cluster_writer.take(cargo.documents, cargo.vectors, cargo.words, cargo.orders)

    def sources(self) -> list[SourceFile]:
        """As End.sources."""
        return self._cluster._home.sources()

    def finish(self, files: Sequence[SourceFile]) -> None:
        """As End.finish."""
        self._cluster._home.put_sources(files)
        if self._shelf.bm25 is not None:
            self._shelf.bm25.settle()

    def _cargo(self, records: Sequence[Record], multi: bool = True) -> Cargo:
        told: list[dict[str, Any]] = [record.payload or {} for record in records]
        vectors: list[Any] = [record.vector or {} for record in records]
        dense, sparse = stored_rows(vectors, self.collection.model.spec.dim or 0, self._shelf.index.kinds)
        words = None
        if self.collection._bm25 is not None:
            # not strict: what is damaged shows in the checksum, and is sent again
            words, sparse = [dict(zip(one["terms"], one["counts"], strict=False)) for one in told], None
        tokens = None
        if multi and "multi" in (self.layout.kinds or ()):
            tokens = _joined([np.array(vector.get("multi") or [], np.float32) for vector in vectors])
        lengths = np.array([one["length"] for one in told], np.int64)
        return Cargo([document_of(one) for one in told], [int(one["order"]) for one in told],
                     Embeddings("stored", lengths, dense=dense, sparse=sparse, multi=tokens), words)


def end_of(collection: Collection) -> End:
    """The collection as the end of a push."""
    return ClusterEnd(collection) if isinstance(collection, ClusterCollection) else FolderEnd(collection)


def at_places(items: Iterator[T], places: IntArray | None) -> Iterator[T]:
    """Those of the items that stand at the places, which rise; all without places.

    >>> list(at_places(iter("床前明月光"), np.array([1, 3])))
    ['前', '月']
    """
    if places is None:
        yield from items
        return
    wanted = iter(places.tolist())
    place = next(wanted, None)
    for i, item in enumerate(items):
        if i == place:
            yield item
            place = next(wanted, None)


def _joined(rows: Sequence[Any]) -> Ragged:
    """Matrices as one; those of texts without tokens have no width of their own."""
    full = [row for row in rows if len(row)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    return Ragged(np.concatenate(full) if full else np.zeros((0, 0), np.float32), offsets)
