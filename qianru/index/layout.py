"""Which vectors a collection stores and how exactly: decided once, when it is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, Self, TypeAlias, get_args

from qianru.errors import BadInput, UnknownName
from qianru.models.base import ModelSpec
from qianru.types import Kind

DensePrecision: TypeAlias = Literal["float32", "float16", "int8", "binary"]
MultiPrecision: TypeAlias = Literal["float16", "int8"]
STORED: tuple[Kind, ...] = ("dense", "sparse", "multi")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which vectors a collection stores and how exactly.

    kinds: a subset of what its model makes, None for all of it
    dense: of the vectors that the search engine looks through; whatever it is, the best are scored again in float32,
        which the database keeps. "int8" begins with the graph, see Collection.optimize.
    multi: of the token vectors, kept in the database: 2 bytes a number, or 1 and 4 a token
    """

    kinds: tuple[Kind, ...] | None = None
    dense: DensePrecision = "float32"
    multi: MultiPrecision = "float16"

    def __post_init__(self) -> None:
        for name, allowed in (("dense", DensePrecision), ("multi", MultiPrecision)):
            if getattr(self, name) not in get_args(allowed):
                raise UnknownName(f"precision of {name} vectors", str(getattr(self, name)), get_args(allowed))
        if isinstance(self.kinds, str):
            raise BadInput(f"kinds is a list of kinds of vectors. Write [{self.kinds!r}].")
        if self.kinds is not None:
            object.__setattr__(self, "kinds", tuple(self.kinds))

    def of(self, spec: ModelSpec) -> Self:
        """The same with the kinds named. Raises BadInput for those that the model cannot make."""
        able = [kind for kind in STORED if kind in spec.kinds]
        asked: Sequence[Kind] = able if self.kinds is None else self.kinds
        missing = [kind for kind in asked if kind not in able]
        if missing or not asked:
            raise BadInput(f"{spec.name} makes {' and '.join(spec.kinds)} vectors; a collection of it stores some of "
                           f"{', '.join(able) or 'none'}, not {', '.join(map(str, missing)) or 'nothing'}.")
        return replace(self, kinds=tuple(kind for kind in able if kind in asked))

    def to_json(self) -> str:
        """As a collection keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, written: str | None, spec: ModelSpec) -> Self:
        """As it was kept; what collections did before there were layouts, where nothing was."""
        if written is None:
            return cls(kinds=tuple(kind for kind in spec.kinds if kind in ("dense", "sparse")))
        return cls(**json.loads(written))
