"""Files as the commands need them: lines, items of a table, passages; what cannot be read is told on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.cli.layout import one_line
from qianru.cli.terminal import note
from qianru.errors import BadFile, UnknownName

if TYPE_CHECKING:
    from qianru.text.read import Source

NAME_COLUMNS = ("name", "title", "id", "名称", "标题", "名字", "编号")
PASSAGE_CHARS = 300       # as qianru index cuts them


def lines_of(path: Path, encoding: str | None) -> list[str]:
    """The lines of a text file that hold something."""
    lines = (line.strip() for source in sources((path,), None, encoding) for line in source.text.splitlines())
    return [line for line in lines if line]


def items_of(
    path: Path, text: Sequence[str], name: str | None, encoding: str | None
) -> tuple[list[str], list[str]]:
    """(names, texts) of the rows of a table, by the column that names them: the given, a usual or the first one."""
    rows = list(sources((path,), text, encoding))
    if not rows:
        raise BadFile(f"There are no rows with a text in '{path}'.")
    columns = list(rows[0].fields)
    if name is None:
        usual = (column for known in NAME_COLUMNS for column in columns if column.strip().lower() == known)
        name = next(usual, columns[0] if columns else None)
    if name is None or name not in columns:
        raise UnknownName("column of names", name or "", columns)
    return [str(row.fields.get(name, "")) for row in rows], [row.text for row in rows]


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
    """What can be read of the files; the rest is told on stderr."""
    from qianru.text.read import Problem, read_file, readable_files

    columns = tuple(text_columns) if text_columns else None
    for path in paths:
        for file in readable_files(path):
            for source in read_file(file, text_columns=columns, encoding=encoding):
                if isinstance(source, Problem):
                    note(f"warning: {one_line(str(source))}")
                else:
                    yield source
