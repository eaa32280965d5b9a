"""Small models to be trained, from the checkpoints of tests/models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / "models"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny BERT with mean pooling."""
    from checkpoints import tiny

    return tiny(tmp_path / "tiny", hidden_dropout_prob=0.1)


@pytest.fixture
def model(folder: Path) -> Any:
    """The same, loaded to be trained."""
    pytest.importorskip("torch")
    from qianru.models.transformer import Transformer
    from qianru.runtime.options import Runtime

    return Transformer.load(folder, Runtime(precision="float32", threads=1), packed=False)


@pytest.fixture
def m3(tmp_path: Path) -> Any:
    """A tiny BERT with BGE-M3's heads."""
    pytest.importorskip("torch")
    from checkpoints import tiny, write_bin, write_modules

    from qianru.models.transformer import Transformer
    from qianru.runtime.options import Runtime

    folder, rng = tiny(tmp_path / "m3"), np.random.default_rng(4)
    for name, n_out in (("sparse_linear", 1), ("colbert_linear", 16)):
        write_bin(folder / f"{name}.pt", {"weight": rng.standard_normal((n_out, 32), np.float32) / 4,
                                          "bias": rng.standard_normal(n_out, np.float32) / 4})
    write_modules(folder, "Transformer", "Pooling", "Normalize", pooling="cls", size=32)
    return Transformer.load(folder, Runtime(precision="float32", threads=1), packed=False)
