"""A folder of documents asked as it is: indexed first, into a collection of its own that is kept for the next time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.cli.cutting import OwnWords
from qianru.cli.indexing import check_inputs, leave_none_empty, open_or_create
from qianru.cli.layout import one_line
from qianru.cli.options import open_to_read
from qianru.cli.terminal import note, progress
from qianru.errors import BadFile, CollectionBusy, QianruError

if TYPE_CHECKING:
    from qianru.index.collection import Collection

PROBLEMS_SHOWN = 3
MODELS = ["bm25", "qianru-zh-mini"]     # as in the Makefile
PLAN = "hybrid"


@contextmanager
def opened(place: str | None) -> Iterator[Collection]:
    """The collection to ask: the one there, or one of its own for a folder of documents, brought up to date first."""
    from qianru.index.home import is_collection

    if place is None or is_collection(place):
        with open_to_read(None if place is None else Path(place)) as library:
            yield library
        return
    path = own_collection(Path(place))
    try:
        _index(Path(place), path)
    except CollectionBusy:
        note(f"{path} is in use by another program; answering from what is stored so far.")
    with open_to_read(path) as library:
        yield library


def own_collection(documents: Path) -> Path:
    """The collection of a folder of documents, beside which others have theirs; the same as `make run` makes.

    It is named by POSIX's cksum of the folder's whole path and a line break.
    """
    named = f"{documents.resolve()}\n".encode(errors="surrogateescape")
    return Path(f".qianru-{posix_checksum(named)}")


def posix_checksum(content: bytes) -> int:
    """What the command cksum says.

    >>> posix_checksum(b"qianru\\n")
    3482619292
    """
    n, tail = len(content), bytearray()
    while n:
        tail.append(n & 0xFF)
        n >>= 8
    crc = 0
    for byte in content + bytes(tail):
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc ^ 0xFFFFFFFF


def _index(documents: Path, path: Path) -> None:
    """Reads what has changed in the documents; tells so only where there was something."""
    from qianru.index.folder import add_folder

    new = not path.exists()
    try:
        check_inputs([documents], None, new)
        with open_or_create(path, MODELS if new else None, OwnWords()) as library:
            if new:
                library.set_plan(PLAN)
            with progress("Indexing", "MB", 1e6) as watch:
                report = add_folder(library, [documents], prune=True, progress=watch)
            n = library.count()
    except QianruError:
        if new:
            leave_none_empty(path)
        raise
    for problem in report.problems[:PROBLEMS_SHOWN]:
        note(f"warning: {one_line(str(problem))}")
    if len(report.problems) > PROBLEMS_SHOWN:
        note(f"warning: and {len(report.problems) - PROBLEMS_SHOWN:,} more: qianru index {documents} -c {path} --json")
    if not n:
        leave_none_empty(path)
        raise BadFile(f"There is no text to answer from in {documents}.")
    if report.n_files:
        note(f"{report.n_files:,} {'file' if report.n_files == 1 else 'files'} read; {path} holds {n:,} passages")
