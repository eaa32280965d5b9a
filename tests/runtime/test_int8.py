"""int8: every token on a scale of its own, the same by numba as by torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch", reason="the runtime needs torch: pip install 'qianru[torch]'")

from qianru.runtime import int8_torch  # noqa: E402
from qianru.runtime.activations import ACTIVATIONS  # noqa: E402
from qianru.runtime.linear import Linear, pack  # noqa: E402

KERNELS = {"torch": int8_torch.TORCH}
try:
    from qianru.runtime import int8_numba
    KERNELS["numba"] = int8_numba.NUMBA
except ImportError:
    KERNELS["numba"] = None   # type: ignore[assignment]


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest) -> Any:
    """Each implementation in turn."""
    if KERNELS[request.param] is None:
        pytest.skip("numba is not installed")
    return KERNELS[request.param]


numbers = st.floats(-1e4, 1e4, width=32).map(lambda x: 0.0 if abs(x) < 1e-6 else x)


@given(row=st.lists(numbers, min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("name", KERNELS)
def test_a_number_comes_back_within_half_a_step_and_zero_exactly(name: str, row: list[float]) -> None:
    if KERNELS[name] is None:
        pytest.skip("numba is not installed")
    x = torch.tensor([[*row, 0.0]])
    codes, scale, zero = map(torch.as_tensor, KERNELS[name].quantize(x))
    back = (codes.float() - zero[:, None]) * scale[:, None]
    assert codes.dtype == torch.uint8
    assert (back - x).abs().max() <= 0.5001 * scale.item() + 1e-3 * scale.item()
    assert back[0, -1] == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_token_has_its_own_scale(kernels: Any, dtype: str) -> None:
    x = torch.tensor([[-1.0, 0.0, 1.55], [100.0, 51.0, 0.0], [-3.0, -2.0, -1.0], [0.0, 0.0, 0.0]])
    codes, scale, zero = map(torch.as_tensor, kernels.quantize(x.to(getattr(torch, dtype))))
    assert codes.tolist()[:3] == [[0, 100, 255], [255, 130, 0], [0, 85, 170]]
    assert_allclose(scale[:3].numpy(), [0.01, 100 / 255, 3 / 255], rtol=1e-2)
    assert zero.tolist()[:3] == [100, 0, 255]
    assert ((codes.float() - zero[:, None]) * scale[:, None])[3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_residual", [True, False])
def test_finishing_is_the_formula(kernels: Any, activation: str, with_residual: bool) -> None:
    torch.manual_seed(0)
    products, sums, bias = torch.randn(200, 48) * 300, torch.randn(48), torch.randn(48)
    scale, zero = torch.rand(200) / 100, torch.randint(0, 256, (200,)).float()
    given = (scale, zero) if kernels is int8_torch.TORCH else (scale.numpy(), zero.numpy())
    residual = torch.randn(200, 48) if with_residual else None
    expected = ACTIVATIONS[activation](scale[:, None] * (products - zero[:, None] * sums) + bias)
    made = kernels.finish(products.clone(), *given, sums, bias, activation, residual)
    assert made.dtype == (torch.float32 if with_residual else torch.bfloat16)
    if residual is not None:
        expected = expected + residual
    near = 1e-3 if with_residual else 5e-3   # bfloat16 has 8 bits
    assert_allclose(made.float().numpy(), expected.numpy(), atol=2 * near, rtol=near)


def test_threads_share_the_rows(kernels: Any) -> None:
    x = torch.randn(700, 33)
    before = torch.get_num_threads()
    alone = [torch.as_tensor(part).numpy().copy() for part in kernels.quantize(x)]
    try:
        torch.set_num_threads(3)
        shared = [torch.as_tensor(part).numpy().copy() for part in kernels.quantize(x)]
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_tokens_product_does_not_depend_on_its_neighbours() -> None:
    linear = Linear(torch.randn(48, 32), torch.randn(48), "gelu")
    pack(linear, "int8")
    x = torch.randn(300, 32)
    with torch.inference_mode():
        together = linear(x)
        assert all(torch.equal(linear(x[i : i + 1])[0], together[i]) for i in range(0, 300, 37))
