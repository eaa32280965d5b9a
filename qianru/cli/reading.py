"""Files as the commands need them: lines, items of a table, passages; what cannot be read is told on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.cli.layout import one_line
from qianru.cli.options import open_to_read
from qianru.cli.terminal import note
from qianru.errors import BadFile, BadInput, UnknownName

if TYPE_CHECKING:
    from qianru.text.read import Problem, Row, Source

NAME_COLUMNS = ("name", "title", "id", "名称", "标题", "名字", "编号")
PASSAGE_CHARS = 300       # as qianru index cuts them
PROBLEMS_SHOWN = 20
WHOLE = ("collection.sqlite", "qianru.json", "manifest.json")      # of a collection, a model, vectors


def lines_of(path: Path, encoding: str | None) -> list[str]:
    """The lines of a text file that hold something."""
    lines = (line.strip() for source in sources((path,), None, encoding) for line in source.text.splitlines())
    return [line for line in lines if line]


def items_of(
    path: Path, text: Sequence[str], name: str | None, encoding: str | None
) -> tuple[list[str], list[str]]:
    """(names, texts) of the rows of a table, by the column that names them: the given, a usual or the first one."""
    from qianru.text.read import Row, read_rows

    rows: list[Row] = []
    for row in read_rows(path, encoding):
        if isinstance(row, Row):
            rows.append(row)
        else:
            note(f"warning: {one_line(str(row))}")
    if not rows:
        raise BadFile(f"'{path}' has no rows.")
    header = list(dict.fromkeys(column for row in rows for column in row.values))
    usual = (column for known in NAME_COLUMNS for column in header if column.lower() == known)
    key = name or next(usual, header[0])
    for column in (*text, key):
        if column not in header:
            raise UnknownName("column", column, header, f"in {path}")
    return [_cell(row, [key]) for row in rows], [_cell(row, text) for row in rows]


def _cell(row: Row, columns: Sequence[str]) -> str:
    values = (row.values.get(column) for column in columns)
    return "\n".join(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                     for value in values if value is not None)


def passages_of(paths: Sequence[Path], text_columns: str | None, encoding: str | None) -> list[str]:
    """The passages of files and of all files in folders, without overlap."""
    from qianru.text.chunk import chunk

    columns = [name.strip() for name in text_columns.split(",")] if text_columns else None
    passages = [piece.text for source in sources(paths, columns, encoding)
                for piece in chunk(source, max_chars=PASSAGE_CHARS, overlap=0)]
    if not passages:
        raise BadFile(f"There is no text to learn from in {', '.join(map(str, paths))}.")
    return passages


def sources(paths: Sequence[Path], text_columns: Sequence[str] | None, encoding: str | None) -> Iterator[Source]:
    """What can be read of files and of all files in folders; the rest is told on stderr."""
    from qianru.text.read import Problem, read_file, read_folder, scan

    for path in paths:
        if not path.exists():
            scan(path)          # says what is missing
        read = read_folder if path.is_dir() else read_file
        for source in read(path, text_columns=text_columns, encoding=encoding):
            if isinstance(source, Problem):
                note(f"warning: {one_line(str(source))}")
            else:
                yield source


def streamed(
    files: Sequence[Path], columns: Sequence[str] | None, id_column: str | None, encoding: str | None,
    problems: list[str] | None,
) -> Iterator[Source]:
    """Every line, row or document of a collection; what cannot be read is noted in problems, and on stderr at first.

    problems: None where they are told already
    """
    from qianru.index.home import is_collection
    from qianru.text.read import Problem
    from qianru.text.read.stream import stream_file

    streams: list[Iterator[Source | Problem]] = []
    for file in files:
        if not is_collection(file):
            streams.append(stream_file(file, text_columns=columns, id_column=id_column, encoding=encoding))
        elif (columns, id_column, encoding) == (None, None, None):
            streams.append(_documents(file))
        else:
            raise BadInput(f"{file} is a collection, whose documents have their texts and ids. Leave out the columns "
                           "and the encoding.")
    for stream in streams:
        for source in stream:
            if not isinstance(source, Problem):
                yield source
            elif problems is not None:
                problems.append(str(source))
                if len(problems) <= PROBLEMS_SHOWN:
                    note(f"warning: {one_line(str(source))}")


def named_texts(
    files: Sequence[Path], text_columns: str | None, id_column: str | None, encoding: str | None
) -> list[tuple[str, str]]:
    """(id, text) of lines, rows, and passages of files that have neither; problems are told on stderr.

    Raises BadInput where there is none.
    """
    from qianru.index.home import is_collection
    from qianru.text.chunk import chunk
    from qianru.text.read.stream import has_rows

    problems: list[str] = []
    named: list[tuple[str, str]] = []
    for file in files:
        if is_collection(file) or (not file.is_dir() and has_rows(file)):
            read = streamed([file], names_in(text_columns), id_column, encoding, problems)
            named += [(source.id or source.place, source.text) for source in read]
        else:
            for source in sources([file], names_in(text_columns), encoding):
                pieces = chunk(source, max_chars=PASSAGE_CHARS, overlap=0)
                named += [(f"{source.path}#{i}", piece.text) for i, piece in enumerate(pieces, 1)]
    told_problems(problems)
    if not named:
        raise BadInput("There is no text in these files.")
    return named


def _documents(path: Path) -> Iterator[Source]:
    from qianru.use.material import documents_of

    with open_to_read(path, to_search=False) as library:
        yield from documents_of(library)


def told_problems(problems: Sequence[str]) -> None:
    """Tells how many problems there were beyond those shown."""
    if len(problems) > PROBLEMS_SHOWN:
        note(f"warning: and {len(problems) - PROBLEMS_SHOWN:,} more; --json lists all")


def names_in(given: str | None) -> tuple[str, ...] | None:
    """The names in a list with commas; None for none given."""
    return tuple(name.strip() for name in given.split(",")) if given else None


def check_apart(files: Sequence[Path], *outputs: Path | None) -> None:
    """BadInput where a file would be written over one that is read, or over another one, or into what is read as one.

    files: what is read, folders of a collection, a model or vectors among them
    """
    taken = {path.resolve() for path in files}
    wholes = [path for path in taken if any((path / name).is_file() for name in WHOLE)]
    for path in outputs:
        if path is None:
            continue
        place = path.resolve()
        if place in taken:
            raise BadInput(f"'{path}' is read or written already; what stands there would be lost. Give another name.")
        if any(place.is_relative_to(whole) for whole in wholes):
            raise BadInput(f"'{path}' lies inside of what is read; nothing else belongs there. Give another place.")
        taken.add(place)
