"""A BERT as textbooks write it: padded, masked, by torch's own functions, on the parameters of one of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear


def padded_states(encoder: Any, rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """((n, longest, hidden) states, (n, longest) mask) with gradients to the encoder's parameters."""
    config, longest = encoder.config, max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = torch.from_numpy(row), True
    places = torch.arange(longest) + config.first_position
    h = _norm(encoder.norm, encoder.words[ids] + encoder.types[0] + encoder.positions[places])
    for layer in encoder.layers:
        q, k, v = linear(h, layer.qkv.weight, layer.qkv.bias).chunk(3, dim=-1)
        q, k, v = (x.view(len(rows), longest, config.n_heads, -1).transpose(1, 2) for x in (q, k, v))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~mask[:, None, None], -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        h = _norm(layer.attention_norm, h + linear(mixed, layer.out.weight, layer.out.bias))
        h = _norm(layer.output_norm, h + linear(gelu(linear(h, layer.up.weight, layer.up.bias)), layer.down.weight,
                                                layer.down.bias))
    return h, mask


def mean_vectors(encoder: Any, rows: Sequence[np.ndarray]) -> Tensor:
    """(n, hidden) means of the states of real tokens."""
    states, mask = padded_states(encoder, rows)
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _norm(norm: Any, x: Tensor) -> Tensor:
    return layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)
