"""What changes a collection: documents, their vectors and BM25's statistics, each change in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace

import numpy as np

from qianru.index.intake import SourceFile, document_digest, fields_json, searchable
from qianru.index.layout import Layout
from qianru.index.statistics import StoredStatistics
from qianru.index.storage import Storage
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.types import Document, Embeddings, FloatArray, Kind, SparseRows

CHARS_AT_ONCE = 50_000      # with token vectors; at a token a character and 1,024 dimensions 200 MB in float32


@dataclass(frozen=True, slots=True)
class Report:
    """What adding did: counts of documents."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0

    def __add__(self, other: Report) -> Report:
        return Report(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Writer:
    """Writes to a storage. One thread at a time; the caller sees to that."""

    def __init__(
        self, storage: Storage, model: Model, layout: Layout, bm25: BM25 | None, statistics: StoredStatistics | None
    ) -> None:
        """layout: with its kinds named;  bm25: the part of the model that counts in the statistics, if any"""
        self._storage = storage
        self._model = model
        self._layout = layout
        self._kinds: Sequence[Kind] = layout.kinds or ()
        self._bm25 = bm25
        self._statistics = statistics
        self.beside: Writer | None = None       # of the model to come, whose counts move with these documents too

    def put(
        self, batch: Sequence[Document], finished: Sequence[SourceFile] = (), begun: str | None = None
    ) -> Report:
        """Stores the documents that are new or changed, and what they say of files, in one transaction.

        finished: files that are complete with them; their passages with higher numbers are removed
        begun: a file of which more will come
        """
        documents = list({document.id: document for document in batch}.values())      # of equal ids the last one
        fields = [fields_json(document) for document in documents]
        digests = [document_digest(document.text, json) for document, json in zip(documents, fields, strict=True)]
        known = self._storage.known([document.id for document in documents])
        changed = [i for i, document in enumerate(documents)
                   if document.id not in known or known[document.id].digest != digests[i]]
        old = [known[documents[i].id].n for i in changed if documents[i].id in known]
        beyond = {n for file in finished for n in self._storage.passages_beyond(file.path, file.n_passages)}
        stale = sorted(beyond - {one.n for one in known.values()})
        if changed or finished:
            with self._change() as sequence:
                self._unlearn(old + stale)
                self._storage.delete(stale, sequence)
                for some in self._pieces(changed, documents):
                    texts = [searchable(documents[i]) for i in some]
                    embeddings = self.counted(texts, self.made(texts))
                    before = [known.get(documents[i].id) for i in some]
                    rows = [(None if one is None else one.n, documents[i], fields[i], digests[i])
                            for i, one in zip(some, before, strict=True)]
                    ns = self._storage.put(rows, sequence)
                    self._storage.put_vectors(ns, embeddings)
                    if embeddings.multi is not None:
                        self._storage.put_multi(ns, embeddings.multi, self._layout.multi)
                self._storage.put_sources(finished)
                if begun is not None:
                    self._storage.begin_source(begun)
        return Report(len(changed) - len(old), len(old), len(batch) - len(changed), len(stale))

    def take(
        self, documents: Sequence[Document], embeddings: Embeddings, words: Sequence[Mapping[str, int]] | None
    ) -> None:
        """Stores documents with the vectors that this model has made of them elsewhere, each id once.

        words: for BM25, in place of sparse vectors: how often each word stands in each document
        """
        fields = [fields_json(document) for document in documents]
        known = self._storage.known([document.id for document in documents])
        with self._change() as sequence:
            self._unlearn([one.n for one in known.values()])
            if self._bm25 is not None and words is not None:
                statistics = self._bm25.statistics
                statistics.ids(list(dict.fromkeys(word for told in words for word in told)), grow=True)
                counts = SparseRows.from_rows(
                    [dict(zip(statistics.ids(list(told)).tolist(), map(float, told.values()), strict=True))
                     for told in words], statistics.width)
                self._bm25.learn(counts, embeddings.n_tokens)
                embeddings = replace(embeddings, sparse=counts)
            rows = [(known[document.id].n if document.id in known else None, document, json,
                     document_digest(document.text, json)) for document, json in zip(documents, fields, strict=True)]
            ns = self._storage.put(rows, sequence)
            self._storage.put_vectors(ns, embeddings)
            if embeddings.multi is not None:
                self._storage.put_multi(ns, embeddings.multi, self._layout.multi)

    def note_sources(self, files: Sequence[SourceFile]) -> None:
        """Notes the files as complete."""
        with self._change():
            self._storage.put_sources(files)

    def remove(self, ns: Sequence[int]) -> None:
        """Removes the rows, each named once."""
        if ns:
            with self._change() as sequence:
                self._unlearn(ns)
                self._storage.delete(ns, sequence)

    def remove_sources(self, paths: Sequence[str]) -> int:
        """Removes files and their passages; returns how many passages."""
        ns = sorted({n for path in paths for n in self._storage.passages_beyond(path, 0)})
        with self._change() as sequence:
            self._unlearn(ns)
            self._storage.delete(ns, sequence)
            self._storage.delete_sources(paths)
        return len(ns)

    def fill(self, ns: Sequence[int], texts: Sequence[str], made: Embeddings | None) -> None:
        """Stores the vectors of documents that lack them; made: by `made`. No change of the collection for others."""
        with self._together(), self._storage.transaction():
            embeddings = self.counted(texts, made)
            self._storage.put_vectors(ns, embeddings)
            if embeddings.multi is not None:
                self._storage.put_multi(ns, embeddings.multi, self._layout.multi)
            self._write_counts()

    def count_anew(self) -> None:
        """Makes BM25's statistics again from the stored vectors."""
        if self._bm25 is not None and self._statistics is not None:
            with self._change():
                self._statistics.clear()
                for rows in self._storage.each_stored(0):
                    assert rows.embeddings.sparse is not None
                    self._bm25.learn(rows.embeddings.sparse, rows.embeddings.n_tokens)

    @contextmanager
    def _change(self) -> Iterator[int]:
        """A transaction and its number; BM25's statistics go with it or fall back with it."""
        with self._together(), self._storage.transaction():
            yield self._storage.next_sequence()
            self._write_counts()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """BM25's statistics fall back where what is done inside fails."""
        try:
            yield
        except BaseException:
            for writer in (self, self.beside):
                if writer is not None and writer._statistics is not None:
                    writer._statistics.forget_changes()
            raise

    def _write_counts(self) -> None:
        for writer in (self, self.beside):
            if writer is not None and writer._statistics is not None:
                writer._statistics.write()

    def _pieces(self, changed: list[int], documents: Sequence[Document]) -> Iterator[list[int]]:
        """The documents to embed at a time: all, but few where each token has a vector of its own."""
        if "multi" not in self._kinds:
            if changed:
                yield changed
            return
        some: list[int] = []
        n_chars = 0
        for i in changed:
            some.append(i)
            n_chars += len(documents[i].text)
            if n_chars >= CHARS_AT_ONCE:
                yield some
                some, n_chars = [], 0
        if some:
            yield some

    def made(self, texts: Sequence[str]) -> Embeddings | None:
        """The documents' vectors but for BM25's, dense ones at length 1; None if there are no others."""
        kinds = tuple(kind for kind in self._kinds if kind != "sparse" or self._bm25 is None)
        if not kinds:
            return None
        made = self._model.encode(texts, role="document", kinds=kinds)
        return replace(made, dense=unit(made.dense))

    def counted(self, texts: Sequence[str], made: Embeddings | None) -> Embeddings:
        """The vectors with BM25's, of which counts are stored, since weights move with the collection."""
        if made is not None and made.n_truncated:
            self._storage.set_meta("n_truncated", int(self._storage.meta("n_truncated", 0)) + made.n_truncated)
        if self._bm25 is None:
            assert made is not None
            return made
        counts, lengths = self._bm25.count(texts, grow=True)
        self._bm25.learn(counts, lengths)
        if made is None:
            return Embeddings(self._model.spec.name, lengths, sparse=counts)
        return replace(made, n_tokens=lengths, sparse=counts)

    def _unlearn(self, ns: Sequence[int]) -> None:
        if self.beside is not None:
            self.beside._unlearn(self.beside._storage.embedded(ns))
        if self._bm25 is not None and ns:
            stored = self._storage.vectors(ns)
            assert stored.sparse is not None
            self._bm25.forget(stored.sparse, stored.n_tokens)


def unit(dense: FloatArray | None) -> FloatArray | None:
    """(n, d) float32 rows of length 1, so that dot products are cosines; zero rows stay zero."""
    if dense is None:
        return None
    lengths = np.linalg.norm(dense, axis=1, keepdims=True)
    unit = np.zeros(dense.shape, np.float32)
    np.divide(dense, lengths, out=unit, where=lengths > 0, casting="same_kind")
    return unit
