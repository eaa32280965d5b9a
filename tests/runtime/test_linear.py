"""A packed linear gives what the plain one gives, and a plain one carries gradients."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the runtime needs torch: pip install 'qianru[torch]'")

from qianru.runtime import int8, int8_torch, linear  # noqa: E402
from qianru.runtime.activations import ACTIVATIONS  # noqa: E402
from qianru.runtime.linear import Linear, pack  # noqa: E402

TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2, "int8": 3e-2}


def made(activation: str, bias: bool = True) -> Linear:
    torch.manual_seed(1)
    return Linear(torch.randn(48, 32) / 32**0.5, torch.randn(48) if bias else None, activation)


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_packing_changes_nothing_but_the_speed(
    activation: str, precision: Any, bias: bool, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "int8" and not int8.can_multiply_int8():
        pytest.skip("this processor has no instructions for int8")
    if not private:
        monkeypatch.setattr(linear, "_onednn", lambda *arguments: None)
        monkeypatch.setattr(int8, "_kernels", lambda: int8_torch.TORCH)
    plain, packed = made(activation, bias), made(activation, bias)
    pack(packed, precision)
    with torch.inference_mode():
        for n in (1, 7, 300):
            x, residual = torch.randn(n, 32), torch.randn(n, 48)
            for given in (None, residual):
                expected = plain(x, given)
                worst = (packed(x, given).float() - expected).abs().max()
                assert worst < TOLERANCE[precision] * (1 + expected.abs().max())


def test_a_residual_in_float32_stays_in_float32() -> None:
    packed = made("none")
    pack(packed, "bfloat16")
    with torch.inference_mode():
        assert packed(torch.randn(3, 32)).dtype == torch.bfloat16
        assert packed(torch.randn(3, 32), torch.randn(3, 48)).dtype == torch.float32


def test_a_plain_linear_carries_gradients() -> None:
    plain = made("gelu")
    plain(torch.randn(5, 32), torch.randn(5, 48)).sum().backward()
    assert plain.weight.grad is not None
    assert plain.weight.grad.abs().sum() > 0


def test_packing_lets_go_of_the_plain_weights() -> None:
    packed = made("gelu")
    pack(packed, "float32")
    assert list(packed.parameters()) == []
