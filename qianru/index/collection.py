"""Texts in, texts out: documents, a model, an index that follows, and fusion of what each kind of vector finds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from dataclasses import replace
from functools import wraps
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from qianru.errors import BadInput, CollectionError, UnknownName
from qianru.index.answers import Explanation, Fusion, hits_of, shared_words, without_zeros
from qianru.index.exact import ExactIndex
from qianru.index.filter import Filter
from qianru.index.follower import Follower
from qianru.index.home import (
    DATABASE,
    MODEL,
    check_home,
    check_model,
    lock_home,
    make_home,
    new_engine,
    open_engine,
    sizes_bytes,
    unlock_home,
)
from qianru.index.intake import SourceFile, batches, searchable, tidy
from qianru.index.statistics import StoredStatistics
from qianru.index.storage import Storage
from qianru.index.writer import Report, Writer, unit
from qianru.models import load
from qianru.models.base import Explains, Model, chosen_kinds
from qianru.models.bm25 import BM25
from qianru.models.joined import JoinedModel
from qianru.text.analyze import Analyzer
from qianru.text.normalize import clean
from qianru.types import Document, Embeddings, Hit, Kind, Progress

if TYPE_CHECKING:
    from filelock import BaseFileLock

CANDIDATES = 100
"""How many documents each kind brings to the fusion, at least."""

P = ParamSpec("P")
R = TypeVar("R")


def _guarded(method: Callable[Concatenate[Collection, P], R]) -> Callable[Concatenate[Collection, P], R]:
    """One thread at a time, never on a closed collection, and for a reader all of one moment."""

    @wraps(method)
    def guarded(self: Collection, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._guard:
            if self._closed:
                raise CollectionError(f"The collection at {self.path} is closed. Open it again.")
            if self._lock is not None:
                return method(self, *args, **kwargs)
            with self._storage.snapshot():      # another process may commit between two looks
                self._refresh()
                return method(self, *args, **kwargs)

    return guarded  # type: ignore[return-value]   # mypy asks for a positional-only self


class Collection:
    """Documents that can be searched, in one folder.

        path/
          collection.sqlite   documents, vectors, terms: the source of truth
          model/              the model that makes the vectors
          engine/             the search engine's part, made again whenever it is lost

    A document is stored when `add` returns, also if the process is killed a moment later. One process at a time may
    open a collection for writing; any number may read it with read_only=True, by exact search in memory.
    """

    def __init__(self, path: Path, storage: Storage, model: Model, lock: BaseFileLock | None) -> None:
        """Not for callers: see create and open. lock is held by the only writer, None means read-only."""
        self.path = path.absolute()     # of the same folder also when the process goes to another
        self.model = model
        self._storage = storage
        self._lock = lock
        self._guard = threading.RLock()
        self._closed = False
        self._bm25 = next((part for part in _parts(model) if isinstance(part, BM25)), None)
        self._statistics = None if self._bm25 is None else StoredStatistics(storage)
        if self._bm25 is not None and self._statistics is not None:
            self._bm25.statistics = self._statistics
        self._writer = Writer(storage, model, self._stored_kinds, self._bm25, self._statistics)
        self._follower: Follower | None = None
        self._seen = -1     # transaction that a reader's BM25 statistics are of

    # opening and closing

    @classmethod
    def create(cls, path: str | Path, model: Model | str = "bm25") -> Self:
        """A new, empty collection in a folder that does not exist or is empty.

        model: a model, or a name or path for qianru.load; it is copied into the collection
        """
        make_home(Path(path), load(model) if isinstance(model, str) else model)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, model: Model | None = None, read_only: bool = False) -> Self:
        """A collection that exists.

        model: if given, it must be the one that the collection was made with
        Raises CollectionBusy if another process has it open for writing, CollectionDamaged if its files are not what
        was written, ModelMismatch for another model.
        """
        path = Path(path)
        check_home(path)
        lock = None if read_only else lock_home(path)
        storage = None
        try:
            storage = Storage.open(path / DATABASE, read_only=read_only)
            own = load(str(path / MODEL))
            check_model(path, storage.meta("fingerprint"), own, model)
            return cls(path, storage, own, lock)
        except BaseException:
            if storage is not None:
                storage.close()
            if lock is not None:
                unlock_home(path, lock)
            raise

    def close(self) -> None:
        """Brings the search engine up to date and gives everything back; closing twice is fine."""
        self._close(in_haste=False)

    def _close(self, in_haste: bool) -> None:
        """in_haste: leaves what the search engine lacks to the next search, for a person who has pressed Ctrl-C."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            with ExitStack() as giving_back:        # each of them, also where one before it fails
                if self._lock is not None:
                    giving_back.callback(unlock_home, self.path, self._lock)
                giving_back.callback(self._storage.close)
                if self._follower is not None:
                    giving_back.callback(self._follower.close)
                    if not in_haste:
                        self._follower.catch_up()
                        self._follower.mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(in_haste=kind is not None and not issubclass(kind, Exception))

    # writing

    @_guarded
    def add(self, documents: Iterable[str | Document], *, progress: Progress | None = None) -> Report:
        """Stores the documents, replacing those with the same id; unchanged ones cost no work.

        A plain text gets an id made of its content. A field "heading" is searched with the text. Every document of a
        finished batch (at most 1,000) is durable, so after an interruption the same call goes on where it stopped.
        progress counts documents.
        """
        self._must_write()
        total = len(documents) if isinstance(documents, Sized) else None
        report, done = Report(), 0
        for batch in batches(documents):
            report += self._writer.put(batch)
            done += len(batch)
            if progress is not None:
                progress(done, total)
        return report

    @_guarded
    def add_passages(
        self, passages: Sequence[Document], finished: Sequence[SourceFile], begun: str | None = None
    ) -> Report:
        """Adds passages of files, in one transaction with the note of the files that are complete with them.

        Older passages of those files, with numbers beyond their last, are removed in it too.
        begun: the path of a file of which more passages will come; until then it counts as changed
        """
        self._must_write()
        return self._writer.put([tidy(passage) for passage in passages], finished, begun)

    @_guarded
    def has_source(self, path: str, digest: bytes) -> bool:
        """Whether a file with that content has been added completely."""
        return bool(self._storage.query("SELECT 1 FROM sources WHERE path = ? AND digest = ?", (path, digest)))

    @_guarded
    def sources(self) -> list[str]:
        """The paths of all files that have been added."""
        return [path for (path,) in self._storage.query("SELECT path FROM sources ORDER BY path")]

    @_guarded
    def remove_sources(self, paths: Sequence[str]) -> int:
        """Removes files and their passages; returns how many passages."""
        self._must_write()
        return self._writer.remove_sources(paths)

    @_guarded
    def delete(self, ids: str | Iterable[str]) -> int:
        """Removes documents by id; returns how many there were."""
        self._must_write()
        wanted = [ids] if isinstance(ids, str) else list(ids)
        ns = [known.n for known in self._storage.known(wanted).values()]
        self._writer.remove(ns)
        return len(ns)

    def _must_write(self) -> None:
        if self._lock is None:
            raise CollectionError(f"{self.path} was opened read-only. Open it without read_only to change it.")

    # reading

    @_guarded
    def get(self, id: str) -> Document:
        """The document by that id. Raises UnknownName."""
        id = clean(id)
        known = self._storage.known([id])
        if not known:
            near = self._storage.query("SELECT id FROM documents WHERE id >= ? ORDER BY id LIMIT 3", (id,))
            raise UnknownName("document", id, [row[0] for row in near])
        return self._storage.documents([known[id].n])[known[id].n]

    @_guarded
    def count(self, where: Filter | str | None = None) -> int:
        """How many documents there are, or pass the filter."""
        if where is None:
            return int(self._storage.query("SELECT count(*) FROM documents")[0][0])
        return sum(1 for _ in self._passing(where))

    @_guarded
    def fields(self) -> list[str]:
        """The names of the fields that documents have, sorted."""
        return [name for (name,) in self._storage.query(
            "SELECT DISTINCT key FROM documents, json_each(documents.fields) ORDER BY key")]

    @_guarded
    def documents(self, where: Filter | str | None = None, limit: int = 20, offset: int = 0) -> list[Document]:
        """Documents in the order of first adding."""
        if limit < 0 or offset < 0:
            raise BadInput(f"limit and offset are numbers of documents, 0 or more; got {limit} and {offset}.")
        return list(islice(self._passing(where), offset, offset + limit))

    def _passing(self, where: Filter | str | None) -> Iterator[Document]:
        chosen = Filter.parse(where) if isinstance(where, str) else where
        for _, document in self._storage.each_document():
            if chosen is None or chosen.matches(document.fields):
                yield document

    # searching

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        where: Filter | str | None = None,
        kinds: Sequence[Kind] | None = None,
        fusion: Fusion = "rrf",
        weights: Mapping[Kind, float] | None = None,
    ) -> list[Hit]:
        """The k best documents for the query, best first; equal scores in order of first adding.

        kinds: which vectors to search by, all that are stored by default; where several, their rankings are fused:
        fusion: "rrf" by ranks (Cormack 2009), "weighted" by scores, each kind's scaled to 0..1
        weights: kind -> its weight in the fusion, 1 by default
        """
        if not isinstance(query, str):
            raise BadInput("search takes one query; for several use search_many.")
        return self.search_many([query], k, where=where, kinds=kinds, fusion=fusion, weights=weights)[0]

    @_guarded
    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        where: Filter | str | None = None,
        kinds: Sequence[Kind] | None = None,
        fusion: Fusion = "rrf",
        weights: Mapping[Kind, float] | None = None,
    ) -> list[list[Hit]]:
        """As search, for several queries at once: row i for query i."""
        if k < 1:
            raise BadInput(f"k is the number of hits to return, at least 1; got {k}.")
        if fusion not in ("rrf", "weighted"):
            raise UnknownName("fusion", fusion, ["rrf", "weighted"])
        chosen = chosen_kinds(replace(self.model.spec, kinds=self._stored_kinds), kinds)
        if strange := set(weights or {}) - set(chosen):
            raise UnknownName("kind of vector", sorted(strange)[0], chosen)
        condition = Filter.parse(where) if isinstance(where, str) else where
        embedded = self._query(queries, chosen)
        depth = k if len(chosen) == 1 else max(CANDIDATES, k)
        found = {kind: [without_zeros(ranking) for ranking in self._follow().search(embedded, kind, depth, condition)]
                 for kind in chosen}
        shares = [(weights or {}).get(kind, 1.0) for kind in chosen]
        return [hits_of(self._storage, {kind: found[kind][i] for kind in chosen}, k, fusion, shares)
                for i in range(len(queries))]

    @_guarded
    def prepare(self, *, progress: Progress | None = None) -> None:
        """Brings the search engine up to date, so that the next search need not; progress counts documents."""
        self._follow().catch_up(progress)

    @_guarded
    def explain(self, query: str, id: str) -> Explanation:
        """What makes the scores of a document for a query: its words for sparse vectors, the cosine for dense ones."""
        id = clean(id)
        document = self.get(id)
        scores: dict[str, float] = {}
        terms: Sequence[tuple[str, float]] = ()
        for part in _parts(self.model):
            if isinstance(part, Explains):
                terms = part.contributions(query, searchable(document))
                scores["sparse"] = float(sum(weight for _, weight in terms))
        if "dense" in self.model.spec.kinds:
            asked = self._query([query], ("dense",)).dense
            stored = self._storage.vectors([self._storage.known([id])[id].n]).dense
            assert asked is not None
            assert stored is not None
            scores["dense"] = float(asked[0] @ stored[0])
        return Explanation(query, id, scores, terms)

    def matches(self, query: str, text: str) -> list[tuple[int, int]]:
        """(start, end) of what the text shares with the query, for highlighting: words as the model sees them.

        Characters inside the query's words count only where no word is shared, function words where nothing else is.
        """
        analyzer = next((part.analyzer for part in _parts(self.model) if isinstance(part, Explains)), Analyzer())
        return shared_words(analyzer, query, text)

    def _query(self, queries: Sequence[str], kinds: Sequence[Kind]) -> Embeddings:
        made = self.model.encode(queries, role="query", kinds=kinds)
        return Embeddings(made.model, made.n_tokens, made.n_truncated, unit(made.dense), made.sparse)

    # the index

    def _follow(self) -> Follower:
        if self._follower is None:
            kinds, dim = self._stored_kinds, self.model.spec.dim
            if self._lock is None:
                self._follower = Follower(self._storage, lambda: ExactIndex(kinds, dim), self._bm25)
            else:
                self._follower = Follower(self._storage, lambda: new_engine(self.path, kinds, dim), self._bm25,
                                          engine=open_engine(self.path, kinds, dim))
        return self._follower

    @property
    def _stored_kinds(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in self.model.spec.kinds if kind in ("dense", "sparse"))

    def _refresh(self) -> None:
        """Sees what another process has committed since the last look."""
        latest = int(self._storage.meta("sequence"))
        if latest != self._seen and self._statistics is not None:
            self._statistics.forget_changes()
            self._seen = latest

    # looking after

    @_guarded
    def info(self) -> dict[str, Any]:
        """What the collection is: model, counts, sizes in bytes."""
        spec = self.model.spec
        return {
            "path": str(self.path),
            "created": self._storage.meta("created"),
            "model": spec.name,
            "kinds": list(spec.kinds),
            "dim": spec.dim,
            "fingerprint": spec.fingerprint,
            "n_documents": self.count(),
            "n_sources": self._storage.query("SELECT count(*) FROM sources")[0][0],
            "n_terms": self._storage.query("SELECT count(*) FROM terms WHERE frequency > 0")[0][0],
            "mean_length": self._bm25.mean_length if self._bm25 is not None else None,
            "size_bytes": sizes_bytes(self.path),
        }

    @_guarded
    def rebuild(self, *, progress: Progress | None = None) -> int:
        """Verifies every document, counts BM25's statistics anew and makes the engine's part again; returns how many.

        Raises CollectionDamaged, naming the document, where the source of truth itself is not what was written.
        """
        self._must_write()
        self._storage.verify()
        self._writer.count_anew()
        self._follow().rebuild(progress)
        return self.count()


def _parts(model: Model) -> Sequence[Model]:
    return model.parts if isinstance(model, JoinedModel) else [model]
