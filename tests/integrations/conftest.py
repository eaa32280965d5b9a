"""Collections and models for the bridges to LangChain, LlamaIndex and Haystack; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from letters import POEMS, letters

from qianru.index.collection import Collection
from qianru.models.static import StaticModel


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Not even looked into where they are not asked for: importing the three frameworks takes seconds."""
    return True if "not integrations" in config.getoption("markexpr") and collection_path.suffix == ".py" else None


@pytest.fixture(scope="session")
def model() -> StaticModel:
    """Dense vectors of 16 dimensions."""
    return letters()


@pytest.fixture
def empty(model: StaticModel, tmp_path: Path) -> Iterator[Collection]:
    """An empty collection with dense vectors."""
    with Collection.create(tmp_path / "library", model) as collection:
        yield collection


@pytest.fixture
def poems(empty: Collection) -> Collection:
    """Three poems by three authors."""
    empty.add(POEMS)
    return empty
