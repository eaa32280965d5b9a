"""Numbers and dates, also those written as texts, as numbers that stand in their order."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from qianru.errors import BadInput

_YEAR_FIRST = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?[ T]?(?:(\d{1,2})(:\d\d.*))?", re.ASCII)


def moments(given: Sequence[Any], where: Callable[[int], str]) -> list[float]:
    """(n,) numbers in the order of the values: of numbers, or of dates with the year first.

    where: says of value i, from 0, where it stands, for errors
    Raises BadInput for what is neither, such as 1/2/2024, which is two dates, and for both kinds side by side.

    >>> moments(["9", 10], str), moments(["1970-1-15", "1970/01/2", "1970年1月1日 0:01"], str)
    ([9, 10], [1209600.0, 86400.0, 60.0])
    """
    taken = Moments()
    return [taken.take(value, where(i)) for i, value in enumerate(given)]


class Moments:
    """The same for values that come one after another; the first one says of what kind all are."""

    def __init__(self) -> None:
        self._first: tuple[str, Any, str] | None = None      # kind, value, where

    def take(self, value: Any, where: str) -> float:
        """The value as a number."""
        kind, number = _number(value) or _date(value) or ("", 0)
        if not kind:
            raise BadInput(f"{value!r:.40} ({where}) is neither a number nor a date that can be read in one way "
                           "alone. Write dates as 2024-01-31 or 2024-01-31 08:30, or give numbers.")
        if self._first is None:
            self._first = kind, value, where
        elif kind != self._first[0]:
            one, first, at = self._first
            raise BadInput(f"{first!r:.40} ({at}) is a {one} and {value!r:.40} ({where}) a {kind}; these have no "
                           "common order. Write all in one way.")
        return number


def _number(value: Any) -> tuple[str, float] | None:
    try:
        number = value.item() if isinstance(value, np.number) else value
        if isinstance(number, str):
            number = int(number) if number.isdecimal() else float(number)
        return ("number", number) if math.isfinite(number) else None      # whole ones stay exact, such as nanoseconds
    except (TypeError, ValueError, OverflowError):
        return None


def _date(value: Any) -> tuple[str, float] | None:
    if not isinstance(value, str):
        return None
    text = value.strip()
    if found := _YEAR_FIRST.fullmatch(text):
        year, month, day, hour, rest = found.groups(default="")
        text = f"{year}-{month:0>2}-{day:0>2}" + (f"T{hour:0>2}{rest}" if hour else "")
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    if read.tzinfo is None:
        return "date", read.replace(tzinfo=UTC).timestamp()
    return "date with a time zone", read.timestamp()
