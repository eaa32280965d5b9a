"""Layers of an encoder for inference on a CPU: four products each, and between two of them one pass over memory.

The same as `Layer` of models.encoder, whose linears must be packed: what a product makes is added, normalised and
rounded for the next product in one loop by numba. Large batches in int8 take a twentieth less time, and one short query
a tenth less in float32 and bfloat16 and a sixth in int8: whatever code stands between two products has to come from
memory each time, for the weights have pushed it out of the processor's caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from qianru.runtime.attention import attend_fused
from qianru.runtime.int8 import Int8Linear
from qianru.runtime.int8_torch import FUSED
from qianru.runtime.linear import Linear
from qianru.runtime.options import Precision
from qianru.runtime.packing import Packed
from qianru.scores.exact.compiled import has_numba

if TYPE_CHECKING:
    from qianru.runtime.norm_numba import NormWeights


class Norm(Protocol):
    """A LayerNorm's numbers."""

    weight: nn.Parameter
    bias: nn.Parameter
    eps: float


class PostNorm(Protocol):
    """A layer that normalises after each sum; qkv makes query, key and value, one behind the other."""

    n_heads: int
    qkv: Linear
    out: Linear
    up: Linear
    down: Linear
    attention_norm: Norm
    output_norm: Norm


@dataclass(slots=True, eq=False)
class States:
    """What goes from layer to layer, overwritten by each.

    hidden: (total, size) float32
    ready: the same as products read it: hidden itself, bfloat16, or codes of 8 bits with
    scale, zero: (total,) of each token
    """

    hidden: Tensor
    ready: Tensor
    scale: Any = None
    zero: Any = None


class Block(Protocol):
    """One packed layer."""

    def begin(self, hidden: Tensor) -> States:
        """For the first layer; hidden will be overwritten."""
        ...

    def __call__(self, states: States, batch: Packed, only: Tensor | None = None) -> States:
        """The states after this layer, of all tokens or of those of `only`."""
        ...


def blocks_of(layers: Sequence[PostNorm], precision: Precision) -> list[Block]:
    """One for each layer, whose linears are packed in that precision; none on a GPU or without numba."""
    if not has_numba() or any(layer.attention_norm.weight.device.type != "cpu" for layer in layers):
        return []
    if precision != "int8":
        return [FloatBlock(layer, torch.bfloat16 if precision == "bfloat16" else torch.float32) for layer in layers]
    if any(layer.up.activation not in FUSED for layer in layers):
        return []
    return [Int8Block(layer) for layer in layers]


class FloatBlock:
    """In float32 or bfloat16."""

    def __init__(self, layer: PostNorm, dtype: torch.dtype) -> None:
        from qianru.runtime.norm_numba import add_norm_

        self.n_heads, self.dtype, self.add_norm_ = layer.n_heads, dtype, add_norm_
        self.qkv, self.out, self.up, self.down = map(_packed, (layer.qkv, layer.out, layer.up, layer.down))
        self.norms = _numbers(layer.attention_norm), _numbers(layer.output_norm)

    def begin(self, hidden: Tensor) -> States:
        """For the first layer."""
        return States(hidden, hidden.to(self.dtype))

    def __call__(self, states: States, batch: Packed, only: Tensor | None = None) -> States:
        """For the next."""
        mixed = attend_fused(self.qkv(states.ready, None), self.n_heads, batch)    # (total, size)
        if only is not None:
            mixed, states = mixed[only], self.begin(states.hidden[only])
        hidden, ready = states.hidden, states.ready
        half = ready if self.dtype == torch.bfloat16 else None
        self.add_norm_(hidden, self.out(mixed, None), self.norms[0], half)
        self.add_norm_(hidden, self.down(self.up(ready, None), None), self.norms[1], half)
        return states


class Int8Block:
    """In int8: what a product makes goes into the codes of the next without having been rounded to bfloat16."""

    def __init__(self, layer: PostNorm) -> None:
        from qianru.runtime.int8_numba import onward, quantize

        self.n_heads, self.onward, self.quantize = layer.n_heads, onward, quantize
        self.qkv, self.out, self.up, self.down = map(_packed, (layer.qkv, layer.out, layer.up, layer.down))
        self.norms = _numbers(layer.attention_norm), _numbers(layer.output_norm)

    def begin(self, hidden: Tensor) -> States:
        """For the first layer."""
        return States(hidden, *self.quantize(hidden))

    def __call__(self, states: States, batch: Packed, only: Tensor | None = None) -> States:
        """For the next."""
        qkv = self.qkv.finish(self.qkv.multiply(states.ready), states.scale, states.zero)
        mixed = attend_fused(qkv, self.n_heads, batch)                              # (total, size) bfloat16
        hidden = states.hidden
        if only is not None:
            mixed, hidden = mixed[only], hidden[only]
        states = States(hidden, *self.quantize(mixed))
        self._go_on(self.out, states, self.norms[0])
        self._go_on(self.up, states, None)
        self._go_on(self.down, states, self.norms[1])
        return states

    def _go_on(self, linear: Int8Linear, states: States, norm: NormWeights | None) -> None:
        """Overwrites the codes, and hidden too if there is a norm."""
        products = linear.multiply(states.ready)                                    # (total, out)
        hidden = None if norm is None else states.hidden
        states.ready = self.onward(products, states.scale, states.zero, linear.sums, linear.bias, linear.activation,
                                   hidden, norm)


def _packed(linear: Linear) -> Any:
    assert linear.packed is not None
    return linear.packed


def _numbers(norm: Norm) -> NormWeights:
    from qianru.runtime.norm_numba import NormWeights

    return NormWeights(norm.weight.detach().numpy(), norm.bias.detach().numpy(), np.float32(norm.eps))
