"""Another model for a collection, made ready beside the old one: searches and changes go on until it takes over.

Its vectors go into tables of their own, batch by batch, each in a transaction, so after a kill nothing finished is made
again. A document that is changed or removed loses its new vectors in the same transaction, so those that lack them are
all that is left to do. Then the search engine's part is made, and in one transaction the new tables take the names of
the old ones. The engine may be lost at any time; it is made again from the tables.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qianru.errors import BadInput, CollectionError, QianruError, StorageFailed, UnknownName
from qianru.index.explanation import parts_of
from qianru.index.generation import Coming, begin, change_over, clear_away, generation_of, give_up, place_of
from qianru.index.home import follower_of
from qianru.index.intake import searchable
from qianru.index.keeping import Given, keep, kept, loaded
from qianru.index.layout import Layout
from qianru.index.plan import Plan
from qianru.index.searcher import Searcher
from qianru.index.shelf import Shelf
from qianru.index.statistics import StoredStatistics
from qianru.index.storage import NEXT, Storage
from qianru.index.writer import CHARS_AT_ONCE, Writer
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.types import Progress

if TYPE_CHECKING:
    from qianru.index.collection import Collection

DOCUMENTS_AT_ONCE = 500
CHARS = 4 * CHARS_AT_ONCE
log = logging.getLogger("qianru")


class Some(NamedTuple):
    """Documents to embed: rows, what the model reads of each, digests."""

    ns: list[int]
    texts: list[str]
    digests: list[bytes]


class Renewal:
    """A model at work beside the one of a collection."""

    def __init__(self, collection: Collection, beside: Storage, coming: Coming, model: Model) -> None:
        """Called by a thread that is alone in the collection. beside: the tables of the model to come"""
        self._collection, self._beside, self._coming, self._model = collection, beside, coming, model
        self._layout = Layout.from_json(beside.meta("layout"), model.spec)
        bm25 = next((part for part in parts_of(model) if isinstance(part, BM25)), None)
        statistics = None if bm25 is None else StoredStatistics(beside)
        if bm25 is not None and statistics is not None:
            bm25.statistics = statistics
        self._writer = Writer(beside, model, self._layout, bm25, statistics)
        if beside.query(f"SELECT 1 FROM {NEXT}vectors LIMIT 1"):
            self._writer.count_anew()       # changes may have come that nobody counted
        place = place_of(collection.path, coming.generation)
        self._now = collection._follow()
        self._next = follower_of(place, beside, model, self._layout, bm25, read_only=False)
        self._now.partner, self._next.partner = self._next, self._now
        collection._writer.beside = self._writer
        self._after = 0

    def run(self, progress: Progress | None) -> int:
        """Embeds all documents, makes the index and takes over; returns how many documents were embedded."""
        alone, n = self._collection.entered, 0
        with alone():       # counted once: it looks at every page of the vectors
            before = int(self._beside.query(f"SELECT count(*) FROM {NEXT}vectors")[0][0])
        while True:
            with alone():
                some = self._missing()
                total = self._collection.count()
                if progress is not None and some.ns:
                    progress(min(before + n, total), total)
                if not some.ns:
                    index = self._next.steps()
                    next(index, None)       # has looked up to which transaction it goes, while nothing is missing
                    break
            n += self._fill(some)
        while True:
            with alone():
                if next(index, None) is None:
                    break
        with alone():
            begun = self._now.has_graph() and self._next.begin_graph()
        while begun and not self._next.wait_for_graph(1.0):
            pass
        with alone():
            while (some := self._missing()).ns:     # those that came meanwhile
                n += self._fill(some)
            self._next.catch_up()
            self._next.mark()
            self._take_over()
        if progress is not None:
            progress(total, total)
        return n

    def close(self) -> None:
        """Leaves the collection to its model of now."""
        self._collection._writer.beside = None
        self._now.partner = self._next.partner = None
        if self._collection._follower is not self._next:
            self._next.close()

    def _missing(self) -> Some:
        """The next documents without new vectors."""
        some, n_chars = Some([], [], []), 0
        chars = CHARS_AT_ONCE if "multi" in (self._layout.kinds or ()) else CHARS
        while not some.ns:
            rows = self._beside.query(
                "SELECT n, digest FROM documents WHERE n > ? AND NOT EXISTS (SELECT 1 FROM next_vectors WHERE "
                f"next_vectors.n = documents.n) ORDER BY n LIMIT {DOCUMENTS_AT_ONCE}", (self._after,))
            if not rows and self._after:
                self._after = 0         # from the beginning again, for what has changed
                continue
            documents = self._beside.documents([n for n, _ in rows])
            for n, digest in rows:
                some.ns.append(n)
                some.texts.append(searchable(documents[n]))
                some.digests.append(digest)
                n_chars += len(some.texts[-1])
                if n_chars >= chars:
                    break
            if not rows:
                break
        self._after = some.ns[-1] if some.ns else 0
        return some

    def _fill(self, some: Some) -> int:
        """Embeds the documents, others changing the collection meanwhile, and stores them if they stayed."""
        made = self._writer.made(some.texts)
        with self._collection.entered():
            now = self._beside.digests(some.ns)
            if any(now.get(n) != digest for n, digest in zip(some.ns, some.digests, strict=True)):
                return 0        # rare, and they come up again
            self._writer.fill(some.ns, some.texts, made)
        return len(some.ns)

    def _take_over(self) -> None:
        collection = self._collection
        plan = self._plan(collection.plan)
        change_over(collection._storage, self._beside, self._coming, plan.to_json())
        self._next.partner = None
        collection._take_up(self._beside, self._model, self._next)      # first: the tables are its own now
        self._now.discard()
        clear_away(collection.path, self._beside)

    def _plan(self, plan: Plan) -> Plan:
        """The collection's plan if the new model can do it, else the default."""
        searcher = Searcher(self._model, self._layout.kinds or (), Shelf(self._beside, lambda: self._next,
                                                                         self._layout.multi))
        try:
            return searcher.kept(plan)
        except (BadInput, UnknownName) as error:
            log.warning("The plan of %s does not suit its new model and is put aside: %s", self._collection.path, error)
            return Plan()


def reembed(
    collection: Collection, given: Given | Sequence[Given] | None, layout: Layout | None, progress: Progress | None
) -> int:
    """See Collection.reembed."""
    with collection.entered():
        collection._must_write()
        if collection._writer.beside is not None:
            raise CollectionError(f"{collection.path} is being re-embedded by another thread. Wait until it is done.")
        found = _begun(collection, given, layout)
        if found is None:
            return 0
        renewal = Renewal(collection, *found)
    try:
        return renewal.run(progress)
    finally:
        with collection._guard:
            renewal.close()


def stop_reembedding(collection: Collection) -> bool:
    """See Collection.stop_reembedding."""
    if collection._writer.beside is not None:
        raise CollectionError(f"{collection.path} is being re-embedded by another thread. Interrupt that first.")
    if Coming.of(collection._storage) is None:
        return False
    give_up(collection._storage)
    clear_away(collection.path, collection._storage)
    return True


def _begun(
    collection: Collection, given: Given | Sequence[Given] | None, layout: Layout | None
) -> tuple[Storage, Coming, Model] | None:
    """The model to come with its tables, new or as they were left; None if it has taken over already."""
    storage, coming = collection._storage, Coming.of(collection._storage)
    if given is None:
        if coming is None:
            raise BadInput(f"{collection.path} is not being re-embedded. Name the model that it is to get.")
        return _left(collection, coming, None)
    model, parts = loaded(given)
    new = (layout or Layout(dense=collection._layout.dense, multi=collection._layout.multi)).of(model.spec)
    if coming is not None:
        beside = Storage(storage.connection, storage.file, NEXT)
        if beside.meta("fingerprint") != model.spec.fingerprint or beside.meta("layout") != new.to_json():
            raise BadInput(f"{collection.path} is being re-embedded with {coming.model} already. Go on with that, or "
                           "give it up first: qianru reembed --stop, stop_reembedding() in Python.")
        return _left(collection, coming, _own(collection, model))
    if model.spec.fingerprint == collection.model.spec.fingerprint and new == collection._layout:
        return None
    coming = Coming(generation_of(storage) + 1, model.spec.name)
    place = place_of(collection.path, coming.generation)
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        keep(place, model, parts)
        own = kept(place, _own(collection, model), model.spec.fingerprint)
        beside = begin(storage, coming, {"fingerprint": model.spec.fingerprint, "layout": new.to_json()})
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if not isinstance(error, OSError) or isinstance(error, QianruError):
            raise
        raise StorageFailed(f"{place} cannot be made: {error.strerror or error}. The collection is as it "
                            "was.") from error
    return beside, coming, own


def _left(collection: Collection, coming: Coming, model: Model | None) -> tuple[Storage, Coming, Model]:
    beside = Storage(collection._storage.connection, collection._storage.file, NEXT)
    place = place_of(collection.path, coming.generation)
    return beside, coming, kept(place, model, beside.meta("fingerprint"))


def _own(collection: Collection, model: Model) -> Model | None:
    """The model, unless a part of it is at work in the collection, which another thread may ask meanwhile."""
    busy = {id(part) for part in parts_of(collection.model)}
    return None if any(id(part) in busy for part in parts_of(model)) else model
