"""Matrix products with gradients: float32 by oneDNN forward and backward, everything else by torch.

torch sends float32 products on a CPU to another library, which on AMD processors reaches half of what oneDNN does
(106 against 236 GFLOP/s a core on Zen 4). bfloat16, other devices and other builds of torch are left to torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

Multiply = Callable[..., Tensor]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b, as torch.nn.functional.linear. (…, in), (out, in), (out,) -> (…, out)."""
    fits = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    if not fits or torch.is_autocast_enabled("cpu") or _onednn() is None:
        return functional.linear(x, weight, bias)
    made: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return made.view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """y = x W' + b;  dx = dy W;  dW = dy' x;  db = sum of dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _times(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dy = dy.contiguous()
        return (
            _times(dy, weight.t(), None) if ctx.needs_input_grad[0] else None,
            _times(dy.t(), x.t(), None) if ctx.needs_input_grad[1] else None,
            dy.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _times(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    multiply = _onednn()
    assert multiply is not None
    return multiply(x, weight, bias, "none", [], "")


@cache
def _onednn() -> Multiply | None:
    """None if this build of torch lacks it."""
    if not torch.backends.mkldnn.is_available():   # type: ignore[no-untyped-call]
        return None
    try:
        multiply: Multiply = torch.ops.mkldnn._linear_pointwise.default
    except AttributeError:
        return None
    return multiply
