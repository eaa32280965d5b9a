"""What stands before and after an int8 product, in plain torch: several passes over memory where numba needs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qianru.runtime.activations import ACTIVATIONS

FUSED = {"none": 0, "gelu": 1, "relu": 2}
"""activation -> its number in numba's kernels; the others are torch's, in a pass of their own."""
SMALLEST = 1e-12   # of a scale: a token whose numbers are all alike must not divide by 0


class Kernels(NamedTuple):
    """quantize: (total, in) float32 or bfloat16 -> codes (total, in) uint8; scale (total,), zero (total,) for finish
    finish: (products, scale, zero, sums, bias, activation, residual or None) -> bfloat16, or float32 with a residual
    """

    quantize: Callable[[Tensor], tuple[Tensor, Any, Any]]
    finish: Callable[[Tensor, Any, Any, Tensor, Tensor, str, Tensor | None], Tensor]


def quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each row as whole numbers from 0 to 255 of its own scale; 0 is always one of them exactly.

    >>> codes, scale, zero = quantize(torch.tensor([[-1.0, 0.0, 4.1]]))
    >>> codes.tolist(), round(scale.item(), 3), zero.item()
    ([[0, 50, 255]], 0.02, 50.0)
    """
    x = x.float()
    low, high = x.aminmax(dim=1)
    low, high = low.clamp_max(0), high.clamp_min(0)
    scale = ((high - low) / 255).clamp_min(SMALLEST)
    zero = torch.round(-low / scale)
    codes = (x / scale[:, None]).round_().add_(zero[:, None]).clamp_(0, 255).to(torch.uint8)
    return codes, scale, zero


def finish(
    products: Tensor, scale: Tensor, zero: Tensor, sums: Tensor, bias: Tensor, activation: str, residual: Tensor | None
) -> Tensor:
    """activation(scale (products - zero sums) + bias) [+ residual]; products is overwritten."""
    y = products.addr_(zero, sums, alpha=-1).mul_(scale[:, None]).add_(bias)
    y = ACTIVATIONS[activation](y)
    return y.bfloat16() if residual is None else y.add_(residual)


TORCH = Kernels(quantize, finish)
