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


def packed_weights(module: nn.Module) -> list[Tensor]:
    """Those of all packed Linears of the module that oneDNN laid out."""
    packed = (linear.packed for linear in module.modules() if isinstance(linear, Linear))
    return [each.weights for each in packed if isinstance(each, OneDnnLinear | Int8Linear)]


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
    able = not weight.is_cuda and torch.backends.mkldnn.is_available()   # type: ignore[no-untyped-call]
    packed = _onednn(weight, bias, linear.activation) if able else None
    return packed or _plain(weight, bias, linear.activation)


def _plain(weight: Tensor, bias: Tensor | None, activation: str) -> Callable[[Tensor, Tensor | None], Tensor]:
    """The same by public means only."""
    act = ACTIVATIONS[activation]

    def apply(x: Tensor, residual: Tensor | None) -> Tensor:
        y = act(functional.linear(x.to(weight.dtype), weight, bias))
        return y if residual is None else residual + y

    return apply


def _onednn(weight: Tensor, bias: Tensor | None, activation: str) -> OneDnnLinear | None:
    """None if this build of torch lacks the operators."""
    try:
        return OneDnnLinear(weight, bias, activation)
    except AttributeError:
        return None


class OneDnnLinear:
    """(x, residual) -> activation(x W' + b) in the weight's type [+ residual]. AttributeError if torch lacks it.

    weights: as oneDNN lays them out
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str) -> None:
        """weight: (out, in);  bias: (out,) or None, of the same type."""
        ops = torch.ops.mkldnn
        self._multiply, self._multiply_add = ops._linear_pointwise.default, ops._linear_pointwise.binary
        self.weights: Tensor = ops._reorder_linear_weight(weight.contiguous(), None)
        self.bias, self.dtype = bias, weight.dtype
        self._plain = activation == "none"
        self._name, self._variant = FUSED.get(activation, FUSED["none"])
        self._act = None if activation in FUSED else ACTIVATIONS[activation]

    def __call__(self, x: Tensor, residual: Tensor | None) -> Tensor:
        if x.dtype != self.dtype:       # asked first: a call that changes nothing takes its time too
            x = x.to(self.dtype)
        if residual is not None and residual.dtype == self.dtype and self._plain:
            added: Tensor = self._multiply_add(x, residual, self.weights, self.bias, "add")
            return added
        y: Tensor = self._multiply(x, self.weights, self.bias, self._name, [], self._variant)
        if self._act is not None:
            y = self._act(y)
        return y if residual is None else residual + y
