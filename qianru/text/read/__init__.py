"""Files to texts: plain, markdown, HTML, tables, Word and PDF, one file or a whole folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from qianru.errors import BadFile, BadInput, MissingExtra, UnknownName
from qianru.text.decode import Decoded, decode, find_encoding
from qianru.text.read.columns import row_sources
from qianru.text.read.files import KINDS, TABLES, Scan, check_there, file_bytes, kind_of, scan, skipped_problem
from qianru.text.read.html import read_html
from qianru.text.read.office import read_docx, read_pdf
from qianru.text.read.plain import read_markdown, read_plain
from qianru.text.read.source import Heading, Problem, Source
from qianru.text.read.tables import NAMED_TEXT, Row, bounded, csv_rows, json_rows, jsonl_rows

__all__ = [
    "KINDS", "Heading", "Problem", "Row", "Scan", "Source", "read_file", "read_folder", "read_rows", "readable_files",
    "scan", "table_columns",
]      # fmt: skip

Reader = Callable[[bytes, str, str | None], Iterator[Source | Problem]]
_READERS: dict[str, Reader] = {
    "plain": read_plain, "markdown": read_markdown, "html": read_html, "docx": read_docx, "pdf": read_pdf,
}      # fmt: skip


def read_file(
    file: Path,
    *,
    text_columns: Sequence[str] | None = None,
    id_column: str | None = None,
    encoding: str | None = None,
    path: str | None = None,
) -> Iterator[Source | Problem]:
    """The texts of a file, and what of it could not be read.

    text_columns: of tables, those that hold text; the obvious one if none is named
    id_column: of tables, the one that names the row
    encoding: recognised if none is named
    path: what the file is called in what comes back; its path as given if none
    A file of an unknown kind is read as plain text. Whatever is wrong with the file is a Problem.
    Raises UnknownName for a column or an encoding that there is not, BadInput for a table without a column of text.
    """
    if encoding is not None:
        find_encoding(encoding)
    if isinstance(text_columns, str):
        raise BadInput(f"text_columns is a list of names. Write [{text_columns!r}].")
    file = Path(file)
    return _read(file, path or file.as_posix(), text_columns, id_column, encoding)


def read_folder(
    folder: Path,
    *,
    text_columns: Sequence[str] | None = None,
    id_column: str | None = None,
    encoding: str | None = None,
) -> Iterator[Source | Problem]:
    """The texts of all files below a folder, in the order of their paths, and what could not be read.

    Paths are as seen from the folder. A table without the columns is a Problem here, since others may have them. Files
    of other kinds are passed over, told by one Problem at the end.
    Raises BadFile if there is no such folder, BadInput if it holds nothing to read.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file. Read it with read_file.")
    found = scan(folder)
    if encoding is not None:
        find_encoding(encoding)
    return _read_all(folder, found, text_columns, id_column, encoding)


def readable_files(path: Path) -> list[Path]:
    """The files that would be read: the file itself, or all below a folder; scan tells what is wrong besides."""
    return scan(path).files


def table_columns(path: Path, encoding: str | None = None) -> list[str]:
    """The names of a table's columns, in order; BadInput if it is no table or empty, BadFile if it cannot be read."""
    for row in read_rows(path, encoding):
        if isinstance(row, Row):
            return list(row.values)
    raise BadInput(f"{path} has no rows. A table needs a line of names and rows below.")


def read_rows(path: Path, encoding: str | None = None) -> Iterator[Row | Problem]:
    """The rows of a table as they are, each with its line of the file.

    Raises BadInput if the file is no table, BadFile if it cannot be read.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind not in TABLES:
        raise BadInput(f"{path} is no table. Tables end in .csv, .tsv, .jsonl or .json.")
    check_there(path)
    try:
        decoded = decode(file_bytes(path), encoding)
    except BadFile as error:
        raise BadFile(f"{path} cannot be read. {error}") from error
    return _rows(decoded, kind, path.as_posix(), None)


def _read_all(
    folder: Path, found: Scan, text_columns: Sequence[str] | None, id_column: str | None, encoding: str | None
) -> Iterator[Source | Problem]:
    yield from found.problems
    for file in found.files:
        path = file.relative_to(folder).as_posix()
        try:
            yield from _read(file, path, text_columns, id_column, encoding)
        except (UnknownName, BadInput) as error:
            yield Problem(path, None, str(error))
    if found.skipped:
        yield skipped_problem(folder.as_posix(), found.skipped)


def _read(
    file: Path, path: str, text_columns: Sequence[str] | None, id_column: str | None, encoding: str | None
) -> Iterator[Source | Problem]:
    kind = kind_of(file) or "plain"
    try:
        data = file_bytes(file)
        if not data.strip():
            yield Problem(path, None, "It is empty.")
        elif kind in TABLES:
            decoded = decode(data, encoding)
            yield from row_sources(_rows(decoded, kind, path, text_columns), path, text_columns, id_column)
        else:
            yield from _READERS[kind](data, path, encoding)
    except (BadFile, MissingExtra) as error:
        yield Problem(path, None, str(error))


def _rows(decoded: Decoded, kind: str, path: str, text_columns: Sequence[str] | None) -> Iterator[Row | Problem]:
    yield from (Problem(path, line, reason) for line, reason in decoded.warnings)
    if kind == "json":
        rows = json_rows(decoded.text, path, text_columns or NAMED_TEXT)
    elif kind == "jsonl":
        rows = jsonl_rows(decoded.text, path)
    else:
        rows = csv_rows(decoded.text, path, "," if kind == "csv" else "\t")
    yield from bounded(rows, path)
