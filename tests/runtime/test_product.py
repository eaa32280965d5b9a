"""Products with gradients: the same numbers as torch's own, forward and backward."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from qianru.runtime import product  # noqa: E402
from qianru.runtime.linear import Linear  # noqa: E402


def made(function, *shape: int, biased: bool = True, dtype=torch.float32):
    torch.manual_seed(1)
    x = torch.randn(*shape, 24, dtype=dtype, requires_grad=True)
    weight = torch.randn(40, 24, dtype=dtype, requires_grad=True)
    bias = torch.randn(40, dtype=dtype, requires_grad=True) if biased else None
    y = function(x, weight, bias)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y, x.grad, weight.grad, *([bias.grad] if biased else [])]


@pytest.mark.parametrize("shape", [(7,), (2, 3), (1,), (300,), (0,)])
@pytest.mark.parametrize("biased", [True, False])
def test_the_product_and_its_gradients_are_torchs(shape: tuple[int, ...], biased: bool) -> None:
    for ours, theirs in zip(made(product.linear, *shape, biased=biased),
                            made(functional.linear, *shape, biased=biased), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_gradient_that_is_a_view_is_taken_as_it_is() -> None:
    x, weight = torch.randn(5, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    product.linear(x, weight, None).sum().backward()      # its gradient is one number, expanded
    torch.testing.assert_close(x.grad, weight.detach().sum(0).expand(5, 4))


def test_float64_is_left_to_torch() -> None:
    assert made(product.linear, 3, dtype=torch.float64)[0].dtype == torch.float64


def test_autocast_still_makes_bfloat16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert product.linear(torch.randn(3, 4), torch.randn(5, 4), None).dtype == torch.bfloat16


def test_dropout_acts_in_training_only_and_before_the_residual() -> None:
    linear = Linear(torch.randn(64, 8), None)
    x, residual = torch.randn(16, 8), torch.randn(16, 64)
    plain = linear(x, residual)
    linear.dropout = 0.5
    linear.eval()
    torch.testing.assert_close(linear(x, residual), plain)
    linear.train()
    left_out = linear(x, residual) == residual
    assert 0.4 < left_out.float().mean() < 0.6
