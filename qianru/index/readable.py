"""What can be asked of a collection: its documents, searches by plan, and why a hit is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from qianru.errors import BadInput, CollectionError
from qianru.index.answers import shared_words
from qianru.index.base import Ranking
from qianru.index.explanation import Explanation, analyzer_of, explain
from qianru.index.filter import Filter
from qianru.index.follower import Follower
from qianru.index.generation import generation_of, place_of
from qianru.index.guard import guarded
from qianru.index.keeping import kept
from qianru.index.layout import Layout
from qianru.index.plan import Fusion, Plan, whole
from qianru.index.searcher import PlanLike, Searcher, as_filter
from qianru.index.statistics import StoredStatistics
from qianru.index.storage import Storage
from qianru.index.turns import Turns
from qianru.models.base import Model, Reranker
from qianru.types import Document, Embeddings, Hit, Kind

if TYPE_CHECKING:
    from filelock import BaseFileLock


class Readable:
    """The reading half of a Collection, which says what its parts are."""

    path: Path
    model: Model
    _storage: Storage
    _lock: BaseFileLock | None
    _guard: Turns
    _closed: bool
    _layout: Layout
    _statistics: StoredStatistics | None
    _searcher: Searcher
    _follower: Follower | None
    _generation: int
    _seen: int              # transaction that a reader's BM25 statistics are of

    def _follow(self) -> Follower:
        """The index, opened when it is needed first."""
        raise NotImplementedError

    def _take_up(self, storage: Storage, model: Model, follower: Follower | None = None) -> None:
        """Works with the model from now on."""
        raise NotImplementedError

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Alone inside: other threads wait; a reader sees one moment, whatever another process commits meanwhile."""
        with self._guard:
            if self._closed:
                raise CollectionError(f"The collection at {self.path} is closed. Open it again.")
            if self._lock is not None:
                yield
                return
            with self._storage.snapshot():
                self._refresh()
                yield

    def _refresh(self) -> None:
        """Sees what another process has committed since the last look."""
        latest = int(self._storage.meta("sequence"))
        if latest != self._seen and generation_of(self._storage) != self._generation:
            storage = Storage(self._storage.connection, self._storage.file)
            model = kept(place_of(self.path, generation_of(storage)), None, storage.meta("fingerprint"))
            if self._follower is not None:
                self._follower.close()
            self._take_up(storage, model)
        if latest != self._seen and self._statistics is not None:
            self._statistics.forget_changes()
            self._seen = latest

    # documents

    @guarded
    def get(self, id: str) -> Document:
        """The document by that id. Raises UnknownName."""
        return self._storage.document(id)[1]

    @guarded
    def count(self, where: Filter | str | None = None) -> int:
        """How many documents there are, or pass the filter."""
        if where is None:
            return int(self._storage.query("SELECT count(*) FROM documents")[0][0])
        return sum(1 for _ in self._storage.each_document(as_filter(where)))

    @guarded
    def fields(self) -> list[str]:
        """The names of the fields that documents have, sorted."""
        return [name for (name,) in self._storage.query(
            "SELECT DISTINCT key FROM documents, json_each(documents.fields) ORDER BY key")]

    @guarded
    def documents(self, where: Filter | str | None = None, limit: int = 20, offset: int = 0) -> list[Document]:
        """Documents in the order of first adding."""
        limit, offset = whole("limit", limit, least=0), whole("offset", offset, least=0)
        passing = self._storage.each_document(as_filter(where))
        return [document for _, document in islice(passing, offset, offset + limit)]

    # searching

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        where: Filter | str | None = None,
        plan: PlanLike | None = None,
        kinds: Sequence[Kind] | None = None,
        fusion: Fusion | None = None,
        weights: Mapping[Kind, float] | None = None,
    ) -> list[Hit]:
        """The k best documents for the query, best first; equal scores in order of first adding.

        plan: how to search (see qianru.index.plan), the collection's own plan by default
        kinds, fusion, weights: these steps of the plan changed
        """
        if not isinstance(query, str):
            raise BadInput("search takes one query; for several use search_many.")
        return self.search_many([query], k, where=where, plan=plan, kinds=kinds, fusion=fusion, weights=weights)[0]

    @guarded
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
        settled = self._searcher.settled(self.plan if plan is None else plan, kinds, fusion, weights)
        return self._searcher.search(queries, k, where, settled)

    @guarded
    def search_by_vector(
        self, vector: ArrayLike, k: int = 10, *, where: Filter | str | None = None, plan: PlanLike = Plan()
    ) -> list[Hit]:
        """The k documents whose dense vectors are most like that of a query which is embedded already, by cosine.

        vector: (d,);  plan: how to choose among them (min_score, mmr, groups); it neither fuses nor rescores
        """
        chosen = plan if isinstance(plan, Plan) else Plan.parse(plan)
        settled = self._searcher.settled(chosen.altered(rescore=None), kinds=["dense"])
        return self._searcher.by_vector(vector, k, where, settled)

    @guarded
    def candidates(
        self, queries: Sequence[str], *, where: Filter | str | None = None, plan: PlanLike | None = None
    ) -> list[dict[Kind, Ranking]]:
        """For each query what each kind of the plan brings to the fusion, by the numbers that `numbers` tells."""
        return self._searcher.candidates(queries, where, self._searcher.settled(self.plan if plan is None else plan))

    @guarded
    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Those of the ids that are stored, with the document's number in rankings."""
        return {id: known.n for id, known in self._storage.known(ids).items()}

    @property
    @guarded
    def sequence(self) -> int | None:
        """The number of the last change: as long as it is the same, so is all that is stored. None on a server."""
        return int(self._storage.meta("sequence"))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of vectors that are stored."""
        return self._searcher.kinds

    @property
    @guarded
    def plan(self) -> Plan:
        """How the collection is searched where a search does not say otherwise."""
        return Plan.parse(self._storage.meta("plan", "{}"))

    @property
    def reranker(self) -> Reranker | None:
        """The cross-encoder of plans that rescore by one, in place of the one that they name."""
        return self._searcher.reranker

    @reranker.setter
    def reranker(self, reranker: Reranker | None) -> None:
        if reranker is not None and not isinstance(reranker, Reranker):
            raise BadInput(f"A reranker has a spec and score(pairs), and {type(reranker).__name__} has not.")
        self._searcher.reranker = reranker

    @guarded
    def explain(self, query: str, id: str) -> Explanation:
        """What makes the scores of a document for a query: words, tokens, cosine, and its best sentence."""
        n, document = self._storage.document(id)
        stored, multi = self._storage.vectors([n]), None
        if "multi" in self._searcher.kinds:
            ((_, multi),) = self._storage.each_multi([n], self._layout.multi)
        whole = Embeddings("stored", stored.n_tokens, dense=stored.dense, sparse=stored.sparse, multi=multi)
        return explain(self.model, query, self._searcher.embed([query], self._searcher.kinds), document, whole)

    def matches(self, query: str, text: str) -> list[tuple[int, int]]:
        """(start, end) of what the text shares with the query, for highlighting: words as the model sees them.

        Characters inside the query's words count only where no word is shared, function words where nothing else is.
        """
        return self.matcher(query)(text)

    def matcher(self, query: str) -> Callable[[str], list[tuple[int, int]]]:
        """What gives each of many texts its `matches`: the query is read once."""
        return shared_words(analyzer_of(self.model), query)
