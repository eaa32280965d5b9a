"""Tables to rows: CSV, TSV, JSON lines and JSON, each row with its line of the file."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from qianru.text.read.source import Problem

MAX_PROBLEMS = 100      # rows that are reported one by one; the others as a number
NAMED_TEXT = (
    "text", "content", "contents", "body", "desc", "description", "sentence", "paragraph",
    "paragraphs", "passage", "context", "context_text", "document", "abstract", "summary", "review",
    "comment", "answer", "正文", "内容", "文本", "描述", "简介", "句子", "段落", "摘要", "评论", "回答",
)      # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row: its line of the file, and its values by column.

    places: in CSV and TSV, whose values are all texts, the line of each value that begins on another; None in JSON,
        whose values have types and where a line break in a text is none of the file
    """

    line: int
    values: dict[str, Any]
    places: dict[str, int] | None = None


def csv_rows(text: str, path: str, delimiter: str) -> Iterator[Row | Problem]:
    """The rows below the header; ragged ones are Problems.

    delimiter: "," or "\\t"; a .csv whose header has no comma but semicolons or tabs is read by those
    """
    lines = text.split("\n")
    header_line = next((i for i, line in enumerate(lines) if line.strip()), None)
    if header_line is None:
        return
    quoting = csv.QUOTE_MINIMAL
    if delimiter == "\t":
        quoting = _tsv_quoting(lines)
    elif "," not in lines[header_line]:
        delimiter = max(",;\t", key=lines[header_line].count)
    header: list[str] = []
    for line, values in _records(lines, path, delimiter, quoting):
        if isinstance(values, Problem):
            yield values
        elif not header:
            header = [name.strip() or f"column {i}" for i, name in enumerate(values, 1)]
            twice = {name for name in header if header.count(name) > 1} if len(set(header)) < len(header) else set()
            if twice:
                header = [f"{name} {i}" if name in twice else name for i, name in enumerate(header, 1)]
        elif len(values) != len(header) and (len(values) < len(header) or any(values[len(header) :])):
            yield Problem(path, line, f"{len(values)} fields where the header has {len(header)}; the row is left out.")
        else:
            yield Row(line, dict(zip(header, values, strict=False)), _places(line, header, values))


def jsonl_rows(text: str, path: str) -> Iterator[Row | Problem]:
    """One object per line; lines that hold none are Problems, blank ones are passed over."""
    begin = 0
    number = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        number += 1
        line = text[begin:end]
        begin = end + 1
        if line.strip():
            yield from _json_line(line, number, path)


def json_rows(text: str, path: str, text_columns: Sequence[str] = NAMED_TEXT) -> Iterator[Row | Problem]:
    """The objects of a list, or of the lists inside objects, which hand down their own values; texts are rows too.

    text_columns: an object that has one of these is a row, even if lists of further objects lie inside
    A file of one object per line is read as that, whatever its name.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from jsonl_rows(text, path)
        else:
            yield Problem(path, error.lineno, f"It is no JSON: {error.msg}.")
        return
    except (RecursionError, ValueError) as error:      # nested a thousand deep; a number of thousands of digits
        yield Problem(path, None, f"Its JSON cannot be read: {error}.")
        return
    place = _Place(text)
    n_rows = n_odd = 0
    for values in _objects(value, frozenset(text_columns)):
        n_rows += 1
        if values is None:
            n_odd += 1
        else:
            yield from _mended(Row(place.line_of(values, text_columns), values), path, text)
    if n_odd:
        yield Problem(path, None, f"{n_odd:,} of {n_rows:,} entries are neither objects nor texts.")
    elif not n_rows:
        yield Problem(path, None, "It holds no list of objects or texts.")


def bounded(rows: Iterator[Row | Problem], path: str) -> Iterator[Row | Problem]:
    """The same, with a number in place of Problems beyond a hundred."""
    n_problems = 0
    for row in rows:
        if isinstance(row, Problem):
            n_problems += 1
            if n_problems > MAX_PROBLEMS:
                continue
        yield row
    if n_problems > MAX_PROBLEMS:
        yield Problem(path, None, f"{n_problems - MAX_PROBLEMS:,} more rows could not be read.")


def _tsv_quoting(lines: list[str]) -> Any:
    """Whether quotes in a TSV mean quoting: only if all of the file is lawful that way. By its standard they do not."""
    if not any('"' in line for line in lines):
        return csv.QUOTE_NONE
    try:
        with _wide_fields():
            for _ in csv.reader((line + "\n" for line in lines), delimiter="\t", strict=True):
                pass
    except csv.Error:
        return csv.QUOTE_NONE
    return csv.QUOTE_MINIMAL


def _records(lines: list[str], path: str, delimiter: str, quoting: Any) -> Iterator[tuple[int, Any]]:
    """(line, values or Problem) of each record that is not blank; goes on after a quote that is never closed."""
    start = 0
    while start < len(lines):
        reader = csv.reader((line + "\n" for line in lines[start:]), delimiter=delimiter, quoting=quoting)
        line = begun = start + 1
        resume = len(lines)
        while True:
            try:
                with _wide_fields():
                    values = next(reader, None)
            except csv.Error as error:
                yield line, Problem(path, line, f"It is no CSV: {error}.")
                values = []
            if values is None:
                break
            begun, line = line, start + reader.line_num + 1
            if line > len(lines) and values and values[-1].endswith("\n") and _odd_quotes(lines[begun - 1 :]):
                yield begun, Problem(path, begun, "A quote opens in this row and is never closed; the row is left out.")
                resume = begun
                break
            if values:
                yield begun, values
        start = resume


def _odd_quotes(lines: list[str]) -> bool:
    return sum(line.count('"') for line in lines) % 2 == 1


class _wide_fields:
    """Lets csv take fields of any length; its limit is the whole process's, so it is put back at once."""

    def __enter__(self) -> None:
        self._limit = csv.field_size_limit(sys.maxsize)

    def __exit__(self, *_: object) -> None:
        csv.field_size_limit(self._limit)


def _places(line: int, header: list[str], values: list[str]) -> dict[str, int]:
    """The line of each value that does not begin on the row's own: quoted values may hold line breaks."""
    places: dict[str, int] = {}
    n_breaks = 0
    for name, value in zip(header, values, strict=False):
        if n_breaks:
            places[name] = line + n_breaks
        n_breaks += value.count("\n")
    return places


def _json_line(line: str, number: int, path: str) -> Iterator[Row | Problem]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        yield Problem(path, number, f"It is no JSON: {error.msg} at character {error.pos + 1}.")
        return
    except (RecursionError, ValueError) as error:
        yield Problem(path, number, f"Its JSON cannot be read: {error}.")
        return
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        yield Problem(path, number, f"It holds {type(value).__name__} {value!r:.40}, not an object.")
        return
    yield from _mended(Row(number, value), path, line)


def _mended(row: Row, path: str, raw: str) -> Iterator[Row | Problem]:
    """The row without halves of surrogate pairs, which no file and no database can hold."""
    if "\\ud" in raw or "\\uD" in raw:
        mended, n = _SURROGATE.subn("\ufffd", json.dumps(row.values, ensure_ascii=False))
        if n:
            yield Problem(path, row.line, f"{n:,} halves of surrogate pairs became U+FFFD.")
            row = row._replace(values=json.loads(mended))
    yield row


def _objects(value: Any, text_columns: frozenset[str]) -> Iterator[dict[str, Any] | None]:
    """The objects that are rows, in order; None for what is neither an object nor a text."""
    waiting: list[tuple[Any, dict[str, Any], bool]] = [(value, {}, True)]
    while waiting:
        item, inherited, outermost = waiting.pop()
        if isinstance(item, list) and (outermost or inherited):
            waiting.extend((entry, inherited, False) for entry in reversed(item))
        elif isinstance(item, str):
            yield {**inherited, "text": item}
        elif not isinstance(item, dict):
            yield None
        else:
            has_text = any(name in text_columns and is_text(inner) for name, inner in item.items())
            lists = [name for name, inner in item.items() if isinstance(inner, list) and _first_is_object(inner)]
            if len(lists) == 1 and not has_text:
                own = {name: inner for name, inner in item.items() if not isinstance(inner, list | dict | None)}
                waiting.extend((entry, {**inherited, **own}, False) for entry in reversed(item[lists[0]]))
            elif has_text or not outermost:
                yield {**inherited, **item}


def is_text(value: Any) -> bool:
    """Whether a value is a text or a list of them, such as the lines of a poem."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(inner, str) for inner in value)
    return isinstance(value, str)


def _first_is_object(values: list[Any]) -> bool:
    return bool(values) and isinstance(values[0], dict)


class _Place:
    """Finds the line of a JSON file where a row's text stands, by searching for the text from the row before on."""

    _PATIENCE = 5      # texts not found, written with other escapes, before it is not tried any more

    def __init__(self, text: str) -> None:
        self._text = text
        self._at, self._line, self._n_missed = 0, 1, 0

    def line_of(self, values: dict[str, Any], text_columns: Sequence[str]) -> int:
        """The line of the first text column, else of the first text."""
        texts = [values[name] for name in text_columns if is_text(values.get(name))]
        texts = texts or [value for value in values.values() if is_text(value)]
        if texts and self._n_missed < self._PATIENCE:
            sought = texts[0] if isinstance(texts[0], str) else texts[0][0]
            for ascii_only in (False, True):
                found = self._text.find(json.dumps(sought, ensure_ascii=ascii_only), self._at)
                if found >= 0:
                    self._line += self._text.count("\n", self._at, found)
                    self._at = found + 1
                    return self._line
            self._n_missed += 1
        return self._line
