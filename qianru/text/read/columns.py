"""Rows to sources: which column is the text, which the name; the others are fields."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from qianru.errors import BadInput, UnknownName
from qianru.text.read.source import Problem, Source
from qianru.text.read.tables import NAMED_TEXT, Row, is_text
from qianru.types import Value

SAMPLE_ROWS = 1_000      # that are looked at before the columns are chosen
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")      # not 007, which is a name
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")


def row_sources(
    rows: Iterator[Row | Problem], path: str, text_columns: Sequence[str] | None, id_column: str | None
) -> Iterator[Source | Problem]:
    """A source for each row: the named text columns below one another, or the column that is the obvious one.

    In CSV and TSV the values of a column that holds nothing but numbers are numbers.
    Raises UnknownName for a column that the first thousand rows do not have, BadInput if no column holds text.
    """
    sample = list(islice(rows, SAMPLE_ROWS))
    seen = [row for row in sample if isinstance(row, Row)]
    if not seen:      # all of the table: only a hundred Problems of a file are told one by one
        yield from (row for row in sample if isinstance(row, Problem))
        return
    known = list(dict.fromkeys(name for row in seen for name in row.values))
    for name in [*(text_columns or ()), *([id_column] if id_column else [])]:
        if name not in known:
            raise UnknownName("column", name, known, f"in {path}")
    columns = tuple(text_columns) if text_columns else (obvious_column(seen, known, path),)
    numeric = frozenset(name for name in known if _holds_numbers(name, seen))
    for row in chain(sample, rows):
        if isinstance(row, Problem):
            yield row
        elif missing := [name for name in columns if name not in row.values]:
            yield Problem(path, row.line, f"It has no {' and no '.join(missing)}; the row is left out.")
        else:
            yield _source(row, path, columns, id_column, numeric)


def obvious_column(rows: Sequence[Row], known: Sequence[str], path: str) -> str:
    """The column with a name such as text, content or 正文, else the one with the longest texts."""
    means: dict[str, float] = {}
    for name in known:
        values = [row.values[name] for row in rows if row.values.get(name) is not None]
        if values and all(is_text(value) for value in values):
            texts = [_text_of(value) for value in values]
            if not all(_is_number(text) for text in texts):
                means[name] = sum(map(len, texts)) / len(texts)
    for wanted in NAMED_TEXT:
        for name in means:
            if name.strip().lower() == wanted:
                return name
    if not means:
        raise BadInput(f"{path} has no column of texts among {', '.join(known)}. Name the columns that hold the text.")
    return max(means, key=lambda name: means[name])


def field_value(value: Any) -> Value | None:
    """What a collection can hold: text, numbers, yes and no, lists of one of these; anything nested as JSON.

    >>> field_value({"作者": "杜甫"}), field_value(float("nan")), field_value([1, 2.5]), field_value(None)
    ('{"作者": "杜甫"}', 'nan', [1.0, 2.5], None)
    """
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list):
        if all(isinstance(v, str) for v in value):
            return value
        if all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value):
            whole = all(isinstance(v, int) for v in value)
            return value if whole else [float(v) for v in value]
    return json.dumps(value, ensure_ascii=False)


def _source(
    row: Row, path: str, columns: tuple[str, ...], id_column: str | None, numeric: frozenset[str]
) -> Source:
    texts = [_text_of(row.values[name]) for name in columns]
    text = "\n".join(texts)
    fields: dict[str, Value] = {}
    for name, value in row.values.items():
        held = _number(value) if name in numeric else field_value(value)
        if held is not None and name not in columns:
            fields[name] = held
    places = row.places or {}
    lines: tuple[int, ...] = ()
    if "\n" in text and row.places is None:
        lines = (row.line,)
    elif "\n" in text:
        begins = zip((places.get(name, row.line) for name in columns), texts, strict=True)
        lines = tuple(begin + i for begin, own in begins for i in range(own.count("\n") + 1))
    own_id = _text_of(row.values.get(id_column)) if id_column else ""
    return Source(path, text, places.get(columns[0], row.line), fields, (), lines, own_id, columns,
                  row.values)


def _holds_numbers(name: str, rows: Sequence[Row]) -> bool:
    if rows[0].places is None:      # JSON says itself what is a number
        return False
    values = [value for row in rows if (value := row.values.get(name))]
    return bool(values) and all(_WHOLE.fullmatch(value) or _DECIMAL.fullmatch(value) for value in values)


def _number(text: str) -> Value | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text or None


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if is_text(value):
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True
