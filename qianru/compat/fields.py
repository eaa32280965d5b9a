"""Metadata of other frameworks as fields of documents and back, and their filters as ours.

A field holds text, a number, true or false, or a list of these. What else JSON can say (a mapping, null, lists within
lists) is kept as JSON in a field "json:NAME", so that it comes back as it was; filters do not see inside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

from qianru.errors import BadInput, UnknownName
from qianru.index.filter import Filter, field
from qianru.types import Value

JSON = "json:"
SIGNS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "starts with")


def to_fields(metadata: Mapping[str, Any], whose: str) -> dict[str, Value]:
    """The metadata as fields. Raises BadInput, naming the document, for what JSON cannot say.

    >>> to_fields({"year": 2024, "tags": ["诗", "唐"], "author": {"name": "李白"}}, "静夜思")
    {'year': 2024, 'tags': ['诗', '唐'], 'json:author': '{"name": "李白"}'}
    """
    fields: dict[str, Value] = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not name:
            raise BadInput(f"The metadata of {whose} names a value {name!r:.60}; a name is a text that is not empty.")
        if _is_plain(value) and not name.startswith(JSON):
            fields[name] = value
            continue
        try:
            fields[JSON + name] = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInput(f"The metadata {name!r} of {whose} is neither a field nor JSON: {value!r:.60} ({error}). "
                           "Make it a text, a number, or a list or mapping of these.") from None
    return fields


def from_fields(fields: Mapping[str, Value]) -> dict[str, Any]:
    """The metadata that the fields were made of.

    >>> from_fields({"year": 2024, "json:author": '{"name": "李白"}'})
    {'year': 2024, 'author': {'name': '李白'}}
    """
    return {name.removeprefix(JSON): json.loads(value) if name.startswith(JSON) and isinstance(value, str) else value
            for name, value in fields.items()}


def compared(name: str, sign: str, value: Any) -> Filter:
    """The field against the value; sign is one of SIGNS.

    >>> print(compared("year", ">=", 2020), "|", compared("lang", "not in", ["zh", "en"]))
    year >= 2020 | lang not in ("zh", "en")
    """
    one = field(name)
    condition: Filter
    if sign in ("in", "not in"):
        if not isinstance(value, list | tuple | set | frozenset):
            raise BadInput(f"'{sign}' compares {name} with a list of values, not with {value!r:.60}.")
        return one.isin(list(value)) if sign == "in" else ~one.isin(list(value))
    if sign == "starts with":
        return one.startswith(value)
    if sign == "==":
        condition = one == value
        return condition
    if sign == "!=":
        condition = one != value
        return condition
    orders = {"<": one.__lt__, "<=": one.__le__, ">": one.__gt__, ">=": one.__ge__}
    if sign not in orders:
        raise UnknownName("comparison", sign, SIGNS)
    return orders[sign](value)


def joined(how: str, parts: Sequence[Filter]) -> Filter:
    """All or any of the parts ("and", "or"), or none of them ("not"). Raises BadInput where there are none.

    >>> print(joined("not", [field("year") > 2020, field("draft") == True]))
    not (year > 2020 or draft = true)
    """
    if not parts:
        raise BadInput(f"'{how}' joins conditions, and there are none in it.")
    if how not in ("and", "or", "not"):
        raise UnknownName("way to join conditions", how, ["and", "or", "not"])
    return reduce(and_, parts) if how == "and" else reduce(or_, parts) if how == "or" else ~reduce(or_, parts)


def _is_plain(value: Any) -> bool:
    """Whether a field can hold it."""
    if isinstance(value, list):
        return all(map(_is_scalar, value))
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)
