"""Every index under one contract: a new one is a line in FACTORIES."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from poems import POEMS

from qianru.index.base import Index
from qianru.index.collection import Collection
from qianru.index.engine import EngineIndex
from qianru.index.exact import ExactIndex
from qianru.types import Kind

Make = Callable[..., Index]
FACTORIES: dict[str, Callable[[Path, Sequence[Kind], int], Index]] = {
    "exact": lambda _, kinds, dim: ExactIndex(kinds, dim),
    "engine": lambda path, kinds, dim: EngineIndex.create(path, kinds, dim),
}


@pytest.fixture(params=FACTORIES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """make(kinds, dim) gives a new, empty index."""
    made: list[Index] = []

    def make_one(kinds: Sequence[Kind] = ("dense", "sparse"), dim: int = 2) -> Index:
        made.append(FACTORIES[request.param](tmp_path / f"index{len(made)}", kinds, dim))
        return made[-1]

    yield make_one
    for index in made:
        index.close()


@pytest.fixture
def index(make: Make) -> Index:
    """An empty index of dense vectors of 2 dimensions and sparse vectors."""
    return make()


@pytest.fixture
def poems(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "poems", "bm25") as collection:
        collection.add(POEMS)
        yield collection
