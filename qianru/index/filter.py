"""Conditions on the fields of documents, in Python or as text, with one meaning for every index.

    field("path").startswith("民法典/") & ((field("year") >= 2020) | field("lang").isin(["zh", "en"]))
    path ^= "民法典/" and (year >= 2020 or lang in ("zh", "en")) and not draft = true

A field that is a list passes a condition if any of its elements does. A missing field passes none, so `not` of a
condition passes documents without the field. Numbers compare by value whether whole or not, NaN with nothing; true and
false are no numbers. `<`, `<=`, `>`, `>=` order numbers, and texts by code point, which puts ISO dates in order.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from qianru.errors import BadInput
from qianru.types import Value

Scalar: TypeAlias = str | int | float | bool

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}
KEYWORDS = {"and", "or", "not", "in", "true", "false"}
BARE_NAME = re.compile(r"[^\W\d](?:[\w.-]*\w)?")


class Filter:
    """A condition on a document's fields; made by `field` or `Filter.parse`, joined by `&`, `|` and `~`.

    >>> where = (field("year") >= 2020) & ~(field("lang") == "en")
    >>> where.matches({"year": 2021, "lang": ["zh", "de"]}), where.matches({"lang": "zh"})
    (True, False)
    >>> print(where)
    year >= 2020 and lang != "en"
    """

    __slots__ = ()

    @staticmethod
    def parse(text: str) -> Filter:
        """The filter that a text describes; str(filter) is such a text. Raises BadInput that points at the place.

        >>> Filter.parse("year >= 2020 and not draft = true")
        And(parts=(Compare(name='year', order='>=', bound=2020), Not(part=OneOf(name='draft', values=(True,)))))
        """
        from qianru.index.filter_text import Parser  # it is made of filters, so it stands above

        return Parser(text).whole()

    def matches(self, fields: Mapping[str, Value]) -> bool:
        """Whether a document with these fields passes. This is the meaning of filters; every index must agree."""
        raise NotImplementedError

    def __and__(self, other: Filter) -> Filter:
        return And(tuple(part for side in (self, other) for part in (side.parts if isinstance(side, And) else (side,))))

    def __or__(self, other: Filter) -> Filter:
        return Or(tuple(part for side in (self, other) for part in (side.parts if isinstance(side, Or) else (side,))))

    def __invert__(self) -> Filter:
        return self.part if isinstance(self, Not) else Not(self)

    def __bool__(self) -> NoReturn:
        raise BadInput("A filter is neither true nor false. Join filters with & | ~ and brackets, not by and, or, not.")


@dataclass(frozen=True, slots=True)
class OneOf(Filter):
    """The field equals one of the values."""

    name: str
    values: tuple[Scalar, ...]

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return any(_same(element, value) for element in elements(fields, self.name) for value in self.values)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"{_name(self.name)} = {_literal(self.values[0])}"
        return f"{_name(self.name)} in ({', '.join(map(_literal, self.values))})"


@dataclass(frozen=True, slots=True)
class Compare(Filter):
    """The field lies on one side of a number or text; order is one of < <= > >=."""

    name: str
    order: str
    bound: str | int | float

    def matches(self, fields: Mapping[str, Value]) -> bool:
        compare = ORDERS[self.order]
        return any(_comparable(element, self.bound) and compare(element, self.bound)
                   for element in elements(fields, self.name))

    def __str__(self) -> str:
        return f"{_name(self.name)} {self.order} {_literal(self.bound)}"


@dataclass(frozen=True, slots=True)
class Prefix(Filter):
    """The field is a text that starts with another."""

    name: str
    prefix: str

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return any(isinstance(e, str) and e.startswith(self.prefix) for e in elements(fields, self.name))

    def __str__(self) -> str:
        return f"{_name(self.name)} ^= {_literal(self.prefix)}"


@dataclass(frozen=True, slots=True)
class And(Filter):
    """All of at least two parts."""

    parts: tuple[Filter, ...]

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return all(part.matches(fields) for part in self.parts)

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """Any of at least two parts."""

    parts: tuple[Filter, ...]

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return any(part.matches(fields) for part in self.parts)

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """What the part does not pass."""

    part: Filter

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return not self.part.matches(fields)

    def __str__(self) -> str:
        if isinstance(self.part, OneOf):
            if len(self.part.values) == 1:
                return f"{_name(self.part.name)} != {_literal(self.part.values[0])}"
            return f"{_name(self.part.name)} not in ({', '.join(map(_literal, self.part.values))})"
        return f"not ({self.part})" if isinstance(self.part, And | Or) else f"not {self.part}"


class Field:
    """A field's name, ready to be compared."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]    # == makes a filter, so a Field is no key

    def __init__(self, name: str) -> None:
        self.name = _checked_name(name)

    def __eq__(self, value: Scalar) -> Filter:  # type: ignore[override]
        return OneOf(self.name, (_scalar(self.name, value),))

    def __ne__(self, value: Scalar) -> Filter:  # type: ignore[override]
        return Not(OneOf(self.name, (_scalar(self.name, value),)))

    def __lt__(self, bound: str | float) -> Filter:
        return Compare(self.name, "<", _bound(self.name, bound))

    def __le__(self, bound: str | float) -> Filter:
        return Compare(self.name, "<=", _bound(self.name, bound))

    def __gt__(self, bound: str | float) -> Filter:
        return Compare(self.name, ">", _bound(self.name, bound))

    def __ge__(self, bound: str | float) -> Filter:
        return Compare(self.name, ">=", _bound(self.name, bound))

    def isin(self, values: Iterable[Scalar]) -> Filter:
        """The field equals one of the values; no values, no match."""
        if isinstance(values, str):
            raise BadInput(f"isin takes a list of values, not one text: its letters count. Write [{values!r}].")
        return OneOf(self.name, tuple(_scalar(self.name, value) for value in values))

    def startswith(self, prefix: str) -> Filter:
        """The field is a text that starts with the prefix."""
        if not isinstance(prefix, str):
            raise BadInput(f"Field {self.name!r} can start with a text, not with {prefix!r}.")
        return Prefix(self.name, str(_scalar(self.name, prefix)))


def field(name: str) -> Field:
    """A field to be compared: == != < <= > >=, isin, startswith.

    >>> print(field("path").startswith("民法典/") | field("lang").isin(["zh", "en"]))
    path ^= "民法典/" or lang in ("zh", "en")
    """
    return Field(name)


def field_names(condition: Filter) -> set[str]:
    """The fields that the condition looks at.

    >>> sorted(field_names(Filter.parse('path ^= "民法典/" and not line > 100')))
    ['line', 'path']
    """
    if isinstance(condition, And | Or):
        return set().union(*map(field_names, condition.parts))
    if isinstance(condition, Not):
        return field_names(condition.part)
    assert isinstance(condition, OneOf | Compare | Prefix)
    return {condition.name}


def elements(fields: Mapping[str, Value], name: str) -> Iterable[Scalar]:
    """What a condition on the field looks at: the value, a list's elements, or nothing."""
    value = fields.get(name, ())
    return value if isinstance(value, list | tuple) else (value,)


def _same(a: Scalar, b: Scalar) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):      # Python's True == 1 is not ours
        return a is b
    return a == b


def _comparable(a: Scalar, b: Scalar) -> bool:
    return isinstance(a, str) == isinstance(b, str) and not isinstance(a, bool)


def _scalar(name: str, value: Any) -> Scalar:
    """The value, if a field can be compared with it."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()                            # NumPy's numbers
    if not isinstance(value, str | int | float):
        raise BadInput(f"Field {name!r} can be compared with a text, number, true or false, not with {value!r:.60}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"Field {name!r} cannot be compared with {value}, which is not a finite number.")
    return encodable(value) if isinstance(value, str) else value


def _bound(name: str, value: Any) -> str | int | float:
    bound = _scalar(name, value)
    if isinstance(bound, bool):
        raise BadInput(f"true and false have no order; ask for {name} = {_literal(bound)} instead.")
    return bound


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise BadInput(f"A field's name is a text that is not empty, not {name!r}.")
    return encodable(name)


def encodable(text: str) -> str:
    """The text, if it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"A filter's text holds half a character (a lone surrogate): {text!r:.60}.") from None
    return text


def _name(name: str) -> str:
    if BARE_NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return "`" + name.replace("`", "``") + "`"


def _literal(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
