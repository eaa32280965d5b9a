"""Hidden states of tokens -> vectors of texts: pooling, Dense, Normalize, and BGE-M3's sparse and multi heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qianru.models.recipe import DenseSpec
from qianru.models.weights import Weights
from qianru.runtime.activations import ACTIVATIONS
from qianru.runtime.linear import Linear
from qianru.runtime.packing import Packed
from qianru.types import IntArray, Ragged, SparseRows


def _weighted_mean(states: Tensor, n_left_out: int) -> Tensor:
    weights = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype) + n_left_out
    return (states * weights[:, None]).sum(1) / weights.sum()


POOLINGS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "cls": lambda states, n_left_out: states[:, 0],
    "lasttoken": lambda states, n_left_out: states[:, -1],
    "mean": lambda states, n_left_out: states.mean(1),
    "max": lambda states, n_left_out: states.amax(1),
    "mean_sqrt_len_tokens": lambda states, n_left_out: states.sum(1) / states.shape[1] ** 0.5,
    "weightedmean": _weighted_mean,
}
"""sentence-transformers' name -> (n, length, d) states of texts of one length, tokens left out before -> (n, d)."""


def pooled(hidden: Tensor, batch: Packed, poolings: Iterable[str], skip: int = 0) -> Tensor:
    """(n, d * number of poolings) vectors of the texts of a batch.

    hidden: (total, d)
    skip: how many first tokens of each text do not count (a prompt's), if any remain after them
    """
    parts: list[Tensor] = []
    for states in batch.grouped(hidden):                                                 # (n, length, d)
        left_out = skip if skip < states.shape[1] else 0
        parts.append(_joined([POOLINGS[pooling](states[:, left_out:], left_out) for pooling in poolings], 1))
    return _joined(parts, 0)


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def mean_of_cls(hidden: Tensor, batch: Packed, every: int) -> Tensor:
    """(n, d) means of the states of each text's [CLS] tokens, of which one stands before every `every` tokens.

    Source: Chen et al. 2024 (BGE-M3), appendix on MCLS: long texts by a model that was trained on short ones.
    """
    parts: list[Tensor] = []
    for states in batch.grouped(hidden):                                         # (n, length, d)
        parts.append(states[:, : states.shape[1] - 1 : every + 1].mean(1))       # the last token is [SEP]
    return torch.cat(parts)


class DenseHead(nn.Module):
    """x -> activation(x W' + b) [+ x R' or x]: sentence-transformers' Dense."""

    def __init__(self, spec: DenseSpec, weights: Weights) -> None:
        super().__init__()
        self.spec = spec
        self.weight = nn.Parameter(weights.take("linear.weight", spec.n_out, spec.n_in).float())
        self.bias = nn.Parameter(weights.take("linear.bias", spec.n_out).float()) if spec.bias else None
        self.residual = None
        if spec.residual and spec.n_in != spec.n_out:
            self.residual = nn.Parameter(weights.take("residual.weight", spec.n_out, spec.n_in).float())

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in) -> (n, n_out)."""
        y = ACTIVATIONS[self.spec.activation](functional.linear(x, self.weight, self.bias))
        if not self.spec.residual:
            return y
        return y + (x if self.residual is None else functional.linear(x, self.residual))

    def named_tensors(self) -> dict[str, Tensor]:
        """The parameters by their names in the file."""
        held = {"linear.weight": self.weight, "linear.bias": self.bias, "residual.weight": self.residual}
        return {name: tensor for name, tensor in held.items() if tensor is not None}


def finished(vectors: Tensor, truncate_dim: int | None, normalize: bool) -> Tensor:
    """(n, d) -> (n, truncate_dim or d): sliced first, normalised after; the other way round lengths would not be 1."""
    sliced = vectors[:, :truncate_dim]
    return functional.normalize(sliced, dim=-1) if normalize else sliced


class TokenHead(nn.Module):
    """A linear layer over every token: BGE-M3's sparse_linear.pt and colbert_linear.pt."""

    def __init__(self, weights: Weights, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = Linear(weights.take("weight", n_out, n_in).float(), weights.take("bias", n_out).float())

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, n_in) -> (…, n_out)."""
        return self.linear(hidden)   # type: ignore[no-any-return]

    def named_tensors(self) -> dict[str, Tensor]:
        """The parameters by their names in the file."""
        assert self.linear.bias is not None
        return {"weight": self.linear.weight, "bias": self.linear.bias}


def term_weights(scores: Tensor, batch: Packed, unused: IntArray, width: int) -> SparseRows:
    """For each text, each of its token ids with its largest weight, if that is above 0.

    scores: (total, 1) of the sparse head, before ReLU;  unused: ids that never count;  width: size of the vocabulary
    Source: Chen et al. 2024 (BGE-M3), section 3.2.
    """
    weights = scores.float().squeeze(1).cpu().numpy()
    ids = batch.ids.cpu().numpy()
    rows = np.repeat(np.arange(len(batch)), np.diff(batch.offsets))
    counts = (weights > 0) & ~np.isin(ids, unused)
    keys, weights = (rows * width + ids)[counts], weights[counts]
    order = np.lexsort((-weights, keys))   # by row, then id, then the largest weight first
    keys, weights = keys[order], weights[order]
    first = np.diff(keys, prepend=-1) != 0
    keys, weights = keys[first], weights[first]
    offsets = np.searchsorted(keys, np.arange(len(batch) + 1) * width)
    return SparseRows(offsets, keys % width, weights, width)


def token_vectors(vectors: Tensor, batch: Packed, cls_every: int | None = None) -> Ragged:
    """Vectors of length 1 of all tokens of each text but [CLS].

    vectors: (total, d) of the multi head
    """
    lengths = np.diff(batch.offsets)
    places = np.arange(len(vectors)) - np.repeat(batch.offsets[:-1], lengths)
    keep = places > 0                  # [CLS] stands for the whole text, which the dense vector does already
    if cls_every is not None:
        keep &= (places % (cls_every + 1) > 0) | (places == np.repeat(lengths, lengths) - 1)
    kept = functional.normalize(vectors[torch.from_numpy(keep).to(vectors.device)], dim=-1)
    before = np.concatenate([[0], np.cumsum(keep)])
    return Ragged(kept.float().cpu().numpy(), before[batch.offsets])
