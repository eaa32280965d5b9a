"""Adapters of low rank: y = x (W + s B A)' with W fixed, so that a large model learns by a thousandth of its numbers.

Gradients and an optimizer's moments are those of A and B alone. Where the weights are asked for, to be saved or
published, they are the sum: what comes out is a plain model. Source: Hu et al. 2021 (LoRA, arXiv 2106.09685), 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from qianru.errors import BadInput
from qianru.runtime import product
from qianru.runtime.activations import ACTIVATIONS
from qianru.runtime.linear import Linear


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """How much learns. rank: of each product's change;  alpha: the change counts alpha / rank times"""

    rank: int = 16
    alpha: float = 32.0

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise BadInput(f"LoRA's rank is at least 1 and its alpha above 0; they are {self.rank} and {self.alpha}.")


class Adapted(Linear):
    """A Linear whose weight is fixed, and two thin matrices beside it that learn.

    fixed: (out, in);  first: (rank, in), drawn at random;  second: (out, rank), zeros, so that nothing changes at first
    """

    def __init__(self, linear: Linear, config: LoraConfig, draw: torch.Generator) -> None:
        nn.Module.__init__(self)     # Linear's would make a parameter of the weight, which is a sum here
        n_out, n_in = linear.weight.shape
        self.fixed = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.register_parameter("bias", linear.bias)
        self.first = nn.Parameter((torch.randn(config.rank, n_in, generator=draw) / n_in**0.5).to(self.fixed.device))
        self.second = nn.Parameter(torch.zeros(n_out, config.rank, device=self.fixed.device))
        self.scale = config.alpha / config.rank
        self.activation, self.dropout = linear.activation, linear.dropout
        self.packed = None

    @property
    def weight(self) -> Tensor:   # type: ignore[override]
        """(out, in) what a plain Linear would hold."""
        return self.fixed + self.scale * (self.second @ self.first)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(…, in) -> (…, out), through the thin matrices: the sum is never made."""
        x = x.float()
        change = product.linear(product.linear(x, self.first, None), self.second, None)
        y = ACTIVATIONS[self.activation](product.linear(x, self.fixed, self.bias) + self.scale * change)
        if self.dropout and self.training:
            y = functional.dropout(y, self.dropout)
        return y if residual is None else residual + y


def adapt(network: nn.Module, config: LoraConfig, seed: int) -> None:
    """Puts adapters into every layer's products and fixes all else but heads behind the layers, which are small."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.get_submodule("backbone").parameters():
        parameter.requires_grad_(False)
    for layer in network.get_submodule("backbone.layers").children():
        for name, linear in list(layer.named_children()):
            if isinstance(linear, Linear):
                setattr(layer, name, Adapted(linear, config, draw))
