"""Rows of the files that data sets come in: Parquet, JSON lines, JSON, TSV and CSV, one by one in bounded memory.

Also packed as .gz, .bz2, .xz and as the one file of a .zip. Unlike qianru.text.read, nothing is mended or passed over:
a score must not depend on how well a row was guessed, so whatever is wrong with a file is an error that names the line.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from qianru.errors import BadFile, UnknownName, require

Row: TypeAlias = dict[str, Any]
"""column -> value; the columns of a file without a header are called "0", "1", …"""

FORMATS = ("parquet", "jsonl", "json", "tsv", "csv")
PACKED = (".gz", ".bz2", ".xz")
BATCH = 4096


def rows(path: Path, form: str | None = None, *, header: bool = True) -> Iterator[Row]:
    """The rows of a file, or of the files of a folder in the order of their names.

    form: one of FORMATS; else by the suffix, and a .txt or .data is a .tsv
    header: whether a .tsv or .csv begins with the names of its columns
    Raises BadFile for a file that is not there, empty, damaged or not what it should be, MissingExtra for Parquet.
    """
    path = Path(path)
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    n = 0
    for file in files:
        for row in _file_rows(file, form or form_of(file), header):
            n += 1
            yield row
    if not n:
        raise BadFile(f"{path} has no rows. Is it the right {'folder' if path.is_dir() else 'file'}?")


def form_of(path: Path) -> str:
    """What a file holds, by its suffix; a .json may be JSON lines."""
    name = path.name.lower()
    for suffix in (*PACKED, ".zip"):
        name = name.removesuffix(suffix)
    suffix = name.rpartition(".")[2]
    known = {"txt": "tsv", "data": "tsv", "ndjson": "jsonl"}.get(suffix, suffix)
    if known not in FORMATS:
        raise UnknownName("format of tables", suffix, FORMATS, f"which {path} ends in; name one with format = …")
    return known


def _file_rows(path: Path, form: str, header: bool) -> Iterator[Row]:
    if form not in FORMATS:
        raise UnknownName("format of tables", form, FORMATS)
    try:
        if form == "parquet":
            yield from _parquet_rows(path)
            return
        with _opened(path) as stream:
            if form == "jsonl":
                yield from _jsonl_rows(path, stream)
            elif form == "json":
                yield from _json_rows(path, stream)
            else:
                yield from _delimited_rows(path, stream, "\t" if form == "tsv" else ",", header)
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}. Check the path, or download the task's data.") from None
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8: {error}. Convert it first.") from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read: {error}.") from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    parquet = require("pyarrow.parquet", "evaluate", "Reading Parquet")
    arrow = require("pyarrow", "evaluate", "Reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                yield from batch.to_pylist()
    except arrow.ArrowException as error:
        raise BadFile(f"{path} is no Parquet file: {error}. Download it again.") from error


def _jsonl_rows(path: Path, stream: BinaryIO) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadFile(f"{path}, line {number}: {error}. Mend the line.") from error
        if not isinstance(row, dict):
            raise BadFile(f"{path}, line {number}: it holds {type(row).__name__}, not an object of named values.")
        yield row


def _json_rows(path: Path, stream: BinaryIO) -> Iterator[Row]:
    """The objects of a list, or one a line: many a .json is that."""
    data = stream.read()
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        if data.lstrip().startswith(b"{") and b"\n" in data.strip():
            yield from _jsonl_rows(path, io.BytesIO(data))
            return
        raise BadFile(f"{path} is no JSON: {error}.") from error
    if isinstance(said, dict):      # a single object: one row
        said = [said]
    if not isinstance(said, list) or not all(isinstance(row, dict) for row in said):
        raise BadFile(f"{path} is no list of objects.")
    yield from said


def _delimited_rows(path: Path, stream: BinaryIO, delimiter: str, header: bool) -> Iterator[Row]:
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="" if delimiter == "," else "\n")
    if delimiter == ",":
        records = _csv_records(path, text)
    else:        # a tab ends a value, a line ends a row; quotes are letters
        records = ((number, line.rstrip("\r\n").split("\t")) for number, line in enumerate(text, 1) if line.strip())
    names: list[str] = []
    try:
        for number, values in records:
            if not names:
                names = values if header else [str(i) for i in range(len(values))]
                if header:
                    continue
            if len(values) != len(names):
                raise BadFile(f"{path}, line {number}: {len(values)} values, where the first line has {len(names)}. "
                              "Mend the line.")
            yield dict(zip(names, values, strict=True))
    finally:
        text.detach()        # the stream is closed by who opened it


def _csv_records(path: Path, text: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, strict=True)
    while True:
        try:
            with _wide_fields():
                values = next(reader, None)
        except csv.Error as error:
            raise BadFile(f"{path}, line {reader.line_num}: {error}. Mend the line.") from error
        if values is None:
            return
        if values:
            yield reader.line_num, values


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Lets csv take fields of any length; its limit is the whole process's, so it is put back."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file as they are unpacked."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise BadFile(f"{path} holds {len(names)} files, where one is needed. Unpack it.")
            with packed.open(names[0]) as stream:
                yield stream  # type: ignore[misc]
        return
    with (gzip.open(path) if suffix == ".gz" else bz2.open(path) if suffix == ".bz2" else lzma.open(path)
          if suffix == ".xz" else path.open("rb")) as stream:
        yield stream  # type: ignore[misc]
