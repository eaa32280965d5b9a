"""Whether the source of truth is what was written: structure, digests, checksums, nothing missing and nothing over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from qianru.errors import CollectionDamaged
from qianru.index.blobs import checksum
from qianru.index.database import MEND
from qianru.index.intake import document_digest
from qianru.index.storage import Storage
from qianru.types import Progress

AT_ONCE = 500
NAMED_AT_MOST = 10      # of what SQLite says of its own structure


class Damage(NamedTuple):
    """Something that is not as it was written.

    said: what, in words;  n: of which row, None for what is of no document
    lost: whether a text or its fields are gone; vectors can be made again from the text
    """

    said: str
    n: int | None = None
    lost: bool = True


def verify(storage: Storage) -> None:
    """Reads everything; raises CollectionDamaged where it is not what was written."""
    for damage in damages(storage):
        raise CollectionDamaged(f"{storage.file}: {damage.said}. {MEND}")


def damages(storage: Storage, progress: Progress | None = None) -> Iterator[Damage]:
    """All that is wrong with what is stored, in bounded memory; progress counts documents."""
    for (said,) in storage.query(f"PRAGMA integrity_check({NAMED_AT_MOST})"):
        if said != "ok":
            yield Damage(f"it is damaged: {said}")
    total = int(storage.query("SELECT count(*) FROM documents")[0][0])
    done = after = 0
    while rows := storage.query(
        "SELECT documents.n, id, text, fields, digest, vectors.n, dense, terms, weights, checksum FROM documents "
        f"LEFT JOIN vectors USING (n) WHERE documents.n > ? ORDER BY documents.n LIMIT {AT_ONCE}", (after,)
    ):
        for n, id, text, fields, digest, there, dense, terms, weights, stored in rows:
            if changed := document_digest(text, fields) != digest:
                yield Damage(f"document {id!r} is not what was written", n)
            if there is None:
                yield Damage(f"the vectors of document {id!r} are missing", n, lost=changed)
            elif checksum(dense, terms, weights) != stored:
                yield Damage(f"the vectors of document {id!r} are not what was written", n, lost=changed)
        done, after = done + len(rows), rows[-1][0]
        if progress is not None:
            progress(done, total)
    if storage.has_multi:
        yield from _token_vectors(storage)
    yield from _strangers(storage)


def _token_vectors(storage: Storage) -> Iterator[Damage]:
    wanted = '"multi"' in storage.meta("layout", "").partition('"dense"')[0]      # its list of kinds
    after = 0
    while rows := storage.query(
        "SELECT documents.n, id, multi.n FROM documents LEFT JOIN multi USING (n) WHERE documents.n > ? "
        f"ORDER BY documents.n LIMIT {AT_ONCE}", (after,)
    ):
        after = rows[-1][0]
        for n, id, there in rows:
            if there is None:
                if wanted:
                    yield Damage(f"the token vectors of document {id!r} are missing", n, lost=False)
                continue
            data, stored = storage.query("SELECT data, checksum FROM multi WHERE n = ?", (n,))[0]
            if checksum(data) != stored:
                yield Damage(f"the token vectors of document {id!r} are not what was written", n, lost=False)


def _strangers(storage: Storage) -> Iterator[Damage]:
    """Rows that belong to no document, and numbers that cannot be."""
    for table in ("vectors", *(["multi"] if storage.has_multi else [])):
        n = storage.query(f"SELECT count(*) FROM {table} WHERE n NOT IN (SELECT n FROM documents)")[0][0]
        if n:
            yield Damage(f"{n:,} rows of {table} belong to no document", lost=False)
    latest = storage.query("SELECT max(sequence) FROM documents")[0][0] or 0
    if latest > int(storage.meta("sequence")):
        yield Damage(f"its counter of changes stands at {storage.meta('sequence')}, and a document was written in "
                     f"change {latest}")
