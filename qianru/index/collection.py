"""Texts in, texts out: documents, a model, an index that follows, and searches by plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from qianru.errors import BadInput, CollectionError
from qianru.index.address import address_of, on_a_server
from qianru.index.check import Checked, check
from qianru.index.explanation import parts_of
from qianru.index.follower import Follower
from qianru.index.generation import clear_away, generation_of, place_of
from qianru.index.guard import guarded
from qianru.index.home import (
    DATABASE,
    check_home,
    check_model,
    follower_of,
    lock_home,
    make_home,
    sizes_bytes,
    unlock_home,
)
from qianru.index.intake import SourceFile, batches, tidy
from qianru.index.keeping import Given, kept
from qianru.index.layout import Layout
from qianru.index.overview import facts
from qianru.index.plan import Plan
from qianru.index.readable import Readable
from qianru.index.reembed import reembed, stop_reembedding
from qianru.index.searcher import PlanLike, Searcher
from qianru.index.shelf import Shelf
from qianru.index.statistics import StoredStatistics
from qianru.index.storage import Storage
from qianru.index.turns import Turns
from qianru.index.verification import verify
from qianru.index.writer import Report, Writer
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.types import Document, Progress

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from qianru.index.cluster_points import ClusterOptions


class Collection(Readable):
    """Documents that can be searched, in one folder.

        path/
          collection.sqlite   documents, vectors, terms: the source of truth
          model/, model.json  the model that makes the vectors, or its name
          engine/             the search engine's part, made again whenever it is lost

    A document is stored when `add` returns, also if the process is killed a moment later. One process at a time may
    open a collection for writing; any number may read it with read_only=True, by exact search in memory.
    """

    def __init__(self, path: Path, storage: Storage, model: Model, lock: BaseFileLock | None) -> None:
        """Not for callers: see create and open. lock is the only writer's, None of a reader."""
        self.path = path.absolute()     # of the same folder also when the process goes to another
        self._lock = lock
        self._guard = Turns()
        self._closed = False
        self._follower: Follower | None = None
        self._take_up(storage, model)

    def _take_up(self, storage: Storage, model: Model, follower: Follower | None = None) -> None:
        """Works with the model from now on, whose tables the storage is of; follower: its index, if that is open."""
        self.model = model
        self._storage = storage
        self._generation = generation_of(storage)
        self._layout = Layout.from_json(storage.meta("layout"), model.spec)
        self._bm25 = next((part for part in parts_of(model) if isinstance(part, BM25)), None)
        self._statistics = None if self._bm25 is None else StoredStatistics(storage)
        if self._bm25 is not None and self._statistics is not None:
            self._bm25.statistics = self._statistics
        self._writer = Writer(storage, model, self._layout, self._bm25, self._statistics)
        shelf = Shelf(storage, self._follow, self._layout.multi)
        reranker = self._searcher.reranker if hasattr(self, "_searcher") else None
        self._searcher = Searcher(model, self._layout.kinds or (), shelf)
        self._searcher.reranker = reranker
        self._follower = follower
        self._seen = -1     # transaction that a reader's BM25 statistics are of

    # opening and closing

    @classmethod
    def create(
        cls, path: str | Path, model: Given | Sequence[Given] = "bm25", *, layout: Layout = Layout(),
        cluster: ClusterOptions | None = None, api_key: str | None = None,
    ) -> Self:
        """A new, empty collection in a folder that does not exist or is empty; or on a server (see docs/cluster.md).

        model: a model, or a name or path for qianru.load; several are joined, such as ["bm25", "m3e-base"]. It is
            copied; only a transformer that is given by name or path stays where it is
        layout: which vectors are stored, and how exactly
        """
        if not isinstance(layout, Layout):
            raise BadInput(f"layout is a Layout, such as Layout(dense=\"int8\"), not {layout!r:.60}.")
        if (address := address_of(path)) is not None:
            return on_a_server(cls).create(address, model, layout, cluster, api_key)
        make_home(Path(path), model, layout)
        return cls.open(path)

    @classmethod
    def open(
        cls, path: str | Path, *, model: Model | None = None, read_only: bool = False,
        cluster: ClusterOptions | None = None, api_key: str | None = None,
    ) -> Self:
        """A collection that exists, in a folder or at an address such as qdrant://host:6333/name.

        model: if given, it must be the one that the collection was made with; it then stands in for one that the
            collection names, so that a model can lie in another place or be run in another way
        Raises CollectionBusy if another process has it open for writing, CollectionDamaged if its files are not what
        was written, ModelMismatch for another model.
        """
        if (address := address_of(path)) is not None:
            return on_a_server(cls).open(address, model, cluster, api_key)
        path = Path(path)
        check_home(path)
        lock = None if read_only else lock_home(path)
        storage = None
        try:
            storage = Storage.open(path / DATABASE, read_only=read_only)
            if lock is not None:
                clear_away(path, storage)
            made_with = storage.meta("fingerprint")
            own = kept(place_of(path, generation_of(storage)), model, made_with)
            check_model(path, made_with, own, model)
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

    @guarded
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

    @guarded
    def add_passages(
        self, passages: Sequence[Document], finished: Sequence[SourceFile], begun: str | None = None
    ) -> Report:
        """Adds passages of files, in one transaction with the note of the files that are complete with them.

        Older passages of those files, with numbers beyond their last, are removed in it too.
        begun: the path of a file of which more passages will come; until then it counts as changed
        """
        self._must_write()
        return self._writer.put([tidy(passage) for passage in passages], finished, begun)

    @guarded
    def has_source(self, path: str, digest: bytes) -> bool:
        """Whether a file with that content has been added completely."""
        return bool(self._storage.query("SELECT 1 FROM sources WHERE path = ? AND digest = ?", (path, digest)))

    @guarded
    def sources(self) -> list[str]:
        """The paths of all files that have been added."""
        return [path for (path,) in self._storage.query("SELECT path FROM sources ORDER BY path")]

    @guarded
    def remove_sources(self, paths: Sequence[str]) -> int:
        """Removes files and their passages; returns how many passages."""
        self._must_write()
        return self._writer.remove_sources(paths)

    @guarded
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

    @guarded
    def set_plan(self, plan: PlanLike) -> Plan:
        """Keeps a plan with the collection, and returns it. Raises BadInput for one that this collection cannot do."""
        self._must_write()
        chosen = self._searcher.kept(plan)
        with self._storage.transaction():
            self._storage.set_meta("plan", chosen.to_json())
        return chosen

    @guarded
    def prepare(self, *, progress: Progress | None = None) -> None:
        """Brings the search engine up to date, so that the next search need not; progress counts documents."""
        self._follow().catch_up(progress)

    def optimize(self, *, wait: bool = True, progress: Progress | None = None) -> bool:
        """Whether a graph of the dense vectors is built, by which millions are searched fast: False for too few.

        A process of its own builds it; other threads search and change the collection meanwhile, and with wait=False
        this one does too: a later search takes the graph in, and closing throws away what is not finished. progress is
        called with (0, 1) while it goes on and with (1, 1) at the end.
        """
        with self.entered():
            self._must_write()
            begun = self._follow().begin_graph()
        while begun and wait and not self._follow().wait_for_graph(1.0):
            if progress is not None:
                progress(0, 1)
        if begun and wait:
            self.prepare()
            if progress is not None:
                progress(1, 1)
        return begun

    @property
    def place(self) -> Path:
        """The folder of the model and of the search engine's part."""
        return place_of(self.path, self._generation)

    def _follow(self) -> Follower:
        if self._follower is None:
            self._follower = follower_of(self.place, self._storage, self.model, self._layout, self._bm25,
                                         read_only=self._lock is None)
        return self._follower

    # looking after

    @guarded
    def check(self, *, repair: bool = False, progress: Progress | None = None) -> Checked:
        """What is not as it was written: documents and vectors by their checksums, BM25's counts, the search engine.

        A reader cannot look at the search engine, which belongs to the writer. progress counts documents.
        repair: makes again what can be derived from the documents: their vectors, the counts, the engine's part
        """
        self._must_lie_here("checked")
        if repair:
            self._must_write()
        return check(self, repair=repair, progress=progress)

    def compact(self, *, progress: Progress | None = None) -> tuple[int, int]:
        """Gives the room of what was deleted back to the disk; returns the bytes taken before and after.

        The database is written anew, and the engine's part with its graph made again. Killed, all is as it was or
        made again at the next search. Needs room for a second copy of the database meanwhile.
        """
        self._must_lie_here("compacted")
        with self.entered():
            self._must_write()
            before = sum(sizes_bytes(self.path, self.place).values())
            graph = self._follow().has_graph()
            self._storage.compact()
            self._follow().rebuild(progress)
        if graph:
            self.optimize()
        return before, sum(sizes_bytes(self.path, self.place).values())

    def reembed(
        self, model: Given | Sequence[Given] | None = None, *, layout: Layout | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Embeds all documents with another model, which then takes over in one step; returns how many it embedded.

        Until then searches by other threads and processes find by the old model, and changes are taken in. Killed or
        interrupted, the collection is as it was, and the same call goes on with what is left. A plan that the new
        model cannot do is put aside with a warning. Room is needed for a second set of vectors.
        model: as for create; None goes on with the one that was interrupted
        layout: as for create; precisions stay as they are by default
        """
        self._must_lie_here("re-embedded")
        return reembed(self, model, layout, progress)

    @guarded
    def stop_reembedding(self) -> bool:
        """Gives up a re-embedding that was interrupted, and what it has made; False if there was none."""
        self._must_lie_here("re-embedded")
        self._must_write()
        return stop_reembedding(self)

    def _must_lie_here(self, what: str) -> None:
        """Raises CollectionError for a collection on a server."""

    @guarded
    def info(self) -> dict[str, Any]:
        """What the collection is: model, counts, sizes in bytes."""
        mean_length = None if self._bm25 is None else self._bm25.mean_length
        return facts(self.path, self._storage, self.model.spec, self._searcher.kinds, self.plan, mean_length)

    @guarded
    def rebuild(self, *, progress: Progress | None = None) -> int:
        """Verifies every document, counts BM25's statistics anew and makes the engine's part again; returns how many.

        Raises CollectionDamaged, naming the document, where the source of truth itself is not what was written.
        """
        self._must_write()
        verify(self._storage)
        self._writer.count_anew()
        self._follow().rebuild(progress)
        return self.count()
