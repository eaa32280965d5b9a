"""Fields and filters in the engine's terms, such that it finds what Filter.matches says.

The engine's own comparison differs in places: it takes true for 1, has no order of texts, and rounds whole numbers
beyond 2**53. So texts, numbers and truth values are stored under keys of their own, and a filter is translated to a
condition that no passing document fails; where it may let others through, the caller checks these with the filter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from qianru.index.filter import And, Compare, Filter, Not, OneOf, Or, Prefix, Scalar
from qianru.types import Value

if TYPE_CHECKING:
    import qdrant_edge

EXACT = 2**53           # below it, every whole number is a float64
WHOLE = 2**63
TEXT, NUMBER, TRUTH = "t", "n", "b"


class Translation(NamedTuple):
    """condition: None lets everything through;  exact: whether it lets through only what passes the filter."""

    condition: qdrant_edge.Filter | qdrant_edge.FieldCondition | None
    exact: bool


def payload(fields: Mapping[str, Value]) -> dict[str, Any]:
    """The fields as the engine stores them: each value under its name and type."""
    stored: dict[str, Any] = {}
    for name, value in fields.items():
        for element in value if isinstance(value, list | tuple) else (value,):
            if isinstance(element, str):
                stored.setdefault(key_of(TEXT, name), []).append(element)
            elif isinstance(element, bool):
                stored.setdefault(key_of(TRUTH, name), []).append(int(element))
            else:
                stored.setdefault(key_of(NUMBER, name), []).append(whole_as_int(element))
    return stored


def field_index(key: str) -> Any:
    """What the engine should keep to find documents by this key without looking at each."""
    import qdrant_edge as engine

    if key[0] == TEXT:
        return engine.KeywordIndexParams(prefix=True)
    return engine.PayloadSchemaType.Float if key[0] == NUMBER else engine.PayloadSchemaType.Integer


def fields_of(stored: Mapping[str, Any]) -> dict[str, Value]:
    """Fields that pass the same filters as those that the payload was made of; every value is a list."""
    fields: dict[str, Any] = {}
    for key, values in stored.items():
        kind, name = key[0], key[2:] if key[1] == "_" else bytes.fromhex(key[2:]).decode()
        fields.setdefault(name, []).extend(map(bool, values) if kind == TRUTH else values)
    return fields


def translated(where: Filter) -> Translation:
    """The engine's condition for the filter."""
    import qdrant_edge as engine

    if isinstance(where, And | Or):
        parts = [translated(part) for part in where.parts]
        known: list[Any] = [part.condition for part in parts if part.condition is not None]
        exact = all(part.exact for part in parts)
        if isinstance(where, And):
            return Translation(engine.Filter(must=known) if known else None, exact)
        return Translation(engine.Filter(should=known), exact) if len(known) == len(parts) else Translation(None, False)
    if isinstance(where, Not):
        inner = translated(where.part)
        # what is let through too much inside would be kept out here
        known = [inner.condition] if inner.exact else []
        return Translation(engine.Filter(must_not=known), True) if known else Translation(None, False)
    if isinstance(where, Prefix):
        return Translation(
            engine.FieldCondition(key_of(TEXT, where.name), match=engine.MatchPrefix(where.prefix)), True)
    if isinstance(where, Compare):
        if isinstance(where.bound, str) or not abs(where.bound) < EXACT:
            return Translation(None, False)
        side = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[where.order]
        bounds = engine.RangeFloat(**{side: float(where.bound)})
        return Translation(engine.FieldCondition(key_of(NUMBER, where.name), range=bounds), True)
    if isinstance(where, OneOf):
        return _one_of(where.name, where.values)
    raise TypeError(f"{type(where).__name__} is a filter that the engine's translation does not know.")


def _one_of(name: str, values: tuple[Scalar, ...]) -> Translation:
    import qdrant_edge as engine

    texts: list[str] = []
    truths: list[int] = []
    wholes: list[int] = []
    conditions: list[Any] = []
    for value in values:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, bool):
            truths.append(int(value))
        elif isinstance(number := whole_as_int(value), int) and abs(number) >= EXACT:
            if not -WHOLE <= number < WHOLE:
                return Translation(None, False)
            wholes.append(number)
        elif abs(number) < EXACT:
            bounds = engine.RangeFloat(gte=number, lte=number)      # unlike a match, helped by the field's index
            conditions.append(engine.FieldCondition(key_of(NUMBER, name), range=bounds))
        else:
            return Translation(None, False)
    for kind, wanted in ((TEXT, texts), (TRUTH, truths), (NUMBER, wholes)):
        if wanted:
            conditions.append(engine.FieldCondition(key_of(kind, name), match=engine.MatchAny(wanted)))
    if not conditions:
        return Translation(engine.Filter(must=[engine.HasIdCondition(set())]), True)
    return Translation(conditions[0] if len(conditions) == 1 else engine.Filter(should=conditions), True)


def whole_as_int(value: int | float) -> int | float:
    """A whole number as int, so that 2 and 2.0 are stored alike."""
    return int(value) if isinstance(value, float) and value.is_integer() and -WHOLE <= value < WHOLE else value


def key_of(kind: str, name: str) -> str:
    """A key that is no path into nested objects, whatever the name."""
    return f"{kind}_{name}" if _PLAIN.fullmatch(name) else f"{kind}x{name.encode().hex()}"


_PLAIN = re.compile(r"[A-Za-z0-9_]+")
