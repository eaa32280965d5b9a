"""Small models in the real layouts, for the adapters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS / "models"))      # checkpoints.py, which the reference environment reads as well

from checkpoints import build  # noqa: E402


@pytest.fixture(scope="session")
def folders(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Layout -> folder."""
    return {name: build(name, tmp_path_factory.mktemp(name), data) for name in ("bge-m3", "bge-zh", "m3e", "gte")}


@pytest.fixture(scope="session")
def goldens() -> Any:
    """What the references made of the same folders."""
    return np.load(TESTS / "goldens" / "encoders.npz")
