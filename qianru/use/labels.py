"""Questions with their right answers, read from JSON lines and held against a collection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qianru.errors import BadFile, BadInput
from qianru.index.collection import Collection
from qianru.index.filter import Field


@dataclass(frozen=True, slots=True)
class Labelled:
    """A query and what answers it: document id -> grade, larger is better; or a place in a file.

    path: as the collection's documents have it;  line: None for the whole file
    """

    query: str
    relevant: Mapping[str, int] = field(default_factory=dict)
    path: str | None = None
    line: int | None = None


def read_labelled(file: Path) -> list[Labelled]:
    """The queries of a file of JSON lines.

    A line has "query" and either "relevant", a list of ids or an object id -> grade, or "path" and perhaps "line".
    Raises BadFile where it cannot be read, BadInput, naming the line, where it says something else.
    """
    found = [_labelled(place, line) for place, line in numbered_lines(file)]
    if not found:
        raise BadInput(f'{file} holds no query. Write lines such as {{"query": "…", "relevant": ["id"]}}.')
    return found


def numbered_lines(file: Path) -> list[tuple[str, str]]:
    """("file:number", line) of the lines that say something. Raises BadFile where it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")   # splitlines would cut texts at U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{file} cannot be read as UTF-8: {error}.") from error
    return [(f"{file}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]


def grades_of(collection: Collection, labelled: Sequence[Labelled]) -> Iterator[dict[int, int]]:
    """For each query, document number -> grade, of the documents that the collection has; none if it has none."""
    known = collection.numbers([id for one in labelled for id in one.relevant])
    for one in labelled:
        grades = {known[id]: grade for id, grade in one.relevant.items() if id in known and grade > 0}
        if one.path is not None:
            grades |= dict.fromkeys(collection.numbers(_ids_at(collection, one.path, one.line)).values(), 1)
        yield grades


def _ids_at(collection: Collection, path: str, line: int | None) -> list[str]:
    """The passages of the file, or those among them that begin last at or before the line."""
    passages = collection.documents(Field("path") == path, limit=1_000_000)
    if line is None or not passages:
        return [passage.id for passage in passages]
    starts = {passage.id: start for passage in passages if isinstance(start := passage.fields.get("line"), int)}
    before = [start for start in starts.values() if start <= line]
    return [id for id, start in starts.items() if start == max(before)] if before else []


def _labelled(place: str, line: str) -> Labelled:
    try:
        read: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{place} is no JSON: {error}.") from None
    if not isinstance(read, dict) or not isinstance(read.get("query"), str):
        raise BadInput(f'{place} needs a text "query"; it reads {line!r:.80}.')
    relevant, path, at = read.get("relevant"), read.get("path"), read.get("line")
    if isinstance(relevant, list) and all(isinstance(id, str) for id in relevant):
        relevant = dict.fromkeys(relevant, 1)
    right = isinstance(relevant, dict) and all(isinstance(id, str) and type(grade) is int
                                               for id, grade in relevant.items())
    if not right and not (relevant is None and isinstance(path, str) and (at is None or type(at) is int)):
        raise BadInput(f'{place} needs "relevant", a list of ids or an object of ids and whole grades, or "path" and '
                       f'perhaps "line"; it reads {line!r:.80}.')
    return Labelled(read["query"], relevant or {}, path, at)
