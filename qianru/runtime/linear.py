"""Matrix products with fixed weights, in three precisions. Private torch operators: here, in product and int8.

A Linear as made is plain torch and carries gradients. `pack` lays its weights out for the processor, once, and lets go
of the plain ones; from then on it can only be applied. oneDNN's own layout is worth 2x over the default of torch on AMD
processors and up to 2x for a single short text anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from qianru.runtime import product
from qianru.runtime.activations import ACTIVATIONS
from qianru.runtime.int8 import Int8Linear
from qianru.runtime.options import Precision

FUSED = {"none": ("none", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "relu": ("relu", "")}
"""activation -> (oneDNN's name, its variant), for those that it applies while the product is still in the cache."""


class Linear(nn.Module):
    """x -> activation(x W' + b) [+ residual].

    weight: (out, in);  bias: (out,) or None;  activation: a name of ACTIVATIONS
    dropout: share of the product's numbers that are set to 0 in training, before the residual
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))
        self.activation = activation
        self.dropout = 0.0
        self.packed: Callable[[Tensor, Tensor | None], Tensor] | None = None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(…, in) -> (…, out); the residual, of the result's shape, is added last."""
        if self.packed is not None:
            return self.packed(x, residual)
        bias = None if self.bias is None else self.bias.float()
        y = ACTIVATIONS[self.activation](product.linear(x.float(), self.weight.float(), bias))   # whatever the file
        if self.dropout and self.training:
            y = functional.dropout(y, self.dropout)
        return y if residual is None else residual + y


@torch.no_grad()
def pack(module: nn.Module, precision: Precision) -> None:
    """Lays out every Linear of the module, on the device where it is, for inference. There is no way back."""
    for linear in module.modules():
        if not isinstance(linear, Linear):
            continue
        if precision == "int8":
            linear.packed = Int8Linear(linear.weight, linear.bias, linear.activation)
        else:
            linear.packed = _laid_out(linear, torch.bfloat16 if precision == "bfloat16" else torch.float32)
        linear.register_parameter("weight", None)
        linear.register_parameter("bias", None)


def _laid_out(linear: Linear, dtype: torch.dtype) -> Callable[[Tensor, Tensor | None], Tensor]:
    weight = linear.weight.detach().to(dtype)
    bias = None if linear.bias is None else linear.bias.detach().to(dtype)
    packed = None if weight.is_cuda else _onednn(weight, bias, linear.activation)
    return packed or _plain(weight, bias, linear.activation)


def _plain(weight: Tensor, bias: Tensor | None, activation: str) -> Callable[[Tensor, Tensor | None], Tensor]:
    """The same by public means only."""
    act = ACTIVATIONS[activation]

    def apply(x: Tensor, residual: Tensor | None) -> Tensor:
        y = act(functional.linear(x.to(weight.dtype), weight, bias))
        return y if residual is None else residual + y

    return apply


def _onednn(weight: Tensor, bias: Tensor | None, activation: str) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """None if this build of torch lacks the operators."""
    try:
        reorder = torch.ops.mkldnn._reorder_linear_weight
        multiply = torch.ops.mkldnn._linear_pointwise.default
        multiply_add = torch.ops.mkldnn._linear_pointwise.binary
    except AttributeError:
        return None
    if not torch.backends.mkldnn.is_available():   # type: ignore[no-untyped-call]
        return None
    packed = reorder(weight.contiguous(), None)
    dtype = weight.dtype
    name, variant = FUSED.get(activation, FUSED["none"])
    act = None if activation in FUSED else ACTIVATIONS[activation]

    def apply(x: Tensor, residual: Tensor | None) -> Tensor:
        x = x.to(dtype)
        if residual is not None and residual.dtype == dtype and activation == "none":
            y: Tensor = multiply_add(x, residual, packed, bias, "add")
            return y
        y = multiply(x, packed, bias, name, [], variant)
        if act is not None:
            y = act(y)
        return y if residual is None else residual + y

    return apply
