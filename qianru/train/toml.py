"""Frozen dataclasses as TOML and back, every key checked."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from qianru.errors import BadFile, BadInput, UnknownName

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """BadFile if it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise BadFile(f"{path} is not TOML: {error}.") from error


def from_mapping(kind: type[T], values: Mapping[str, Any], place: str) -> T:
    """The dataclass of these values; UnknownName for a key that it does not have, BadInput for a value of another type.

    place: where the values stand, for messages
    """
    hints = get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise UnknownName("setting", name, hints, f"in {place}")
    missing = [f.name for f in fields(kind)  # type: ignore[arg-type]
               if f.name not in values and str(f.default) == str(f.default_factory)]
    if missing:
        raise BadInput(f"{place} lacks the setting '{missing[0]}'.")
    return kind(**{name: _read(hints[name], value, f"{place}, {name}") for name, value in values.items()})


def to_toml(values: Any) -> str:
    """The settings of a dataclass; those that are None are left out. Tables stand last, as TOML wants them."""
    return "\n".join(_lines(values, "")) + "\n"


def _lines(values: Any, prefix: str) -> list[str]:
    plain: list[str] = []
    tables: list[str] = []
    for f in fields(values):
        value = getattr(values, f.name)
        if value is None or (isinstance(value, Mapping) and not value):
            continue
        if is_dataclass(value):
            tables += ["", f"[{prefix}{f.name}]", *_lines(value, f"{prefix}{f.name}.")]
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            for one in value:
                tables += ["", f"[[{prefix}{f.name}]]", *_lines(one, f"{prefix}{f.name}.")]
        else:
            plain.append(f"{f.name} = {_value(value)}")
    return plain + tables


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def _read(hint: Any, value: Any, place: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        hint = next(one for one in inner if one is not type(None))
        return _read(hint, value, place)
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise BadInput(f"{place} must be a table; it is {value!r:.60}.")
        return from_mapping(hint, value, place)   # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise BadInput(f"{place} must be a list; it is {value!r:.60}.")
        return tuple(_read(inner[0], one, place) for one in value)
    if origin is Literal:
        if value not in inner:
            raise UnknownName("choice", str(value), map(str, inner), f"for {place}")
        return value
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise BadInput(f"{place} must be a table; it is {value!r:.60}.")
        return {str(k): str(v) for k, v in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise BadInput(f"{place} must be {hint.__name__}; it is {value!r:.60}.")
    return value
