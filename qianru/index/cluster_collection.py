"""A collection on a Qdrant server: the same calls, plans and scores, for many readers and writers at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from qianru.errors import CollectionDamaged, CollectionError, UnknownName
from qianru.index.cluster import ClusterIndex
from qianru.index.cluster_bm25 import ClusterBM25
from qianru.index.cluster_home import ClusterHome
from qianru.index.cluster_shelf import ClusterShelf, Moved, document_of, point_of
from qianru.index.cluster_writer import ClusterWriter
from qianru.index.collection import Collection
from qianru.index.explanation import Explanation, explain, parts_of
from qianru.index.filter import Filter
from qianru.index.intake import document_digest
from qianru.index.layout import Layout
from qianru.index.plan import Fusion, Plan, whole
from qianru.index.searcher import PlanLike, Searcher, as_filter
from qianru.index.turns import Turns
from qianru.index.writer import Report
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.text.normalize import clean
from qianru.types import Document, Embeddings, Hit, Kind, Progress, Ragged

TRIES = 5               # of a search whose answers other clients delete meanwhile
Hits = TypeVar("Hits")


class ClusterCollection(Collection):
    """A Collection on a server; made by Collection.create and Collection.open with an address.

    What add and delete have returned from is confirmed by the server and found by every search after it. A batch is no
    transaction: others may see a part of it while it is being written. Any number of clients may write.
    """

    def __init__(self, home: ClusterHome, index: ClusterIndex, model: Model, facts: Mapping[str, Any]) -> None:
        """Not for callers: see cluster_opening."""
        self.address = f"{home.link.where}/{home.name}"
        self.path = Path(home.name).absolute()      # of files that are indexed, paths are told from its parent
        self.model = model
        self._home, self._index, self._facts = home, index, dict(facts)
        self._told_at = time.monotonic()
        self._guard = Turns()
        self._inside = 0
        self._closed = False
        self._layout = Layout.from_json(facts["layout"], model.spec)
        self._bm25 = next((part for part in parts_of(model) if isinstance(part, BM25)), None)
        self._shelf = ClusterShelf(index, model.spec.dim or 0, ClusterBM25(index, self._bm25) if self._bm25 else None)
        self._writer = ClusterWriter(home, self._shelf, model, self._layout.kinds or ())  # type: ignore[assignment]
        self._searcher = Searcher(model, self._layout.kinds or (), self._shelf)

    # opening and closing

    def _close(self, in_haste: bool) -> None:
        with self._guard:
            self._closed = True
            self._index.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(in_haste=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Alone inside: other threads wait. Other clients do not."""
        with self._guard:
            if self._closed:
                raise CollectionError(f"The collection at {self.address} is closed. Open it again.")
            if not self._inside:
                self._shelf.begin()
            self._inside += 1
            try:
                yield
            finally:
                self._inside -= 1

    # writing

    def add(self, documents: Iterable[str | Document], *, progress: Progress | None = None) -> Report:
        """As Collection.add. Raises ClusterFailed; what was told to progress before is stored."""
        with self.entered():
            report = super().add(documents, progress=progress)
            if self._shelf.bm25 is not None and report.added + report.updated:
                self._shelf.bm25.settle()
            return report

    def has_source(self, path: str, digest: bytes) -> bool:
        """Whether a file with that content has been added completely."""
        with self.entered():
            return self._home.has_source(path, digest)

    def sources(self) -> list[str]:
        """The paths of all files that have been added."""
        with self.entered():
            return [file.path for file in self._home.sources()]

    def delete(self, ids: str | Iterable[str]) -> int:
        """Removes documents by id; returns how many there were."""
        with self.entered():
            return int(self._cluster_writer.remove([clean(id) for id in ([ids] if isinstance(ids, str) else ids)]))

    def told_parts(self) -> list[dict[str, str]]:
        """What is known of each part of the model (see keeping.py)."""
        return list(self._facts["parts"])

    def set_plan(self, plan: PlanLike) -> Plan:
        """As Collection.set_plan; other clients see it within a moment (ClusterOptions.fresh_s)."""
        with self.entered():
            chosen = self._searcher.kept(plan)
            self._home.set("plan", chosen.to_json())
            self._facts["plan"] = chosen.to_json()
            return chosen

    def _must_write(self) -> None:
        """Whoever has the key may write."""

    def _must_lie_here(self, what: str) -> None:
        raise CollectionError(f"{self.address} lies on a server and cannot be {what} there. Push it to a folder, do it "
                              "there, and push that to a new collection.")

    @property
    def _cluster_writer(self) -> ClusterWriter:
        return self._writer  # type: ignore[return-value]

    # reading

    def get(self, id: str) -> Document:
        """The document by that id. Raises UnknownName."""
        with self.entered():
            id = clean(id)
            record = self._index.records([point_of(id)], True).get(point_of(id))
            told = {} if record is None else record.payload or {}
            if record is None or told.get("id", id) != id:       # or one that has the same hash
                raise UnknownName("document", id, [])
            return document_of(told)

    def count(self, where: Filter | str | None = None) -> int:
        """How many documents there are, or pass the filter."""
        with self.entered():
            return self._shelf.count(as_filter(where))

    def fields(self) -> list[str]:
        """The names of the fields that documents have, sorted."""
        with self.entered():
            return sorted(map(str, self._index.facet("names")))

    def documents(self, where: Filter | str | None = None, limit: int = 20, offset: int = 0) -> list[Document]:
        """Documents in the order of first adding."""
        limit, offset = whole("limit", limit, least=0), whole("offset", offset, least=0)
        with self.entered():
            records = islice(self._shelf.each(as_filter(where)), offset, offset + limit)
            return [document_of(record.payload or {}) for record in records]

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Those of the ids that are stored, with the document's number in rankings."""
        with self.entered():
            return {id: self._shelf.number(known) for id, known in self._shelf.known(list(ids)).items()}

    @property
    def sequence(self) -> int | None:
        """None: on a server nobody counts the changes."""
        return None

    # searching

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        where: Filter | str | None = None,
        plan: PlanLike | None = None,
        kinds: Sequence[Kind] | None = None,
        fusion: Fusion | None = None,
        weights: Mapping[Kind, float] | None = None,
    ) -> list[list[Hit]]:
        """As search, for several queries at once: row i for query i."""
        ask = super().search_many
        return _while_moving(lambda: ask(queries, k, where=where, plan=plan, kinds=kinds, fusion=fusion,
                                         weights=weights))

    def search_by_vector(
        self, vector: ArrayLike, k: int = 10, *, where: Filter | str | None = None, plan: PlanLike = Plan()
    ) -> list[Hit]:
        """As Collection.search_by_vector."""
        ask = super().search_by_vector
        return _while_moving(lambda: ask(vector, k, where=where, plan=plan))

    @property
    def plan(self) -> Plan:
        """How the collection is searched where a search does not say otherwise."""
        with self.entered():
            if time.monotonic() > self._told_at + self._index.options.fresh_s:
                self._facts, self._told_at = self._home.facts(), time.monotonic()
            return Plan.parse(self._facts.get("plan", "{}"))

    def prepare(self, *, progress: Progress | None = None) -> None:
        """Weighs BM25's words anew where the mean length has moved; searches are as right without, and slower."""
        with self.entered():
            if self._shelf.bm25 is not None:
                self._shelf.bm25.settle(1, progress)

    def explain(self, query: str, id: str) -> Explanation:
        """As Collection.explain."""
        with self.entered():
            document = self.get(id)
            point = point_of(document.id)
            stored, multi = self._shelf.stored([point]), None
            if "multi" in self._searcher.kinds:
                record = self._index.records([point], False, vectors=True).get(point)
                vector: Any = {} if record is None else record.vector or {}
                rows = np.array(vector["multi"], np.float32) if vector.get("multi") else np.zeros((0, 0), np.float32)
                multi = Ragged(rows, np.array([0, len(rows)], np.int64))
            every = Embeddings("stored", stored.n_tokens, dense=stored.dense, sparse=stored.sparse, multi=multi)
            asked = self._searcher.embed([query], self._searcher.kinds)
            return explain(self.model, query, asked, document, every)

    # looking after

    def info(self) -> dict[str, Any]:
        """What the collection is: model, counts, how the server keeps it."""
        with self.entered():
            spec, facts = self.model.spec, self._home.facts()
            found = self._index.link.ask("looked up", self._index.link.client.get_collection, self._index.name)
            params = found.config.params
            return {
                "path": self.address,
                "created": facts["created"],
                "model": spec.name,
                "kinds": list(self._searcher.kinds),
                "named_models": [part["name"] for part in facts["parts"] if "name" in part],
                "plan": self.plan.to_dict(),
                "dim": spec.dim,
                "fingerprint": spec.fingerprint,
                "n_documents": self.count(),
                "n_sources": len(self._home.sources()),
                "mean_length": self._bm25.mean_length if self._bm25 is not None else None,
                "status": str(getattr(found.status, "value", found.status)),
                "n_shards": params.shard_number,
                "n_replicas": params.replication_factor,
            }

    def optimize(self, *, wait: bool = True, progress: Progress | None = None) -> bool:
        """False: a server builds its graph of dense vectors by itself."""
        return False

    def rebuild(self, *, progress: Progress | None = None) -> int:
        """Verifies every document against its digest and weighs BM25's words anew; returns how many documents.

        Raises CollectionDamaged, naming the document that is not what was written.
        """
        with self.entered():
            n = 0
            for record in self._shelf.each(None, ["id", "text", "fields", "digest"]):
                told = record.payload or {}
                if document_digest(told["text"], told["fields"]).hex() != told["digest"]:
                    raise CollectionDamaged(f"{self.address}: document {told['id']!r} is not what was written. Add it "
                                            "again, or push the collection again.")
                n += 1
            if self._shelf.bm25 is not None:
                self._shelf.bm25.settle(1, progress)
            return n


def _while_moving(ask: Callable[[], Hits]) -> Hits:
    """What asking gives, asked again where other clients delete what was found meanwhile."""
    for _ in range(TRIES - 1):
        with suppress(Moved):
            return ask()
    return ask()
