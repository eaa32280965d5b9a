"""Every index under one contract: a new one is a line in FACTORIES."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from clusters import QDRANT_URL, in_memory, on_server
from poems import POEMS

from qianru.index.base import Index
from qianru.index.cluster import ClusterIndex
from qianru.index.collection import Collection
from qianru.index.engine import EngineIndex
from qianru.index.exact import ExactIndex
from qianru.types import Kind

Make = Callable[..., Index]
FACTORIES: dict[str, Callable[[Path, Sequence[Kind], int], Index]] = {
    "exact": lambda _, kinds, dim: ExactIndex(kinds, dim),
    "engine": lambda path, kinds, dim: EngineIndex.create(path, kinds, dim),
    "cluster": lambda _, kinds, dim: ClusterIndex.create(in_memory(), "index", kinds, dim),
    "server": lambda path, kinds, dim: ClusterIndex.create(on_server(), str(path.parent.name + path.name), kinds, dim),
}
PARAMS = [pytest.param(name, marks=[pytest.mark.cluster] if name == "server" else []) for name in FACTORIES
          if name != "server" or QDRANT_URL]


@pytest.fixture(params=PARAMS)
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
