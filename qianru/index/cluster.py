"""An index on a Qdrant server: dense, sparse and token vectors by name, fields as payload, found as everywhere else.

What `add` and `delete` have returned from is on the server and seen by every later search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from qianru.errors import BadInput, CollectionError
from qianru.index.base import Ranking
from qianru.index.cluster_filter import field_index, translated
from qianru.index.cluster_link import Link
from qianru.index.cluster_points import ClusterOptions, points_of, quantizer
from qianru.index.engine_filter import fields_of, payload
from qianru.index.filter import Filter
from qianru.index.layout import DensePrecision
from qianru.index.rows import (
    checked_dense,
    checked_ids,
    checked_kinds,
    checked_rows,
    checked_search,
    checked_sparse,
)
from qianru.types import Embeddings, IntArray, Kind, Value

if TYPE_CHECKING:
    from qdrant_client.http.models import Filter as Conditions, PointStruct, QueryRequest, Record, ScoredPoint

FIELDS_INDEXED = 32         # further ones are filtered by looking at each document
POINTS_AT_ONCE = 1_000
QUERIES_AT_ONCE = 64
Some: TypeAlias = bool | Sequence[str]
"""All, none, or those of these names."""
T = TypeVar("T")


class Found(NamedTuple):
    """One answer of the server, with what was asked for of its payload."""

    id: int
    score: float
    payload: Mapping[str, Any]


class ClusterIndex:
    """Index in a collection of a server; any number of processes may use it at a time."""

    def __init__(self, link: Link, name: str, kinds: tuple[Kind, ...], dim: int, options: ClusterOptions) -> None:
        """Not for callers: see create and load."""
        self.link, self.name, self.options = link, name, options
        self._kinds, self._dim = kinds, dim
        self._closed = False
        self._indexed: set[str] | None = None

    @classmethod
    def create(
        cls, link: Link, name: str, kinds: Sequence[Kind], dim: int | None = None, *,
        options: ClusterOptions = ClusterOptions(), precision: DensePrecision = "float32", token_dim: int = 0,
    ) -> ClusterIndex:
        """A new, empty index; CollectionError if the server has a collection by that name.

        precision: of what dense searches look through; the best are scored again by the float32 vectors, which stay
        token_dim: of the token vectors that are kept beside the others, to score documents by; 0 for none
        """
        from qdrant_client.http import models

        kinds, dim = checked_kinds(kinds, dim)
        graph = models.HnswConfigDiff(m=options.graph_links, ef_construct=options.graph_effort)
        dense: dict[str, models.VectorParams] = {}
        if "dense" in kinds:
            dense["dense"] = models.VectorParams(
                size=dim, distance=models.Distance.DOT, hnsw_config=graph, on_disk=options.on_disk,
                quantization_config=quantizer(precision),
            )
        if token_dim:
            dense["multi"] = models.VectorParams(
                size=token_dim, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16, on_disk=True,
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
                hnsw_config=models.HnswConfigDiff(m=0),     # documents are scored by them, never looked for
            )
        client = link.client
        if link.ask("looked up", client.collection_exists, name):
            raise CollectionError(f"{link.where} already holds a collection {name!r}. Open it, or choose another name.")

        def make() -> None:
            if not client.collection_exists(name):      # else this is a second try, and the first one's answer was lost
                client.create_collection(
                    name, vectors_config=dense,
                    sparse_vectors_config={"sparse": models.SparseVectorParams()} if "sparse" in kinds else None,
                    shard_number=options.shards, replication_factor=options.replicas,
                    write_consistency_factor=options.replicas // 2 + 1,
                )

        link.ask("made", make)
        return cls(link, name, kinds, dim, options)

    @classmethod
    def load(cls, link: Link, name: str, *, options: ClusterOptions = ClusterOptions()) -> ClusterIndex:
        """The index by that name. Raises ClusterFailed where there is none, CollectionError where it is not ours."""
        params = link.ask("opened", link.client.get_collection, name).config.params
        vectors = params.vectors if isinstance(params.vectors, dict) else {}
        has_sparse = "sparse" in (params.sparse_vectors or {})
        kinds: list[Kind] = [*(["dense"] if "dense" in vectors else []), *(["sparse"] if has_sparse else [])]  # type: ignore[list-item]
        if not kinds:
            raise CollectionError(f"The collection {name!r} at {link.where} was not made by Qianru: it has no vectors "
                                  "named dense or sparse. Choose another name.")
        return cls(link, name, tuple(kinds), int(vectors["dense"].size) if "dense" in vectors else 0, options)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of vectors that it stores."""
        return self._kinds

    def __len__(self) -> int:
        """How many ids are stored."""
        return self.count()

    def add(self, ids: IntArray, embeddings: Embeddings, fields: Sequence[Mapping[str, Value]]) -> None:
        """As Index.add. After a ClusterFailed some of the rows may be stored; adding all of them again is right."""
        self.put(ids, embeddings, fields)

    def put(
        self, ids: IntArray, embeddings: Embeddings, fields: Sequence[Mapping[str, Value]],
        extra: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """As add, with more payload for each row, which no filter sees; uploads several parts at a time."""
        self._check_open()
        rows = checked_rows(self._kinds, self._dim, ids, embeddings, fields)
        payloads = [payload(row) for row in rows.fields]
        self.index_fields(sorted(set().union(*payloads)), most=FIELDS_INDEXED)
        if extra is not None:
            payloads = [{**own, **more} for own, more in zip(payloads, extra, strict=True)]

        def upload(points: list[PointStruct]) -> None:
            self.link.ask(f"told of {len(points)} documents of {self.name}",
                          self.link.client.upsert, self.name, points, wait=True)

        self._in_parallel(upload, points_of(rows, embeddings.multi, payloads))

    def delete(self, ids: IntArray) -> None:
        """As Index.delete."""
        from qdrant_client.http import models

        self._check_open()
        numbers = checked_ids(ids).tolist()
        for start in range(0, len(numbers), POINTS_AT_ONCE):
            part = models.PointIdsList(points=numbers[start : start + POINTS_AT_ONCE])
            self.link.ask(f"rid of {len(part.points)} documents of {self.name}",
                          self.link.client.delete, self.name, part, wait=True)

    def search(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None = None) -> list[Ranking]:
        """As Index.search. Dense vectors that the server has put into a graph are found approximately."""
        self._check_open()
        k = checked_search(self._kinds, kind, k)
        return [Ranking(np.array([hit.id for hit in hits], np.int64), np.array([hit.score for hit in hits], np.float32))
                for hits in self.find(self.vectors_of(queries, kind), kind, k, where)]

    def vectors_of(self, queries: Embeddings, kind: Kind) -> list[Any]:
        """The queries' vectors in the server's form, None for one without terms."""
        from qdrant_client.http import models

        if kind == "dense":
            return list(checked_dense(queries, self._dim).tolist())
        if kind == "multi":
            if queries.multi is None:
                raise BadInput(f"{queries.model} made no token vectors.")
            return [queries.multi.row(i).tolist() for i in range(len(queries))]
        sparse = checked_sparse(queries)
        ends, terms, weights = sparse.offsets.tolist(), sparse.terms.tolist(), sparse.weights.tolist()
        return [models.SparseVector(indices=terms[a:b], values=weights[a:b]) if b > a else None
                for a, b in pairwise(ends)]

    def find(
        self, vectors: Sequence[Any], kind: Kind, k: int, where: Filter | None = None, *, keys: Sequence[str] = (),
        order: str | None = None,
    ) -> list[list[Found]]:
        """The k best for each vector, best first, equal scores by the payload's order if it is named, and by id.

        keys: of the payload that should come along
        Asks for more until the last answer is worse than the k-th: a server cuts among equals as it likes.
        """
        condition, exact = translated(where)
        check = None if where is None or exact else where.matches
        asked = [*keys, *([] if order is None else [order])]
        with_payload: Any = True if check is not None else asked or False
        found: list[list[Found]] = [[] for _ in vectors]
        limit = k + 1 if check is None else 4 * k + 16
        waiting = [i for i, vector in enumerate(vectors) if vector is not None and k]
        while waiting:
            if limit > POINTS_AT_ONCE:
                limit = min(limit, len(self) + 1)
            answers = self._query([_request(vectors[i], kind, limit, condition, with_payload) for i in waiting])
            still = []
            for i, hits in zip(waiting, answers, strict=True):
                kept = hits if check is None else [hit for hit in hits if check(fields_of(_filterable(hit.payload)))]
                if kind == "sparse":        # a zero is a document without a shared term, or one whose terms cancel out
                    kept = [hit for hit in kept if hit.score != 0]
                if len(hits) < limit or (len(kept) >= k and kept[k - 1].score > hits[-1].score):
                    found[i] = _ranked(kept, order)[:k]
                else:
                    still.append(i)
            waiting, limit = still, 4 * limit
        return found

    def scores(self, vector: Any, kind: Kind, ids: Sequence[int]) -> dict[int, float]:
        """id -> exact score of the vector with that document; documents without a shared term are left out."""
        from qdrant_client.http import models

        scores: dict[int, float] = {}
        for start in range(0, len(ids), POINTS_AT_ONCE) if vector is not None else ():
            part: list[Any] = list(ids[start : start + POINTS_AT_ONCE])
            only = models.Filter(must=[models.HasIdCondition(has_id=part)])
            request = _request(vector, kind, len(part), only, False, exact=True)
            scores |= {int(hit.id): hit.score for hit in self._query([request])[0]}
        return scores

    def count(self, condition: Conditions | None = None) -> int:
        """How many documents the server's filter lets through."""
        self._check_open()
        return self.link.ask("counted", self.link.client.count, self.name, condition, exact=True).count

    def facet(self, key: str, condition: Conditions | None = None) -> dict[Any, int]:
        """value -> in how many documents the payload has it under the key."""
        from itertools import count

        for limit in (1_000 * 8**i for i in count()):
            hits = self.link.ask("counted", self.link.client.facet, self.name, key, facet_filter=condition,
                                 limit=limit, exact=True).hits
            if len(hits) < limit:
                break
        return {hit.value: hit.count for hit in hits}

    def records(self, ids: Sequence[int], keys: Some, *, vectors: Some = False) -> dict[int, Record]:
        """id -> what the server has of it, for those that it has; keys of the payload, or whether all of it."""
        self._check_open()
        found: list[Record] = []
        for start in range(0, len(ids), POINTS_AT_ONCE):
            part: list[Any] = list(ids[start : start + POINTS_AT_ONCE])
            found += self.link.ask("read", self.link.client.retrieve, self.name, part, with_payload=_listed(keys),
                                   with_vectors=_listed(vectors), consistency=self._consistency)
        return {int(record.id): record for record in found}

    def page(
        self, condition: Conditions | None, limit: int, keys: Some, *, vectors: Some = False,
        order: str | None = None, start: int | None = None,
    ) -> list[Record]:
        """The first so many records that pass, by id, or by a whole number of the payload, from start upwards."""
        from qdrant_client.http import models

        self._check_open()
        by = None if order is None else models.OrderBy(key=order, start_from=start)
        return self.link.ask("read", self.link.client.scroll, self.name, condition, limit=limit, order_by=by,
                             with_payload=_listed(keys), with_vectors=_listed(vectors),
                             consistency=self._consistency)[0]

    def each(
        self, condition: Conditions | None, keys: Sequence[str], *, vectors: Some = False, at_once: int = 500
    ) -> Iterator[Record]:
        """Every record that passes, by ascending "order" of its payload; keys of the payload come along."""
        start: int | None = None
        seen: set[int] = set()              # those at start, which the next page begins with again
        size = at_once
        while True:
            records = self.page(condition, size, [*keys, "order"], vectors=vectors, order="order", start=start)
            new = [record for record in records if record.id not in seen]
            yield from new
            if len(records) < size:
                return
            orders = [int((record.payload or {})["order"]) for record in records]
            last = orders[-1]
            seen = {int(record.id) for record, its in zip(records, orders, strict=True) if its == last}
            start, size = last, at_once if new else 4 * size

    def index_fields(self, keys: Sequence[str], *, most: int | None = None, schema: Any = None) -> None:
        """Has the server keep what finds documents by these keys fast; of fields at most so many in all."""
        if self.link.in_memory:
            return
        if self._indexed is None:
            self._indexed = set(self.link.ask("opened", self.link.client.get_collection, self.name).payload_schema)
        fields = sum(1 for key in self._indexed if key[1:2] in "_x")
        missing = [key for key in keys if key not in self._indexed]
        for key in missing if most is None else missing[: max(most - fields, 0)]:
            self.link.ask(f"told to index {key}", self.link.client.create_payload_index, self.name, key,
                          schema if schema is not None else field_index(key), wait=True)
            self._indexed.add(key)

    def close(self) -> None:
        """Gives the connections back; closing twice is fine."""
        if not self._closed:
            self._closed = True
            self.link.close()

    @property
    def _consistency(self) -> Any:
        from qdrant_client.http import models

        return models.ReadConsistencyType.MAJORITY if self.options.replicas > 1 else None

    def _query(self, requests: list[QueryRequest]) -> list[list[ScoredPoint]]:
        self._check_open()
        if self.link.in_memory:         # it looks at every vector anyway, and warns of being told to
            requests = [request.model_copy(update={"params": None}) for request in requests]
        parts = [requests[i : i + QUERIES_AT_ONCE] for i in range(0, len(requests), QUERIES_AT_ONCE)]
        return [answer.points for part in parts for answer in self.link.ask(
            "searched", self.link.client.query_batch_points, self.name, part, consistency=self._consistency)]

    def _in_parallel(self, send: Callable[[T], None], parts: Iterator[T]) -> None:
        """Sends the parts, several at a time, and waits for all; raises what the first of them failed by."""
        if self.options.parallel == 1 or self.link.in_memory:
            for part in parts:
                send(part)
            return
        with ThreadPoolExecutor(self.options.parallel) as pool:
            waiting = []
            for part in parts:
                waiting.append(pool.submit(send, part))
                if len(waiting) > 2 * self.options.parallel:       # the next parts need not lie in memory yet
                    waiting.pop(0).result()
            for one in waiting:
                one.result()

    def _check_open(self) -> None:
        if self._closed:
            raise CollectionError(f"The index {self.name!r} at {self.link.where} is closed. Open it again.")


def _listed(some: Some) -> bool | list[str]:
    """As the client library takes it."""
    return some if isinstance(some, bool) else list(some)


def _request(
    vector: Any, kind: Kind, limit: int, condition: Conditions | None, with_payload: Any, *, exact: bool = False
) -> QueryRequest:
    from qdrant_client.http import models

    params = None
    if kind != "sparse":
        params = models.SearchParams(
            hnsw_ef=None if exact else max(128, 2 * limit), exact=exact,
            quantization=models.QuantizationSearchParams(rescore=True, oversampling=3.0, ignore=exact),
        )
    return models.QueryRequest(query=models.NearestQuery(nearest=vector), using=kind, limit=limit, filter=condition,
                               params=params, with_payload=with_payload)


def _ranked(hits: Sequence[ScoredPoint], order: str | None) -> list[Found]:
    found = [Found(int(hit.id), hit.score, hit.payload or {}) for hit in hits]
    return sorted(found, key=lambda hit: (-hit.score, hit.payload.get(order, 0) if order else 0, hit.id))


def _filterable(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of the payload that was made of fields."""
    return {key: value for key, value in (stored or {}).items() if key[0] in "tnb" and key[1:2] in ("_", "x")}
