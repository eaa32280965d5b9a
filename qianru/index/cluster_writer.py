"""What changes a collection on a server: each batch is embedded here, sent in parts at once, and counts when all of it
is confirmed.

There are no transactions over several documents. So whatever could be found half done is written in an order in which
doing it again completes it: the note that a file is not complete, then its passages, then those that are too many go,
then the note that it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from qianru.index.cluster_home import ClusterHome
from qianru.index.cluster_shelf import ClusterShelf, payload_of, point_of
from qianru.index.intake import SourceFile, document_digest, fields_json, searchable
from qianru.index.writer import CHARS_AT_ONCE, Report, unit
from qianru.models.base import Model
from qianru.types import Document, Embeddings, Kind, SparseRows


class ClusterWriter:
    """Writes documents. One thread at a time; the caller sees to that. Other clients may write at the same time."""

    def __init__(self, home: ClusterHome, shelf: ClusterShelf, model: Model, kinds: Sequence[Kind]) -> None:
        """kinds: the vectors that are stored, token vectors among them"""
        self._home, self._shelf, self._model, self._kinds = home, shelf, model, kinds
        self._last_order = 0

    def put(self, batch: Sequence[Document], finished: Sequence[SourceFile] = (), begun: str | None = None) -> Report:
        """Stores the documents that are new or changed, and what they say of files (see Writer.put)."""
        documents = list({document.id: document for document in batch}.values())      # of equal ids the last one
        fields = {document.id: fields_json(document) for document in documents}
        digests = {document.id: document_digest(document.text, fields[document.id]) for document in documents}
        known = self._shelf.known([document.id for document in documents])
        changed = [document for document in documents
                   if document.id not in known or known[document.id].digest != digests[document.id].hex()]
        n_old = sum(document.id in known for document in changed)
        if begun is not None:
            self._home.begin_source(begun)
        orders = self._orders(len(changed))
        for part in self._pieces(changed):
            vectors, payloads = self._embedded([searchable(document) for document in part])
            extra = []
            for document, more, n_tokens in zip(part, payloads, vectors.n_tokens.tolist(), strict=True):
                order = known[document.id].order if document.id in known else next(orders)
                extra.append(payload_of(document, fields[document.id], digests[document.id], order, n_tokens) | more)
            points = np.array([point_of(document.id) for document in part], np.int64)
            self._shelf.index.put(points, vectors, [document.fields for document in part], extra)
            self._changed()
        stale = self._remove_beyond(finished, {point_of(document.id) for document in documents})
        self._home.put_sources(finished)
        return Report(len(changed) - n_old, n_old, len(batch) - len(changed), stale)

    def take(
        self, documents: Sequence[Document], embeddings: Embeddings, words: Sequence[Mapping[str, int]] | None,
        orders: Sequence[int],
    ) -> None:
        """Stores documents with the vectors that this model has made of them elsewhere, each id once.

        words: for BM25, in place of sparse vectors: how often each word stands in each document
        orders: their places in the order of first adding
        """
        more: Sequence[Mapping[str, object]] = [{} for _ in documents]
        if self._shelf.bm25 is not None and words is not None:
            names = list(dict.fromkeys(word for told in words for word in told))
            column = {name: i for i, name in enumerate(names)}
            counts = SparseRows.from_rows(
                [{column[word]: float(n) for word, n in told.items()} for told in words], len(names))
            sparse, more = self._shelf.bm25.taken(names, counts, embeddings.n_tokens)
            embeddings = replace(embeddings, sparse=sparse)
        extra = []
        for document, order, n_tokens, its in zip(documents, orders, embeddings.n_tokens.tolist(), more, strict=True):
            json = fields_json(document)
            extra.append({**payload_of(document, json, document_digest(document.text, json), order, n_tokens), **its})
        points = np.array([point_of(document.id) for document in documents], np.int64)
        self._shelf.index.put(points, embeddings, [document.fields for document in documents], extra)
        self._changed()

    def note_sources(self, files: Sequence[SourceFile]) -> None:
        """Notes the files as complete."""
        self._home.put_sources(files)

    def remove(self, ids: Sequence[str]) -> int:
        """Removes documents by id; returns how many there were."""
        points = [known.point for known in self._shelf.known(ids).values()]
        self._shelf.index.delete(np.array(points, np.int64))
        self._changed()
        return len(points)

    def remove_sources(self, paths: Sequence[str]) -> int:
        """Removes files and their passages; returns how many passages."""
        for path in paths:
            self._home.begin_source(path)
        n = self._remove_beyond([SourceFile(path, b"", 0) for path in paths], set())
        self._home.forget_sources(paths)
        return n

    def _remove_beyond(self, files: Sequence[SourceFile], kept: set[int]) -> int:
        beyond = {point for file in files for point in self._shelf.passages_beyond(file.path, file.n_passages)}
        stale = np.array(sorted(beyond - kept), np.int64)
        if len(stale):
            self._shelf.index.delete(stale)
            self._changed()
        return len(stale)

    def _embedded(self, texts: list[str]) -> tuple[Embeddings, list[dict[str, object]]]:
        """(vectors, dense ones at length 1; more payload) of texts."""
        spec = self._model.spec
        if self._shelf.bm25 is None:
            made = self._model.encode(texts, role="document", kinds=self._kinds)
            return (Embeddings(spec.name, made.n_tokens, made.n_truncated, unit(made.dense), made.sparse, made.multi),
                    [{} for _ in texts])
        sparse, payloads = self._shelf.bm25.weighed(texts)
        lengths = np.array([payload["length"] for payload in payloads], np.int64)
        others = [kind for kind in self._kinds if kind != "sparse"]
        if not others:
            return Embeddings(spec.name, lengths, sparse=sparse), payloads
        made = self._model.encode(texts, role="document", kinds=others)
        return Embeddings(spec.name, lengths, made.n_truncated, unit(made.dense), sparse, made.multi), payloads

    def _pieces(self, documents: Sequence[Document]) -> Iterator[list[Document]]:
        """The documents to embed at a time: all, but few where each token has a vector of its own."""
        part: list[Document] = []
        n_chars = 0
        for document in documents:
            part.append(document)
            n_chars += len(document.text)
            if "multi" in self._kinds and n_chars >= CHARS_AT_ONCE:
                yield part
                part, n_chars = [], 0
        if part:
            yield part

    def _orders(self, n: int) -> Iterator[int]:
        """n numbers of new documents: microseconds, always later than the last."""
        first = max(time.time_ns() // 1000, self._last_order + 1)
        self._last_order = first + n
        return iter(range(first, first + n))

    def _changed(self) -> None:
        if self._shelf.bm25 is not None:
            self._shelf.bm25.statistics.forget()
