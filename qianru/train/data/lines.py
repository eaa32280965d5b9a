"""JSONL, CSV and TSV by an index of byte offsets: rows are read when they are wanted, in any order.

Memory: 8 bytes a row, whatever the size of the file. A .gz is unpacked once, to a file that goes with the process.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from weakref import finalize

from qianru.errors import BadFile, BadInput
from qianru.train.data.columns import KNOWN

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (*JSON_LINES, *DELIMITERS)
LARGEST_ROW = 1 << 26   # bytes; a file without line ends must not fill the memory
BOM = b"\xef\xbb\xbf"
Row = dict[str, Any]


def kind_of(path: Path) -> str:
    """The suffix that says the format, without .gz."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


class LineRows:
    """The rows of one file.

    header: False if the first line is a row like the others; columns are then called 0, 1, …; None to go by its words
    """

    def __init__(self, path: Path, *, header: bool | None = None) -> None:
        self.path = path
        self._json = kind_of(path) in JSON_LINES
        self._delimiter = DELIMITERS.get(kind_of(path), ",")
        self._file = _opened(path)                   # a number: a file object would warn when it is not closed
        finalize(self, os.close, self._file)
        self._starts = array("q")
        end = 0
        for start, data in self._records():
            if data.strip(BOM + b"\r\n\t ,"):      # an empty line belongs to the row before it
                self._starts.append(start)
            end = start + len(data)
        self._starts.append(end)
        self._names: list[str] | None = None
        if not self._json and len(self):
            first = self._cells(self._bytes(0))
            known = any(cell.strip().lower() in KNOWN for cell in first)
            named = header if header is not None else known or self._delimiter == ","
            self._names = [cell.strip() for cell in first] if named else [str(i) for i in range(len(first))]
            if named:
                del self._starts[0]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, i: int) -> Row:
        """Row i; BadInput, without the place, if it is damaged."""
        data = self._bytes(i)
        if self._json:
            return _object(data)
        assert self._names is not None
        cells = self._cells(data)
        if len(cells) != len(self._names):
            raise BadInput(f"there are {len(cells)} columns, {len(self._names)} in the first line")
        return dict(zip(self._names, cells, strict=True))

    @property
    def names(self) -> list[str]:
        """The columns; of JSON those of the first row."""
        if not len(self):
            raise BadInput(f"{self.path} holds no rows.")
        if self._names is not None:
            return self._names
        try:
            return list(self[0])
        except BadInput as error:
            raise BadFile(f"{self.place(0)}: {error}.") from error

    def place(self, i: int) -> str:
        """file:line, counted by reading up to it: for messages."""
        line, at = 1, 0
        while block := os.pread(self._file, min(self._starts[i] - at, 1 << 20), at):
            line += block.count(b"\n")
            at += len(block)
        return f"{self.path}:{line}"

    def blocks(self) -> Iterator[bytes]:
        """All bytes, for a fingerprint."""
        at = 0
        while block := os.pread(self._file, 1 << 20, at):
            yield block
            at += len(block)

    def _bytes(self, i: int) -> bytes:
        return os.pread(self._file, self._starts[i + 1] - self._starts[i], self._starts[i])

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of each row; a quoted one may span lines."""
        start, first, line, held, quotes = 0, 1, 0, b"", 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            while data := file.readline(LARGEST_ROW):
                line += 1
                if len(held) + len(data) >= LARGEST_ROW:
                    raise BadFile(f"{self.path}:{first} begins a row of more than {LARGEST_ROW} bytes. Is a quotation "
                                  "mark not closed, or is it another kind of file?")
                held += data
                quotes += data.count(b'"') if not self._json and self._delimiter == "," else 0
                if quotes % 2 == 0:
                    yield start, held
                    start, first, held, quotes = start + len(held), line + 1, b"", 0
        if held:
            raise BadFile(f"{self.path}:{first} opens a quotation mark that is never closed.")

    def _cells(self, data: bytes) -> list[str]:
        text = _decoded(data).rstrip("\r\n")
        if self._delimiter == "\t":
            return text.split("\t")               # tables of texts quote nothing
        try:
            return next(csv.reader(StringIO(text, newline=""), strict=True), [])
        except csv.Error as error:
            raise BadInput(f"this is no row of a table: {error}") from error


def _object(data: bytes) -> Row:
    text = _decoded(data)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"this is {type(value).__name__}, not an object {{…}} of columns")
    return value


def _decoded(data: bytes) -> str:
    try:
        return data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"this is not UTF-8: byte {error.start} of the line is {data[error.start]:#x}") from error


def _opened(path: Path) -> int:
    """The descriptor of the file, or of a nameless one with its content unpacked."""
    try:
        if path.suffix.lower() != ".gz":
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with tempfile.TemporaryFile() as unpacked:
            with gzip.open(path) as packed:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
            unpacked.flush()
            return os.dup(unpacked.fileno())
    except (OSError, EOFError) as error:
        raise BadFile(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
