"""The source of truth of a collection: one SQLite file with documents, vectors, terms and a counter of transactions.

A committed transaction is the acknowledgement. The search engine follows it by the sequence number of its rows, and can
be thrown away and made again from here at any time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qianru.errors import CollectionDamaged, UnknownName
from qianru.index.blobs import checksum, flat_blobs, from_flat_blobs, from_multi_blobs, multi_blobs
from qianru.index.database import MEND, connect, connect_new, guarded
from qianru.index.filter import Filter
from qianru.index.intake import SourceFile
from qianru.index.layout import MultiPrecision
from qianru.text.normalize import clean
from qianru.types import Document, Embeddings, IntArray, Ragged, Value

ROWS_AT_ONCE = 2_000
TOKENS_AT_ONCE = 32_768     # of multi vectors: 128 MiB of 1,024 dimensions

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE documents (
    n INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice, so the engine cannot mistake one document for another
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    fields TEXT NOT NULL,                  -- JSON object
    digest BLOB NOT NULL,                  -- of text and fields
    sequence INTEGER NOT NULL              -- transaction that last wrote this row
);
CREATE INDEX documents_by_sequence ON documents (sequence);
CREATE TABLE deleted (n INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE sources (path TEXT PRIMARY KEY, digest BLOB NOT NULL, n_passages INTEGER NOT NULL) WITHOUT ROWID;
"""
OF_MODEL = {
    "vectors": """
CREATE TABLE vectors (
    n INTEGER PRIMARY KEY REFERENCES documents,
    n_tokens INTEGER NOT NULL,
    dense BLOB,                            -- float32
    terms BLOB, weights BLOB,              -- uint32 and float32; for BM25 the weights are plain counts
    checksum INTEGER NOT NULL              -- CRC-32 of the three
)""",
    "multi": """
CREATE TABLE multi (                       -- apart: a text's token vectors are hundreds of times as long as the others
    n INTEGER PRIMARY KEY REFERENCES documents,
    n_rows INTEGER NOT NULL,
    data BLOB NOT NULL,
    checksum INTEGER NOT NULL
)""",
    "terms": "CREATE TABLE terms (term_column INTEGER PRIMARY KEY, term TEXT NOT NULL UNIQUE, "
             "frequency INTEGER NOT NULL)",
}
"""The tables that a model fills; while another one takes its place there are two of each (see reembed.py)."""
KEYS_OF_MODEL = frozenset({"fingerprint", "layout", "n_documents", "n_tokens", "n_truncated", "mean_length"})
NEXT = "next_"


class Known(NamedTuple):
    """What stands under an id already."""

    n: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Some rows as the engine wants them: vectors as stored, with their document numbers and fields."""

    ns: IntArray
    embeddings: Embeddings
    fields: list[dict[str, Value]]


class Storage:
    """One open database. Methods that write must be called inside `transaction`.

    prefix: before the names of tables and keys that belong to a model: nothing, or NEXT for the model to come
    """

    def __init__(self, connection: sqlite3.Connection, file: Path, prefix: str = "") -> None:
        self.connection = connection
        self.file = file
        self.prefix = prefix
        self.has_next = not prefix and self._has("next_vectors")
        self._has_multi: bool | None = None

    @classmethod
    def create(cls, file: Path, meta: Mapping[str, Any]) -> Storage:
        """A new, empty database; the file must not exist."""
        storage = cls(connect_new(file, ";".join([SCHEMA, *OF_MODEL.values()])), file)
        with storage.transaction():
            for key, value in {"sequence": 0, "n_documents": 0, "n_tokens": 0, **meta}.items():
                storage.set_meta(key, value)
        with guarded(file):
            storage.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")     # so that the file itself says what it is
        return storage

    @classmethod
    def open(cls, file: Path, *, read_only: bool = False) -> Storage:
        """An existing database, checked to be ours and whole at first sight.

        Raises CollectionDamaged for a truncated or foreign file, CollectionError for a format that is too new.
        """
        connection, _ = connect(file, read_only=read_only)
        storage = cls(connection, file)
        if lost := [key for key in ("sequence", "fingerprint") if storage.meta(key) is None]:
            storage.close()
            raise CollectionDamaged(f"{file} lacks its {lost[0]}: it was not made whole, or was changed. {MEND}")
        return storage

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back on any error."""
        with guarded(self.file):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read inside is of one moment, whatever another process commits meanwhile."""
        if self.connection.in_transaction:
            yield
            return
        with guarded(self.file):
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT."""
        with guarded(self.file):
            return self.connection.execute(sql, parameters).fetchall()

    def _query_in(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """The rows of a SELECT that ends in IN; in pieces, since SQLite takes so many values and no more."""
        for start in range(0, len(values), ROWS_AT_ONCE):
            part = values[start : start + ROWS_AT_ONCE]
            yield from self.query(f"{sql} ({','.join('?' * len(part))})", part)

    # meta

    def meta(self, key: str, default: Any = None) -> Any:
        rows = self.query("SELECT value FROM meta WHERE key = ?", (self._key(key),))
        return rows[0][0] if rows else default

    def set_meta(self, key: str, value: Any) -> None:
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (self._key(key), value))

    def _key(self, key: str) -> str:
        return self.prefix + key if key in KEYS_OF_MODEL else key

    def table(self, name: str) -> str:
        """What a table of the model is called."""
        return self.prefix + name

    def _has(self, table: str) -> bool:
        return bool(self.query("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)))

    def next_sequence(self) -> int:
        """Starts the next numbered change and returns its number."""
        sql = "UPDATE meta SET value = value + 1 WHERE key = 'sequence' RETURNING value"
        return int(self.connection.execute(sql).fetchone()[0])

    # documents

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Those of the ids that are stored."""
        rows = self._query_in("SELECT id, n, digest FROM documents WHERE id IN", [clean(id) for id in ids])
        return {id: Known(n, digest) for id, n, digest in rows}

    def digests(self, ns: Sequence[int]) -> dict[int, bytes]:
        """Row -> digest, for those of the rows that exist."""
        return dict(self._query_in("SELECT n, digest FROM documents WHERE n IN", ns))

    def put(self, rows: Sequence[tuple[int | None, Document, str, bytes]], sequence: int) -> list[int]:
        """Writes (row or None for a new one, document, its fields as JSON, digest); returns their rows."""
        last = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone()
        free = count(1 if last is None else last[0] + 1)
        ns = [next(free) if n is None else n for n, *_ in rows]
        self.connection.executemany(
            "INSERT INTO documents (n, id, text, fields, digest, sequence) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (n) DO UPDATE SET text = excluded.text, fields = excluded.fields, digest = excluded.digest, "
            "sequence = excluded.sequence",
            [(n, document.id, document.text, fields, digest, sequence)
             for n, (_, document, fields, digest) in zip(ns, rows, strict=True)],
        )
        if self.has_next:       # the model to come has read what stood there before
            self._delete_from([f"{NEXT}vectors", f"{NEXT}multi"], [n for n, *_ in rows if n is not None])
        return ns

    def put_vectors(self, ns: Sequence[int], embeddings: Embeddings) -> None:
        """Writes the vectors of rows ns."""
        self.connection.executemany(
            f"INSERT OR REPLACE INTO {self.table('vectors')} VALUES (?, ?, ?, ?, ?, ?)",
            [(n, n_tokens, *blobs, checksum(*blobs)) for n, n_tokens, blobs in
             zip(ns, embeddings.n_tokens.tolist(), flat_blobs(embeddings), strict=True)],
        )

    def put_multi(self, ns: Sequence[int], multi: Ragged, precision: MultiPrecision) -> None:
        """Writes the token vectors of rows ns."""
        self.connection.executemany(
            f"INSERT OR REPLACE INTO {self.table('multi')} VALUES (?, ?, ?, ?)",
            [(n, n_rows, blob, checksum(blob)) for n, n_rows, blob in
             zip(ns, np.diff(multi.offsets).tolist(), multi_blobs(multi, precision), strict=True)],
        )

    def delete(self, ns: Sequence[int], sequence: int) -> None:
        """Removes the rows and leaves a note for the engine."""
        tables = ["vectors", "documents", *(["multi"] if self.has_multi else []),
                  *([f"{NEXT}vectors", f"{NEXT}multi"] if self.has_next else [])]
        self._delete_from(tables, ns)
        self.connection.executemany("INSERT OR REPLACE INTO deleted VALUES (?, ?)", [(n, sequence) for n in ns])

    def delete_strangers(self) -> None:
        """Removes vectors that belong to no document."""
        with self.transaction():
            for table in ("vectors", *(["multi"] if self.has_multi else [])):
                self.connection.execute(f"DELETE FROM {table} WHERE n NOT IN (SELECT n FROM documents)")

    def compact(self) -> None:
        """Gives the room of what was deleted back to the disk; needs room for a second copy meanwhile."""
        with guarded(self.file):
            self.connection.execute("PRAGMA temp_store = FILE")     # the copy may be larger than the memory
            try:
                self.connection.execute("VACUUM")
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self.connection.execute("PRAGMA temp_store = MEMORY")

    def _delete_from(self, tables: Sequence[str], ns: Sequence[int]) -> None:
        for table in tables:
            self.connection.executemany(f"DELETE FROM {table} WHERE n = ?", [(n,) for n in ns])

    def put_sources(self, files: Sequence[SourceFile]) -> None:
        """Notes the files as complete."""
        self.connection.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", files)

    def begin_source(self, path: str) -> None:
        """Notes the file as one that is not complete, whatever it was before."""
        sql = "INSERT INTO sources VALUES (?, x'', 0) ON CONFLICT DO UPDATE SET digest = x''"
        self.connection.execute(sql, (path,))

    def delete_sources(self, paths: Sequence[str]) -> None:
        """Forgets the files."""
        self.connection.executemany("DELETE FROM sources WHERE path = ?", [(path,) for path in paths])

    def passages_beyond(self, path: str, last: int) -> list[int]:
        """Rows of the passages path#k with k above the last."""
        # "$" follows "#", so the range holds all ids that begin with path#
        rows = self.query("SELECT n, id FROM documents WHERE id > ? AND id < ?", (f"{path}#", f"{path}$"))
        numbered = ((n, id[len(path) + 1 :]) for n, id in rows)
        return [n for n, number in numbered if number.isdecimal() and int(number) > last]

    def documents(self, ns: Sequence[int]) -> dict[int, Document]:
        """Row -> document, for those of the rows that exist."""
        rows = self._query_in("SELECT n, id, text, fields FROM documents WHERE n IN", ns)
        return {n: Document(id, text, self._fields(n, fields)) for n, id, text, fields in rows}

    def document(self, id: str) -> tuple[int, Document]:
        """(row, document) of the id. Raises UnknownName."""
        id = clean(id)
        known = self.known([id])
        if not known:
            near = self.query("SELECT id FROM documents WHERE id >= ? ORDER BY id LIMIT 3", (id,))
            raise UnknownName("document", id, [row[0] for row in near])
        n = known[id].n
        return n, self.documents([n])[n]

    def each_document(self, where: Filter | None = None) -> Iterator[tuple[int, Document]]:
        """Every (row, document) that passes the filter, in order of first adding, read in pieces."""
        after = 0
        while rows := self.query(
            f"SELECT n, id, text, fields FROM documents WHERE n > ? ORDER BY n LIMIT {ROWS_AT_ONCE}", (after,)
        ):
            for n, id, text, stored in rows:
                fields = self._fields(n, stored)
                if where is None or where.matches(fields):
                    yield n, Document(id, text, fields)
            after = rows[-1][0]

    def each_number(self) -> Iterator[int]:
        """The row of every document, in order of first adding, read in pieces; no text is read."""
        after = 0
        while rows := self.query(f"SELECT n FROM documents WHERE n > ? ORDER BY n LIMIT {ROWS_AT_ONCE}", (after,)):
            yield from (n for (n,) in rows)
            after = rows[-1][0]

    # vectors

    def vectors(self, ns: Sequence[int]) -> Embeddings:
        """The stored vectors of the rows, in that order; every row must exist."""
        sql = f"SELECT n, n_tokens, dense, terms, weights, checksum FROM {self.table('vectors')} WHERE n IN"
        rows = {row[0]: row for row in self._query_in(sql, ns)}
        if lost := next((n for n in ns if n not in rows), None):
            raise CollectionDamaged(f"{self.file}: the vectors of document {lost} are missing. {MEND}")
        return self._embeddings([rows[n] for n in ns])

    def embedded(self, ns: Sequence[int]) -> list[int]:
        """Those of the rows that have vectors."""
        return [n for (n,) in self._query_in(f"SELECT n FROM {self.table('vectors')} WHERE n IN", ns)]

    @property
    def has_multi(self) -> bool:
        """Whether there is a place for token vectors; collections of the first format have none."""
        if self._has_multi is None:
            self._has_multi = self._has(self.table("multi"))
        return self._has_multi

    def each_multi(self, ns: Sequence[int], precision: MultiPrecision) -> Iterator[tuple[list[int], Ragged]]:
        """The token vectors of the rows, which must exist, in that order and in pieces of bounded size."""
        sizes = dict(self._query_in(f"SELECT n, n_rows FROM {self.table('multi')} WHERE n IN", ns))
        part: list[int] = []
        total = 0
        for n in ns:
            if part and (total + sizes.get(n, 0) > TOKENS_AT_ONCE or len(part) == ROWS_AT_ONCE):
                yield part, self._multi(part, precision)
                part, total = [], 0
            part.append(n)
            total += sizes.get(n, 0)
        if part:
            yield part, self._multi(part, precision)

    def _multi(self, ns: Sequence[int], precision: MultiPrecision) -> Ragged:
        sql = f"SELECT n, n_rows, data, checksum FROM {self.table('multi')} WHERE n IN"
        rows = {n: (n_rows, data) for n, n_rows, data, stored in self._query_in(sql, ns)
                if checksum(data) == stored}
        if lost := [n for n in ns if n not in rows]:
            raise CollectionDamaged(f"{self.file}: the token vectors of document {lost[0]} are not what was written. "
                                    f"{MEND}")
        return from_multi_blobs([rows[n][0] for n in ns], [rows[n][1] for n in ns], precision)

    def each_stored(self, since: int) -> Iterator[StoredRows]:
        """What has been written after the given transaction, in pieces, by row."""
        after = 0
        while rows := self.query(
            "SELECT n, n_tokens, dense, terms, weights, checksum, fields FROM documents "
            f"JOIN {self.table('vectors')} USING (n) WHERE n > ? AND sequence > ? ORDER BY n LIMIT {ROWS_AT_ONCE}",
            (after, since),
        ):
            after = rows[-1][0]
            ns = np.array([row[0] for row in rows], np.int64)
            yield StoredRows(ns, self._embeddings(rows), [self._fields(row[0], row[6]) for row in rows])

    def deleted_since(self, sequence: int) -> IntArray:
        """Rows that have been deleted after the given transaction."""
        return np.array([n for (n,) in self.query("SELECT n FROM deleted WHERE sequence > ?", (sequence,))], np.int64)

    def _fields(self, n: int, stored: str) -> dict[str, Value]:
        try:
            fields: dict[str, Value] = json.loads(stored)
        except ValueError as error:
            raise CollectionDamaged(
                f"{self.file}: the fields of document {n} are not what was written. {MEND}"
            ) from error
        return fields

    def _embeddings(self, rows: Sequence[Any]) -> Embeddings:
        for n, _, dense, terms, weights, stored, *_ in rows:
            if checksum(dense, terms, weights) != stored:
                raise CollectionDamaged(
                    f"{self.file}: the vectors of document {n} are not what was written. {MEND}"
                )
        return from_flat_blobs((row[1] for row in rows), [row[2:5] for row in rows])
