"""The model that comes with the package: there without a name, small, quick to load, and with an idea of meaning."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import qianru
from qianru.errors import BadInput
from qianru.models import BOX, MINI, load
from qianru.models.static import StaticModel
from qianru.runtime.options import Runtime
from qianru.types import FloatArray


@pytest.fixture(scope="module")
def mini() -> StaticModel:
    model = qianru.load()
    assert isinstance(model, StaticModel)
    return model


def similarities(model: StaticModel, query: str, texts: list[str], dim: int | None = None) -> FloatArray:
    dense = model.encode([query, *texts]).dense
    assert dense is not None
    cut = dense[:, :dim]
    unit: FloatArray = cut / np.sqrt(np.square(cut).sum(1, keepdims=True))
    return unit[1:] @ unit[0]


def test_without_a_name_it_is_the_model_of_the_package(mini: StaticModel) -> None:
    assert mini.spec.name == MINI == "qianru-zh-mini"
    assert mini.spec == load(MINI).spec
    assert mini.spec.kinds == ("dense",)


def test_it_takes_at_most_ten_megabytes() -> None:
    assert sum(path.stat().st_size for path in (BOX / MINI).iterdir()) <= 10e6


def test_it_needs_no_torch() -> None:
    code = "import sys, qianru; qianru.load().encode(['床前明月光']); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_no_runtime_is_needed_for_it() -> None:
    with pytest.raises(BadInput, match="Leave it out"):
        load(runtime=Runtime())


@pytest.mark.parametrize("dim", [None, 128, 64])
@pytest.mark.parametrize(("query", "near", "far"), [
    ("番茄", "西红柿", "合同"), ("医生", "大夫", "马路"), ("高兴", "快乐", "电脑"), ("电脑", "computer", "dog"),
    ("土豆", "马铃薯", "房屋"), ("怎样做菜", "烹饪的方法", "股票的价格"),
])
def test_words_of_one_meaning_are_nearer_than_others(
    mini: StaticModel, query: str, near: str, far: str, dim: int | None
) -> None:
    close, distant = similarities(mini, query, [near, far], dim)
    assert close > distant + 0.1


def test_vectors_have_length_1_and_traditional_script_makes_none_of_its_own(mini: StaticModel) -> None:
    dense = mini.encode(["電腦軟體", "电脑软体", ""]).dense
    assert dense is not None
    assert_allclose(np.square(dense).sum(1), [1, 1, 0], atol=1e-5)
    assert_allclose(dense[0], dense[1], atol=1e-6)
