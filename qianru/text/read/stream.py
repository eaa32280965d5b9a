"""The texts of one file, one a line or row, in bounded memory where the format allows it: .txt and .jsonl, also .gz."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from qianru.errors import BadFile, BadInput
from qianru.text.decode import Decoded, decode, find_encoding
from qianru.text.read.columns import row_sources
from qianru.text.read.files import MAX_BYTES, TABLES, file_bytes, kind_of
from qianru.text.read.source import Problem, Source
from qianru.text.read.tables import Row, bounded, jsonl_rows

BLOCK = 8 << 20      # bytes that are decoded at once


def stream_file(
    file: Path,
    *,
    text_columns: Sequence[str] | None = None,
    id_column: str | None = None,
    encoding: str | None = None,
) -> Iterator[Source | Problem]:
    """A text for each line of a .txt that holds something, for each row of a table, and what could not be read.

    A .txt or .jsonl may be of any size; other tables are read whole. The options are those of read_file.
    Raises BadInput for a file of another kind, BadFile if it cannot be read.
    """
    file = Path(file)
    if file.is_dir():
        raise BadInput(f"{file} is a folder. Name the files in it, or index them with qianru index.")
    if not has_rows(file):
        raise BadInput(f"{file} has no lines or rows to take one by one. Those of .txt, .csv, .tsv, .jsonl and .json "
                       "have; index documents of other kinds with qianru index.")
    if not file.is_file():
        raise BadFile(f"There is no file {file}. Check the spelling, and where you are: {Path.cwd()}.")
    if encoding is not None:
        find_encoding(encoding)
    kind = kind_of(file)
    if kind not in ("plain", "jsonl"):
        from qianru.text.read import read_file

        return read_file(file, text_columns=text_columns, id_column=id_column, encoding=encoding)
    path = file.as_posix()
    if kind == "plain":
        if text_columns or id_column:
            raise BadInput(f"{file} has no columns; its lines are the texts. Leave the columns out.")
        return _lines(file, path, encoding)
    return row_sources(bounded(_rows(file, path, encoding), path), path, text_columns, id_column)


def has_rows(file: Path) -> bool:
    """Whether stream_file takes a file of that name: one of lines, or a table.

    >>> [has_rows(Path(name)) for name in ("诗.txt.gz", "表.tab", "笔记.md.gz", "全部.tar.gz")]
    [True, True, False, False]
    """
    kind = kind_of(file)
    return kind == "plain" or kind in TABLES


def _lines(file: Path, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    for before, decoded in _blocks(file, encoding):
        yield from (Problem(path, (line or 1) + before, reason) for line, reason in decoded.warnings)
        for number, line in enumerate(decoded.text.split("\n"), before + 1):
            if text := line.strip():
                yield Source(path, text, number)


def _rows(file: Path, path: str, encoding: str | None) -> Iterator[Row | Problem]:
    for before, decoded in _blocks(file, encoding):
        yield from (Problem(path, (line or 1) + before, reason) for line, reason in decoded.warnings)
        for row in jsonl_rows(decoded.text, path):
            if isinstance(row, Row):
                yield row._replace(line=row.line + before)
            else:
                yield replace(row, line=None if row.line is None else row.line + before)


def _blocks(file: Path, encoding: str | None) -> Iterator[tuple[int, Decoded]]:
    """(lines before it, text) of pieces of whole lines; all of them in the encoding of the first, unless that is UTF-8.

    A piece that is not UTF-8 after one that is (or is plain ASCII) is recognised anew.
    """
    n_before, known = 0, encoding
    try:
        with _opened(file) as stream:
            for data in _pieces(stream):
                decoded = decode(data, known)
                if n_before == 0 and decoded.encoding.startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
                    yield 0, decode(file_bytes(file), encoding)      # a line break is no single byte there
                    return
                if encoding is None and not decoded.encoding.startswith(("utf-8", "utf_8", "ascii")):
                    known = decoded.encoding
                yield n_before, decoded
                n_before += decoded.text.count("\n")
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"{file} cannot be read: {error}") from error


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(BLOCK):
        whole, newline, after = block.rpartition(b"\n")
        if newline:
            yield rest + whole + newline
            rest = after
        elif len(rest := rest + block) > MAX_BYTES:
            raise BadFile(f"It has a line longer than {MAX_BYTES >> 20} MiB.")
    if rest:
        yield rest


def _opened(file: Path) -> BinaryIO:
    return gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb")   # type: ignore[return-value]
