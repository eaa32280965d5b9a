"""One thread at a time in a collection, never a closed one, and for a reader all of one moment."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from qianru.index.readable import Readable

C = TypeVar("C", bound="Readable")
P = ParamSpec("P")
R = TypeVar("R")


def guarded(method: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
    """The method, let in when no other thread is inside."""

    @wraps(method)
    def alone(self: C, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.entered():
            return method(self, *args, **kwargs)

    return alone  # type: ignore[return-value]   # mypy asks for a positional-only self

