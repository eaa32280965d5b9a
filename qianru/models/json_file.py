"""JSON objects of other programs, read with every value checked: its presence, its type, its range."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qianru.errors import BadFile, SpecMismatch

LARGEST = 1 << 26   # bytes; a tokenizer.json of 250,000 tokens has 17 million


@dataclass(frozen=True, slots=True)
class JsonFile:
    """The values of an object, and where they stand, for messages."""

    path: Path | str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> JsonFile:
        """BadFile if it cannot be read or is not JSON, SpecMismatch if it is JSON but no object."""
        values = read_json(path)
        if not isinstance(values, dict):
            raise SpecMismatch(f"{path} must hold an object, not {type(values).__name__}.")
        return cls(path, values)

    @classmethod
    def read_if_there(cls, path: Path) -> JsonFile:
        """An empty object if there is no such file."""
        return cls.read(path) if path.is_file() else cls(path, {})

    def whole(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number of at least `least`."""
        value = self._get(name, default)
        if type(value) is not int or not least <= value < 1 << 40:
            raise self._wrong(name, f"a whole number of at least {least}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(name, default)
        if type(value) not in (int, float) or abs(value) > 1e300 or not math.isfinite(value):
            raise self._wrong(name, "a number")
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """true or false."""
        value = self._get(name, default)
        if type(value) is not bool:
            raise self._wrong(name, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text."""
        value = self._get(name, default)
        if type(value) is not str:
            raise self._wrong(name, "a text")
        return value

    def mapping(self, name: str, default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """An object."""
        value = self._get(name, default)
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return value

    def has(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self.values.get(name) is not None

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def _wrong(self, name: str, wanted: str) -> SpecMismatch:
        return SpecMismatch(f"{self.path} needs '{name}' to be {wanted}; it is {self.values.get(name)!r:.60}.")


def read_json(path: Path) -> Any:
    """What the file says."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadFile(f"{path} has {path.stat().st_size} bytes, too many for settings. Is it the right file?")
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read: {error.strerror or error}. Download the folder again.") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON: {error}. Download the file again.") from error


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON knows")
