"""An index in the embedded search engine Qdrant Edge: on disk, in this process, exact for sparse vectors.

The engine is a follower: what it holds can be made again from the source of truth. `mark` says durably up to which
transaction it has come, and what came later is simply added again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qianru.errors import CollectionError, QianruError, StorageFailed
from qianru.index.base import Ranking
from qianru.index.engine_filter import field_index, fields_of, payload, translated
from qianru.index.engine_seal import Seal, boot, checksums, damaged
from qianru.index.filter import Filter
from qianru.index.layout import DensePrecision
from qianru.index.rows import (
    NOTHING,
    Rows,
    checked_dense,
    checked_ids,
    checked_kinds,
    checked_rows,
    checked_search,
    checked_sparse,
)
from qianru.types import Embeddings, IntArray, Kind, Progress, Value

if TYPE_CHECKING:
    import qdrant_edge

SHARD = "shard"
POINTS_AT_ONCE = 1_000
MARGIN = 64 << 20           # free bytes to keep: the engine writes through memory maps, where a full disk is a SIGBUS
FIELDS_INDEXED = 32         # further ones are filtered by looking at each document
GRAPH_ABOVE_KB = 20_000     # of vectors; below it every search looks at all of them
GRAPH_LINKS = 16            # Malkov and Yashunin 2016: 12 to 48 for high recall; 16 is the engine's default
GRAPH_EFFORT = 128          # candidates kept while building
SEARCH_EFFORT = 160         # and while searching among EFFORT_FOR vectors
EFFORT_FOR = 10_000         # among more the same effort finds fewer of the nearest (LOG.md has the measurements)
EFFORT_GROWTH = 0.2         # with this power of the size, ten of ten stay 99 % at 10,000, 50,000 and 200,000
EFFORT_FILTERED = 3         # times as many under a filter, which cuts the ways through the graph
OVERSAMPLED = {"int8": 2.0, "binary": 8.0}     # times k that are scored again in float32
FULL = ("No space left", "os error 28", "File too large", "os error 27", "Disk quota", "os error 122")
NOT_OURS = ("Read-only file system", "os error 30", "Permission denied", "os error 13", "os error 1)")


class EngineIndex:
    """Index in a folder of its own. One process at a time; the caller sees to that."""

    def __init__(self, path: Path, shard: qdrant_edge.EdgeShard, seal: Seal, size: int | None = None) -> None:
        self._path = path
        self._shard: qdrant_edge.EdgeShard | None = shard
        self._seal = seal
        self._indexed = set(shard.info().payload_schema)
        self._marked = True      # nothing has been taken in since the last mark
        # about how many; the engine's own count takes as long as a search
        self._size = len(self) if size is None else size
        self._outside = self._size if seal.n_outside is None else seal.n_outside

    @classmethod
    def create(
        cls, path: Path, kinds: Sequence[Kind], dim: int | None = None, precision: DensePrecision = "float32"
    ) -> EngineIndex:
        """A new, empty index; the folder must be empty or not there.

        precision: of the dense vectors that are looked through. With int8 and binary the engine scores the best again
            by the float32 ones, which it keeps on the disk; with float16 it has no others.
        """
        import qdrant_edge as engine

        kinds, dim = checked_kinds(kinds, dim)
        if path.exists() and any(path.iterdir()):
            raise CollectionError(f"{path} is not empty. Choose another folder for the index, or delete this one.")
        dense = {"dense": _dense_params(dim, precision)} if "dense" in kinds else None
        sparse = {"sparse": engine.EdgeSparseVectorParams()} if "sparse" in kinds else None
        config = engine.EdgeConfig(
            vectors=dense,
            sparse_vectors=sparse,
            hnsw_config=engine.HnswIndexConfig(m=GRAPH_LINKS, ef_construct=GRAPH_EFFORT, full_scan_threshold=10_000),
            optimizers=engine.EdgeOptimizersConfig(indexing_threshold=GRAPH_ABOVE_KB),
            max_search_threads=1,       # handing over to a pool costs a sparse query 20 of its 95 microseconds
            wal_enabled=True,           # without its log, 2 of 120 kills lost rows that no replay brought back
        )
        with _guarded(path, "made"):
            path.mkdir(parents=True, exist_ok=True)
            _check_room(path, 0)
            shard = engine.EdgeShard.create(str(path / SHARD), config)
            seal = Seal(kinds, dim, 0, boot=boot(), precision=precision, n_outside=0)
            seal.write(path)
        return cls(path, shard, seal, size=0)

    @classmethod
    def load(cls, path: Path) -> EngineIndex:
        """The index in the folder.

        Raises CollectionDamaged if it must be made again, StorageFailed if the folder cannot be read and written.
        """
        import qdrant_edge as engine

        seal = Seal.read(path)
        with _guarded(path, "read"):
            seal.check(path, path / SHARD)
            opened = replace(seal, n_points=None, files=None, boot=boot())
            opened.write(path)          # the engine tidies its files as it loads, so they are sealed again at closing
        with _guarded(path, "read", loading=True):
            shard = engine.EdgeShard.load(str(path / SHARD))
        index = cls(path, shard, opened)
        if seal.n_points is not None and len(index) != seal.n_points:
            n, index._marked = len(index), False
            index.close()
            raise damaged(path, f"it holds {n:,} of {seal.n_points:,} documents")
        return index

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of vectors that it stores."""
        return self._seal.kinds

    @property
    def precision(self) -> DensePrecision:
        """Of the dense vectors that are looked through."""
        return self._seal.precision

    @property
    def sequence(self) -> int:
        """The last transaction that is safely in the engine."""
        return self._seal.sequence

    def __len__(self) -> int:
        """How many ids are stored."""
        import qdrant_edge as engine

        with _guarded(self._path, "read"):
            return self._opened().count(engine.CountRequest(exact=True))

    def add(self, ids: IntArray, embeddings: Embeddings, fields: Sequence[Mapping[str, Value]]) -> None:
        """As Index.add. Raises StorageFailed when the disk is full; then some of the rows may be stored."""
        import qdrant_edge as engine

        self._opened()
        rows = checked_rows(self.kinds, self._seal.dim, ids, embeddings, fields)
        for start in range(0, len(rows.ids), POINTS_AT_ONCE):
            end = min(start + POINTS_AT_ONCE, len(rows.ids))
            payloads = [payload(row) for row in rows.fields[start:end]]
            for key in sorted(set().union(*payloads) - self._indexed)[: FIELDS_INDEXED - len(self._indexed)]:
                self._update(engine.UpdateOperation.create_field_index(key, field_index(key)))
                self._indexed.add(key)
            points = list(_points(rows, payloads, start, end))
            self._update(engine.UpdateOperation.upsert_points(points))
            self._outside += len(points)
            self._size += len(points)        # also of those that replace others

    def delete(self, ids: IntArray) -> None:
        """As Index.delete."""
        import qdrant_edge as engine

        self._opened()
        numbers = checked_ids(ids).tolist()
        if numbers:
            self._update(engine.UpdateOperation.delete_points(numbers))
            self._size = max(0, self._size - len(numbers))

    def search(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None = None) -> list[Ranking]:
        """As Index.search. Dense vectors that `optimize` has put into a graph are found approximately."""
        import qdrant_edge as engine

        self._opened()
        k = checked_search(self.kinds, kind, k)
        condition, exact = (None, True) if where is None else translated(where)
        if condition is not None and not isinstance(condition, engine.Filter):
            condition = engine.Filter(must=[condition])
        check = None if where is None or exact else where.matches
        vectors: list[Any]
        if kind == "dense":
            params = engine.SearchParams(
                hnsw_ef=self._effort(k, filtered=where is not None),
                quantization=engine.QuantizationSearchParams(
                    rescore=True, oversampling=OVERSAMPLED.get(self.precision, 1.0)))
            vectors = checked_dense(queries, self._seal.dim).tolist()
        else:
            params = None
            sparse = checked_sparse(queries)
            ends, terms, weights = sparse.offsets.tolist(), sparse.terms.tolist(), sparse.weights.tolist()
            vectors = [engine.SparseVector(terms[a:b], weights[a:b]) if b > a else None for a, b in pairwise(ends)]
        with _guarded(self._path, "searched"):
            return [self._search(vector, kind, k, condition, check, params) if vector is not None and k else NOTHING
                    for vector in vectors]

    def records(self, ids: IntArray) -> list[qdrant_edge.Record]:
        """What is held of the ids that are there: fields and vectors."""
        with _guarded(self._path, "read"):
            return self._opened().retrieve(ids.tolist(), with_payload=True, with_vector=True)

    def flush(self) -> None:
        """Writes what has been taken in to disk."""
        with _guarded(self._path, "written"):
            self._opened().flush()

    def mark(self, sequence: int) -> None:
        """Says durably that all up to this transaction is in the engine."""
        self.flush()
        with _guarded(self._path, "written"):
            seal = replace(self._seal, sequence=sequence, n_outside=self._outside, n_points=None, files=None,
                           boot=boot())
            seal.write(self._path)
        self._seal = seal
        self._marked = True

    def wants_graph(self) -> bool:
        """Whether there are enough dense vectors outside a graph that building one would do something."""
        # the engine's own count of indexed vectors has sparse and deleted ones in it
        return "dense" in self.kinds and self._outside * self._seal.dim * 4 > GRAPH_ABOVE_KB * 1024

    def has_graph(self) -> bool:
        """Whether any dense vectors are in a graph."""
        return "dense" in self.kinds and self._outside < self._size

    def optimize(self, progress: Progress | None = None) -> bool:
        """Whether anything was done: builds a graph of many dense vectors, and clears out what was deleted.

        Blocks until done. Sparse vectors gain nothing by it, so an index of these alone is left as it is.
        """
        shard = self._opened()
        if "dense" not in self.kinds:
            return False
        if progress is not None:
            progress(0, 1)
        size = sum(file.stat().st_blocks * 512 for file in (self._path / SHARD).rglob("*") if file.is_file())
        with _guarded(self._path, "optimised"):
            _check_room(self._path, 2 * size)
            self._marked = False
            done = shard.optimize()
            self._outside = 0       # what is left out is less than a graph would be worth
        self.mark(self.sequence)
        if progress is not None:
            progress(1, 1)
        return done

    def close(self) -> None:
        """Seals the files and gives them and memory back; closing twice is fine.

        What came after the last mark will have to be added again, and then there is no seal.
        """
        if self._shard is None:
            return
        try:
            n_points = len(self) if self._marked else None
        finally:
            shard, self._shard = self._shard, None
            with _guarded(self._path, "closed"):
                shard.close()
        if self._marked:
            with _guarded(self._path, "closed"):
                files = checksums(self._path / SHARD)
                replace(self._seal, n_points=n_points, files=files, boot="").write(self._path)

    def abandon(self) -> None:
        """Gives the files back without a seal, also where the engine is broken: the folder will be made again."""
        self._marked = False
        self.close()

    def _effort(self, k: int, *, filtered: bool) -> int:
        """How many candidates a search in the graph keeps; it grows slowly with the size."""
        effort = SEARCH_EFFORT * max(1.0, self._size / EFFORT_FOR) ** EFFORT_GROWTH
        return max(int(effort) * (EFFORT_FILTERED if filtered else 1), 2 * k)

    def _search(
        self, vector: Any, kind: Kind, k: int, condition: qdrant_edge.Filter | None,
        check: Callable[[Mapping[str, Value]], bool] | None, params: qdrant_edge.SearchParams | None,
    ) -> Ranking:
        """Asks for more until the last answer is worse than the k-th: the engine cuts among equals as it likes."""
        import qdrant_edge as engine

        shard = self._opened()
        query = engine.Query.Nearest(vector, using=kind)
        limit = k + 1 if check is None else 4 * k + 16
        if limit > POINTS_AT_ONCE:
            limit = min(limit, len(self) + 1)
        while True:
            hits = shard.query(engine.QueryRequest(
                limit, query=query, filter=condition, params=params, with_payload=check is not None))
            found = hits if check is None else [hit for hit in hits if check(fields_of(hit.payload or {}))]
            if kind == "sparse" and hits and hits[-1].score <= 0:       # with a filter the engine gives zeros, else not
                found = [hit for hit in found if hit.score != 0]
            if len(hits) < limit or (len(found) >= k and found[k - 1].score > hits[-1].score):
                break
            limit = min(4 * limit, len(self) + 1)
        ranked = sorted([(-hit.score, hit.id) for hit in found])[:k]
        return Ranking(
            np.array([id for _, id in ranked], np.int64), -np.array([score for score, _ in ranked], np.float32))

    def _update(self, operation: qdrant_edge.UpdateOperation) -> None:
        with _guarded(self._path, "written"):
            _check_room(self._path, 0)
            self._marked = False
            self._opened().update(operation)

    def _opened(self) -> qdrant_edge.EdgeShard:
        if self._shard is None:
            raise CollectionError(f"The search index {self._path} is closed. Open it again.")
        return self._shard


def _points(rows: Rows, payloads: list[dict[str, Any]], start: int, end: int) -> Iterator[qdrant_edge.Point]:
    """Rows start to end in the engine's form."""
    import qdrant_edge as engine

    dense = rows.dense[start:end].tolist() if rows.dense is not None else []
    if rows.sparse is not None:
        ends = rows.sparse.offsets[start : end + 1]
        terms, weights = (part[ends[0] : ends[-1]].tolist() for part in (rows.sparse.terms, rows.sparse.weights))
        ends = (ends - ends[0]).tolist()
    for i, id in enumerate(rows.ids[start:end].tolist()):
        vector: dict[str, Any] = {}
        if rows.dense is not None:
            vector["dense"] = dense[i]
        if rows.sparse is not None:
            vector["sparse"] = engine.SparseVector(terms[ends[i] : ends[i + 1]], weights[ends[i] : ends[i + 1]])
        yield engine.Point(id, vector, payloads[i])


def _dense_params(dim: int, precision: DensePrecision) -> qdrant_edge.EdgeVectorParams:
    import qdrant_edge as engine

    quantization: Any = None
    if precision == "int8":
        quantization = engine.ScalarQuantizationConfig(engine.ScalarType.Int8, quantile=0.99, always_ram=True)
    elif precision == "binary":
        quantization = engine.BinaryQuantizationConfig(always_ram=True)
    return engine.EdgeVectorParams(
        size=dim, distance=engine.Distance.Dot, on_disk=quantization is not None, quantization_config=quantization,
        datatype=engine.VectorStorageDatatype.Float16 if precision == "float16" else None,
    )


def _check_room(path: Path, size: int) -> None:
    """Raises StorageFailed unless there is room for so many bytes more and a margin."""
    free = shutil.disk_usage(path).free
    if free < size + MARGIN:
        raise StorageFailed(
            f"{path}: the disk has {free >> 20:,} MB left, and the search index needs {(size + MARGIN) >> 20:,} MB "
            "to be safe. Make room and run it again; what was stored before is intact."
        )


@contextmanager
def _guarded(path: Path, what: str, *, loading: bool = False) -> Iterator[None]:
    """Turns what the engine and the system say into an error that names the folder.

    The engine's own bugs arrive as PanicException, which derives from BaseException alone.
    """
    try:
        yield
    except (QianruError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = str(error)
        if any(sign in said for sign in FULL):
            raise StorageFailed(
                f"The search index {path} could not be {what}: the disk is full. Make room and run it again. ({said})"
            ) from error
        if any(sign in said for sign in NOT_OURS) or isinstance(error, OSError):
            raise StorageFailed(
                f"The search index {path} could not be {what}; check that the folder may be read and written. ({said})"
            ) from error
        if loading:
            raise damaged(path, f"the engine cannot load it ({said})") from error
        raise CollectionError(
            f"The search index {path} could not be {what}. If it happens again, run: qianru rebuild. ({said})"
        ) from error
