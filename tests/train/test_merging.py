"""The mean of several models' weights is a model; what has no mean is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import tiny, write_bin, write_modules  # noqa: E402
from loss_inputs import POEMS  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

import qianru  # noqa: E402
from qianru.errors import BadInput, ShapeMismatch, SpecMismatch  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.train import merge  # noqa: E402

EXACT = Runtime(precision="float32", threads=1)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [tiny(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2, 3)]


def stored(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


def test_every_parameter_is_the_weighted_mean(three: list[Path], tmp_path: Path) -> None:
    made = stored(merge(three, tmp_path / "merged", [1, 1, 2]))
    parts = [stored(folder) for folder in three]
    assert made.keys() == parts[0].keys()
    for name in made.keys() - {"pooler.dense.weight", "pooler.dense.bias"}:     # which no vector depends on
        slow = np.zeros(made[name].shape)
        for part, share in zip(parts, (0.25, 0.25, 0.5), strict=True):
            slow += share * part[name].astype(float)
        np.testing.assert_allclose(made[name], slow, atol=1e-6, err_msg=name)


def test_a_model_merged_with_itself_is_itself(three: list[Path], tmp_path: Path) -> None:
    merged = merge([three[0], three[0]], tmp_path / "merged", [0.3, 0.7])
    both = [qianru.load(folder, runtime=EXACT).encode(POEMS).dense for folder in (three[0], merged)]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)


def test_heads_are_merged_too(tmp_path: Path) -> None:
    folders, rng = [], np.random.default_rng(1)
    for seed in (1, 2):
        folder = tiny(tmp_path / f"m3-{seed}", seed=seed)
        for name, n_out in (("sparse_linear", 1), ("colbert_linear", 16)):
            write_bin(folder / f"{name}.pt", {"weight": rng.standard_normal((n_out, 32), np.float32),
                                              "bias": rng.standard_normal(n_out, np.float32)})
        write_modules(folder, "Transformer", "Pooling", "Normalize", pooling="cls", size=32)
        folders.append(folder)
    merged = merge(folders, tmp_path / "merged")
    heads = [torch.load(folder / "sparse_linear.pt", weights_only=True)["weight"] for folder in (*folders, merged)]
    torch.testing.assert_close(heads[2], (heads[0] + heads[1]) / 2)
    assert set(qianru.load(merged).spec.kinds) == {"dense", "sparse", "multi"}


def test_models_without_a_mean_are_refused_with_the_difference(three: list[Path], tmp_path: Path) -> None:
    wide = tiny(tmp_path / "wide", hidden_size=64)
    with pytest.raises(ShapeMismatch, match=r"is \(.*32\) in .*m1 and \(.*64\) in .*wide"):
        merge([three[0], wide], tmp_path / "out")
    deep = tiny(tmp_path / "deep", num_hidden_layers=3)
    with pytest.raises(ShapeMismatch, match=r"deep has .*layers.*, and .*m1 has not"):
        merge([three[0], deep], tmp_path / "out")
    write_modules(three[1], "Transformer", "Pooling", pooling="cls", size=32)
    with pytest.raises(SpecMismatch, match="differ in how vectors are pooled"):
        merge(three[:2], tmp_path / "out")
    words = (three[2] / "vocab.txt").read_text("utf-8").splitlines()
    (three[2] / "vocab.txt").write_text("\n".join([*words[:-2], words[-1], words[-2]]) + "\n", "utf-8")
    with pytest.raises(SpecMismatch, match="differ in the vocabulary"):
        merge([three[0], three[2]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_weights_and_places_are_refused(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="takes two models or more; there is 1"):
        merge(three[:1], tmp_path / "out")
    for weights in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(BadInput, match="Each of the 2 models needs a weight above 0"):
            merge(three[:2], tmp_path / "out", weights)
    with pytest.raises(BadInput, match="is not empty"):
        merge(three[:2], three[2])
