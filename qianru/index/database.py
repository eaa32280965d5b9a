"""The SQLite file under a collection: opened only if it is ours and whole at first sight, its errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qianru.errors import CollectionDamaged, CollectionError, StorageFailed

APPLICATION_ID = 0x71_69_61_6E      # "qian": tells our files from any other SQLite file
FORMAT = 3                          # 2: has a table of multi vectors; 3: may have a generation (see generation.py)
MEND = "Restore the collection from a copy, or delete it and index again."


def connect_new(file: Path, schema: str) -> sqlite3.Connection:
    """A connection to a new, empty database; the file must not exist."""
    with guarded(file):
        connection = _connect(f"{file.absolute().as_uri()}?mode=rwc")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(schema)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    return connection


def connect(file: Path, *, read_only: bool = False) -> tuple[sqlite3.Connection, int]:
    """A connection to an existing database, and its format.

    Raises CollectionDamaged for a truncated or foreign file, CollectionError for a format that is too new.
    """
    _check_header(file)
    with guarded(file):
        uri = f"{file.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        try:
            connection, version = _opened(uri)
        except sqlite3.OperationalError:
            if not read_only or file.with_name(file.name + "-wal").exists():
                raise
            # a folder that cannot be written: without a log file nobody writes, so no lock files are needed
            connection, version = _opened(f"{uri}&immutable=1")
    if version > FORMAT:
        connection.close()
        raise CollectionError(
            f"{file} has format {version}; this version of Qianru reads up to {FORMAT}. Upgrade Qianru."
        )
    return connection, version


@contextmanager
def guarded(file: Path) -> Iterator[None]:
    """Turns what SQLite says into an error that names the file and says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_BUSY"):
            raise CollectionError(f"{file} is locked by another program; try again when it is done.") from error
        advice = {
            "SQLITE_FULL": "The disk is full; make room and run it again",
            "SQLITE_READONLY": "It cannot be written; check its permissions, or open the collection read-only",
            "SQLITE_CANTOPEN": "It cannot be opened; check that the folder exists and may be written",
            "SQLITE_IOERR": "The disk failed or is full",
        }
        for start, text in advice.items():
            if name.startswith(start):
                raise StorageFailed(f"{file}: {text}. What was stored before is intact. ({error})") from error
        raise CollectionDamaged(f"{file} cannot be read as a collection: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise CollectionDamaged(
            f"{file} is damaged or is no collection: {error}. {MEND}"
        ) from error


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        connection.execute("PRAGMA synchronous = FULL")     # looks into the file already
        connection.execute("PRAGMA cache_size = -65536")    # 64 MiB
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(uri: str) -> tuple[sqlite3.Connection, int]:
    """A connection that has read something, and the format of what it reads."""
    connection = _connect(uri)
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        connection.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection, version


def _check_header(file: Path) -> None:
    """Raises unless the file begins as a database of ours and is as long as its header says."""
    try:
        with file.open("rb") as stream:
            header = stream.read(100)
            size = file.stat().st_size
    except FileNotFoundError:
        raise CollectionDamaged(f"{file} is missing: {file.parent} is no collection, or part of it was lost.") from None
    except OSError as error:
        raise CollectionError(f"{file} cannot be read: {error.strerror}.") from error
    if not header.startswith(b"SQLite format 3\0") or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise CollectionDamaged(f"{file} is not a Qianru collection's database. Was another file put in its place?")
    page = int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(header[28:32], "big")
    if size < page * pages and not file.with_name(file.name + "-wal").exists():
        raise CollectionDamaged(
            f"{file} is cut short: {size:,} of {page * pages:,} bytes. {MEND}"
        )
