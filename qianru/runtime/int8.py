"""Linears in int8: every token's numbers as 0..255 of its own scale, every output's weights as -127..127 of theirs.

    x[t, k] ~ scale[t] (u[t, k] - zero[t])         asymmetric, found anew for each token
    w[n, k] ~ w_scale[n] q[n, k]                   symmetric, once
    x w'    ~ scale[t] (sum_k u q w_scale[n] - zero[t] sums[n])

The sum over k is oneDNN's; what stands before and after it is one pass each, by numba if it is there, else by torch.
Source: Jacob et al. 2018 (arXiv 1712.05877), section 2.3, with a zero point for each token.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from qianru.errors import BadInput
from qianru.runtime import int8_torch


class Int8Linear:
    """(x, residual) -> activation(x W' + b) as bfloat16, or with the residual added as float32.

    multiply: codes (total, in) uint8 -> products (total, out) float32
    sums, bias: (out,) float32, as the formula above has them
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str) -> None:
        """weight: (out, in);  bias: (out,) or None. Raises BadInput if this processor or this torch cannot."""
        self.multiply, self.sums = int8_multiplier(weight.detach().float())
        self.weights = self.multiply.weights
        self.bias = torch.zeros(len(weight)) if bias is None else bias.detach().float().contiguous()
        self.activation = activation

    def __call__(self, x: Tensor, residual: Tensor | None) -> Tensor:
        codes, scale, zero = _kernels().quantize(x.contiguous())
        return self.finish(self.multiply(codes), scale, zero, residual)

    def finish(self, products: Tensor, scale: Any, zero: Any, residual: Tensor | None = None) -> Tensor:
        """What the products of codes with that scale and zero stand for."""
        return _kernels().finish(products, scale, zero, self.sums, self.bias, self.activation, residual)


def can_multiply_int8() -> bool:
    """Whether the processor has instructions for it; elsewhere int8 is slower than float32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_vnni") or able.get("avx_vnni") or able.get("amx_int8"))


def int8_multiplier(weight: Tensor) -> tuple[Int8Product, Tensor]:
    """(codes (total, in) uint8 -> products (total, out) float32; the sums (out,) of each output's weights)."""
    if not can_multiply_int8():
        raise BadInput("This processor has no instructions for int8. Use precision='auto'.")
    largest = torch.maximum(weight.amax(1), -weight.amin(1))   # aminmax takes 20 times as long
    scale = (largest / 127).clamp_min(int8_torch.SMALLEST)
    rounded = (weight / scale[:, None]).round_()
    try:
        product = Int8Product(rounded.to(torch.int8), scale)
    except AttributeError as error:
        raise BadInput("This build of torch has no int8 products. Use precision='auto'.") from error
    return product, rounded.sum(1) * scale


class Int8Product:
    """codes (total, in) uint8 -> products (total, out) float32. AttributeError if torch lacks it.

    weights: as oneDNN lays them out
    """

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        """codes: (out, in) int8;  scale: (out,)."""
        ops = torch.ops.onednn
        self._multiply, self._scale = ops.qlinear_pointwise.default, scale
        self.weights: Tensor = ops.qlinear_prepack(codes, None)
        self._zeros = torch.zeros(len(codes), dtype=torch.int32)

    def __call__(self, codes: Tensor) -> Tensor:
        products: Tensor = self._multiply(   # unsigned tokens: signed ones fall to a reference kernel
            codes, 1.0, 0, self.weights, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return products


def warm_up() -> None:
    """Loads what stands around products, numba above all: a second's work, for a thread beside other work."""
    _kernels().quantize(torch.zeros(1, 1))


@cache
def _kernels() -> int8_torch.Kernels:
    try:
        from qianru.runtime import int8_numba
    except ImportError:
        return int8_torch.TORCH
    return int8_numba.NUMBA
