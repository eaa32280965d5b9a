"""Rows to sources: which column is the text, which the name; the others are fields."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from qianru.errors import BadInput, UnknownName
from qianru.text.read.source import Problem, Source
from qianru.text.read.tables import NAMED_TEXT, Row, is_text
from qianru.types import Value

SAMPLE_ROWS = 1_000      # that are looked at before the columns are chosen


def row_sources(
    rows: Iterator[Row | Problem], path: str, text_columns: Sequence[str] | None, id_column: str | None
) -> Iterator[Source | Problem]:
    """A source for each row: the named text columns below one another, or the column that is the obvious one.

    Raises UnknownName for a column that the first thousand rows do not have, BadInput if no column holds text.
    """
    sample = list(islice(rows, SAMPLE_ROWS))
    seen = [row for row in sample if isinstance(row, Row)]
    if seen:
        known = list(dict.fromkeys(name for row in seen for name in row.values))
        for name in [*(text_columns or ()), *([id_column] if id_column else [])]:
            if name not in known:
                raise UnknownName(f"column in {path}", name, known)
        columns = tuple(text_columns) if text_columns else (obvious_column(seen, known, path),)
    for row in chain(sample, rows):
        if isinstance(row, Problem):
            yield row
        elif missing := [name for name in columns if name not in row.values]:
            yield Problem(path, row.line, f"It has no {' and no '.join(missing)}; the row is left out.")
        else:
            yield _source(row, path, columns, id_column)


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


def _source(row: Row, path: str, columns: tuple[str, ...], id_column: str | None) -> Source:
    texts = [_text_of(row.values[name]) for name in columns]
    text = "\n".join(texts)
    fields = {name: held for name, value in row.values.items()
              if name not in columns and (held := field_value(value)) is not None}
    line = row.places.get(columns[0], row.line)
    lines: tuple[int, ...] = ()
    if "\n" in text:
        if row.places or path.lower().removesuffix(".gz").endswith(("csv", "tsv", "tab")):
            begins = [row.places.get(name, row.line) for name in columns]
            spans = zip(begins, texts, strict=True)
            lines = tuple(begin + i for begin, own in spans for i in range(own.count("\n") + 1))
        else:
            lines = (line,)
    own_id = _text_of(row.values.get(id_column)) if id_column else ""
    return Source(path, text, line, fields, (), lines, own_id, columns)


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
