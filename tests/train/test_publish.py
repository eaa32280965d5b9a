"""The folder that comes out: the same model, in the layout that others read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import LAYOUTS, TEXTS, build  # noqa: E402
from decoder_checkpoints import tiny_decoder  # noqa: E402

import qianru  # noqa: E402
from qianru.errors import StorageFailed  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.train.publish import publish  # noqa: E402

EXACT = Runtime(precision="float32", threads=1)


def assert_same_vectors(one: Any, other: Any) -> None:
    assert one.spec.kinds == other.spec.kinds
    assert one.spec.max_tokens == other.spec.max_tokens
    for role in ("query", "document"):
        ours, theirs = one.encode(TEXTS, role=role), other.encode(TEXTS, role=role)
        np.testing.assert_allclose(ours.dense, theirs.dense, atol=1e-6)
        if ours.sparse is not None:
            np.testing.assert_allclose(ours.sparse.to_dense(), theirs.sparse.to_dense(), atol=1e-6)
            np.testing.assert_allclose(ours.multi.data, theirs.multi.data, atol=1e-6)


SLOW = ("multilingual-e5", "gte")   # parts of the others: the tokenizer of bge-m3, the layout of bge-zh


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in LAYOUTS])
def test_a_published_model_makes_the_vectors_of_the_one_in_memory(name: str, tmp_path: Path, data: Path) -> None:
    from qianru.models.recipe import Known

    source = build(name, tmp_path / "source", data)
    model = Transformer.load(source, EXACT, packed=False, known=Known(pooling="cls") if name == "gte" else None)
    publish(model, tmp_path / "out", source, "card")
    assert_same_vectors(qianru.load(tmp_path / "out", EXACT), model)
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert all((tmp_path / "out" / module["path"]).is_dir() for module in modules)


def test_a_published_decoder_makes_the_same_vectors(tmp_path: Path) -> None:
    source = tiny_decoder(tmp_path / "source")
    model = Transformer.load(source, EXACT, packed=False)
    publish(model, tmp_path / "out", source, "card")
    assert_same_vectors(qianru.load(tmp_path / "out", EXACT), model)


def test_a_model_saved_by_us_can_be_published(folder: Path, tmp_path: Path) -> None:
    Transformer.load(folder, EXACT).save(tmp_path / "ours")
    model = Transformer.load(tmp_path / "ours", EXACT, packed=False)
    publish(model, tmp_path / "out", tmp_path / "ours", "card")
    assert_same_vectors(qianru.load(tmp_path / "out", EXACT), model)


def test_what_nobody_uses_is_kept_so_that_nobody_warns_of_it(model: Any, folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    publish(model, tmp_path / "out", folder, "card")
    before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "out"))
    assert before.keys() == after.keys()
    np.testing.assert_array_equal(before["pooler.dense.weight"], after["pooler.dense.weight"])


def test_a_folder_that_cannot_be_written_is_told(model: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageFailed, match=r"could not be written to .*out"):
        publish(model, tmp_path / "out", folder, "card")
