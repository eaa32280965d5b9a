"""Whether what is derived from the source of truth agrees with it: BM25's counts, the search engine, its graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qianru.errors import CollectionDamaged, CollectionError
from qianru.index.engine import SHARD, EngineIndex
from qianru.index.engine_filter import payload
from qianru.index.engine_seal import NAME as SEAL, Seal
from qianru.index.follower import ENGINE, Follower
from qianru.index.statistics import StoredStatistics
from qianru.index.storage import Storage, StoredRows
from qianru.types import Embeddings

ASKED = 50          # documents that a graph is asked for by their own vectors
FOUND = 0.9         # of these it must find so many
HALF = 1e-3         # how far float16, of 11 bits, may be off
SINGLE = 1e-5       # likewise float32, for weights that are computed anew


def seal_damage(place: Path) -> str | None:
    """What is wrong with an engine's folder that nobody has open; None if nothing is, or it was not made to the end."""
    if not (place / ENGINE / SEAL).exists():
        return None
    try:
        Seal.read(place / ENGINE).check(place / ENGINE, place / ENGINE / SHARD)
    except CollectionDamaged as error:
        return str(error)
    return None


def wrong_counts(storage: Storage, statistics: StoredStatistics) -> Iterator[str]:
    """Where BM25's statistics are not those of the stored words."""
    frequencies = np.zeros(statistics.width, np.int64)
    n_documents = n_tokens = 0
    for rows in storage.each_stored(0):
        assert rows.embeddings.sparse is not None
        found = np.bincount(rows.embeddings.sparse.terms, minlength=len(frequencies))
        if len(found) > len(frequencies):
            yield f"words stand in documents that have no column, such as {len(found) - 1}"
            return
        frequencies += found
        n_documents += len(rows.ns)
        n_tokens += int(rows.embeddings.n_tokens.sum())
    for name, counted in (("n_documents", n_documents), ("n_tokens", n_tokens)):
        if (kept := int(storage.meta(name, 0))) != counted:
            yield f"BM25 counts {kept:,} as {name}, and there are {counted:,}"
    wrong = 0
    first = ""
    for column, term, kept in storage.query(f"SELECT term_column, term, frequency FROM {storage.table('terms')}"):
        if frequencies[column] != kept:
            first = first or f"{term!r} in {kept:,} documents, which stands in {frequencies[column]:,}"
            wrong += 1
    if wrong:
        yield f"BM25 counts {wrong:,} words wrongly, such as {first}"


def wrong_engine(follower: Follower) -> Iterator[str]:
    """Where the search engine does not hold what is stored, or its graph does not find it."""
    try:
        follower.catch_up()
        engine = follower._engine
        if engine is None:
            return
        storage = follower._storage
        n_stored = int(storage.query("SELECT count(*) FROM documents")[0][0])
        kinds = storage.query(f"SELECT 1 FROM {storage.table('vectors')} WHERE dense IS NOT NULL OR terms IS NOT NULL "
                              "LIMIT 1")
        if len(engine) != n_stored and kinds:
            yield f"the search engine holds {len(engine):,} documents, and there are {n_stored:,}"
        wrong = [n for rows in storage.each_stored(0) if rows.embeddings.kinds for n in _wrong_rows(follower, rows)]
        if wrong:
            names = storage.documents(wrong[:1])
            yield (f"the search engine holds {len(wrong):,} documents otherwise than they are stored, such as "
                   f"{names[wrong[0]].id!r}")
        elif engine.has_graph() and engine.precision != "binary":
            yield from _wrong_graph(engine, storage)
    except CollectionError as error:
        yield f"the search engine does not answer: {error}"


def _wrong_rows(follower: Follower, rows: StoredRows) -> list[int]:
    """Those of the rows that the engine holds in another way, or not at all."""
    engine = follower._engine
    assert engine is not None
    weighed = follower.weighed(rows.embeddings, follower._mean_length)
    records = {record.id: record for record in engine.records(rows.ns)}
    wrong = []
    for i, n in enumerate(rows.ns.tolist()):
        record = records.get(n)
        if record is None or (record.payload or {}) != payload(rows.fields[i]) or not _same(
                engine, record.vector or {}, weighed, i):
            wrong.append(n)
    return wrong


def _same(engine: EngineIndex, held: Any, stored: Embeddings, i: int) -> bool:
    if "dense" in engine.kinds:
        assert stored.dense is not None
        off = HALF if engine.precision == "float16" else 0.0
        dense = np.asarray(held.get("dense", ()), np.float32)
        if dense.shape != stored.dense[i].shape or not np.allclose(dense, stored.dense[i], atol=off, rtol=off):
            return False
    if "sparse" in engine.kinds:
        assert stored.sparse is not None
        terms, weights = stored.sparse.row(i)
        terms, weights = terms[weights != 0], weights[weights != 0]
        vector = held.get("sparse")
        theirs = [] if vector is None else sorted(zip(vector.indices, vector.values, strict=True))
        if [term for term, _ in theirs] != terms.tolist():
            return False
        return bool(np.allclose([weight for _, weight in theirs], weights, rtol=SINGLE, atol=0))
    return True


def _wrong_graph(engine: EngineIndex, storage: Storage) -> Iterator[str]:
    """By its own vector, a document or one that is as near must be found."""
    n_found = n_asked = 0
    n_stored = int(storage.query("SELECT count(*) FROM documents")[0][0])
    step = max(1, n_stored // ASKED)
    ns = [n for (n,) in storage.query("SELECT n FROM (SELECT n, row_number() OVER (ORDER BY n) AS i FROM documents) "
                                      f"WHERE i % {step} = 0 LIMIT {ASKED}")]
    asked = storage.vectors(ns)
    assert asked.dense is not None
    for own, ranking in zip(asked.dense, engine.search(asked, "dense", 1), strict=True):
        if own.any():
            n_asked += 1
            n_found += len(ranking.scores) > 0 and float(ranking.scores[0]) >= float(own @ own) - 10 * HALF
    if n_found < FOUND * n_asked:
        yield f"the graph finds {n_found} of {n_asked} documents by their own vectors"
