"""Texts -> vectors that carry gradients, packed as in inference: no padding, forward or backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from qianru.errors import BadInput
from qianru.models.network import Network
from qianru.runtime.packing import Packed, pack, plan
from qianru.types import IntArray

if TYPE_CHECKING:
    from qianru.models.transformer import Transformer


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Token ids of n texts.

    skip: first tokens of each that do not count in pooling, a prompt's
    """

    ids: list[IntArray]
    skip: int = 0

    @property
    def n_tokens(self) -> int:
        """Of all texts."""
        return sum(map(len, self.ids))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The vectors of one packed batch.

    dense: (n, dim), not brought to length 1
    weights: (u,) of the distinct terms of each text, keys: (u,) row * width + term; None without a sparse head
    tokens: (t - n, m) of length 1, all tokens but the first of each text; None without a multi head
    """

    batch: Packed
    dense: Tensor
    weights: Tensor | None = None
    keys: Tensor | None = None
    tokens: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Those that carry gradients."""
        return [tensor for tensor in (self.dense, self.weights, self.tokens) if tensor is not None]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Part:
        """The same around other tensors, in the order of `tensors`."""
        held = iter(tensors)
        return Part(self.batch, next(held), None if self.weights is None else next(held), self.keys,
                    None if self.tokens is None else next(held))


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """The vectors of n texts as parts, longest texts first.

    places: (n,) where each text's row is among the rows of all parts
    """

    parts: list[Part]
    places: Tensor
    width: int

    def dense(self) -> Tensor:
        """(n, dim) in the order of the texts."""
        return torch.cat([part.dense for part in self.parts])[self.places]


def tokenized(model: Transformer, texts: Sequence[str], prompt: str) -> Rows:
    """The rows of the texts after a prompt; BadInput for a text that comes to no token."""
    rows = model.tokenizer.rows(texts, prompt).rows
    for text, row in zip(texts, rows, strict=True):
        if not len(row):
            raise BadInput(f"The text {text!r:.60} has no token that {model.name} knows. Take it out of the data.")
    return Rows(rows, 0 if model.recipe.include_prompt else model.tokenizer.prompt_length(prompt))


class Forward:
    """Rows -> Part, the forward pass of one packed batch.

    unused: token ids that never count as terms;  heads: whether the sparse and multi heads are wanted
    bfloat16: whether the backbone multiplies in it; pooling, heads and losses stay in float32
    """

    def __init__(
        self, network: Network, device: str, unused: IntArray, *, heads: bool = False, bfloat16: bool = False
    ) -> None:
        self.network, self.device, self.heads, self.bfloat16 = network, device, heads, bfloat16
        self._unused = torch.from_numpy(unused).to(device)
        if heads and not network.heads:
            raise BadInput("This model has no sparse and multi heads to train. Use loss 'info_nce', or begin with "
                           "--heads, which adds them.")

    @property
    def width(self) -> int:
        """Size of the vocabulary."""
        return self.network.backbone.config.vocab_size

    def packed(self, rows: Rows, tokens_at_once: int) -> tuple[list[Packed], Tensor]:
        """Batches of at most so many tokens, longest texts first, and each text's place among their rows."""
        (batches,), places = self.shared(rows, tokens_at_once, 1)
        return batches, places

    def shared(self, rows: Rows, tokens_at_once: int, n: int) -> tuple[list[list[Packed]], Tensor]:
        """The same for each of n processes, which get every n-th text, longest first: about as many tokens each."""
        lengths = np.array([len(row) for row in rows.ids], np.int64)
        longest_first = np.argsort(-lengths, kind="stable")
        orders: list[IntArray] = []
        shares: list[list[Packed]] = []
        for rank in range(n):
            own = longest_first[rank::n]
            batches = [own[batch] for batch in plan(lengths[own], tokens_at_once)]
            orders += batches
            shares.append([pack([rows.ids[i] for i in batch], self.device) for batch in batches])
        order = np.concatenate(orders)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return shares, torch.from_numpy(places).to(self.device)

    def vectors(self, rows: Rows, tokens_at_once: int) -> Vectors:
        """Of all rows, in the order of the texts."""
        batches, places = self.packed(rows, tokens_at_once)
        return Vectors([self(batch, rows.skip) for batch in batches], places, self.width)

    def __call__(self, batch: Packed, skip: int = 0) -> Part:
        """Every kind that is wanted, from one pass."""
        network = self.network
        first_only = not self.heads and network.recipe.pooling == ("cls",) and not skip
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            hidden = (network.backbone.first_tokens(batch) if first_only else network.backbone(batch)).float()
        if not self.heads:
            return Part(batch, network.dense_vectors(hidden, batch, skip))
        keys, where, counts = self._keys(batch)
        positive = network.heads["sparse_linear"](hidden).squeeze(1).float().relu()[counts]
        weights = positive.new_zeros(len(keys)).scatter_reduce(0, where, positive, "amax", include_self=True)
        keep = torch.ones(len(hidden), dtype=torch.bool, device=hidden.device)
        keep[batch.first] = False
        tokens = normalize(network.heads["colbert_linear"](hidden[keep]), dim=-1)
        return Part(batch, network.dense_vectors(hidden, batch, skip), weights, keys, tokens)

    def shapes(self, batch: Packed) -> list[torch.Size]:
        """Of the tensors of the batch's part, without computing them."""
        dense = torch.Size((len(batch), self.network.dim))
        if not self.heads:
            return [dense]
        n_tokens = len(batch.ids) - len(batch)
        return [dense, torch.Size((len(self._keys(batch)[0]),)), torch.Size((n_tokens, self.network.multi_dim))]

    def part(self, batch: Packed, tensors: Sequence[Tensor]) -> Part:
        """The part whose tensors another process has computed."""
        if not self.heads:
            return Part(batch, tensors[0])
        return Part(batch, tensors[0], tensors[1], self._keys(batch)[0], tensors[2])

    def _keys(self, batch: Packed) -> tuple[Tensor, Tensor, Tensor]:
        """(keys of each text's distinct terms, which of them each counting token has, which tokens count)."""
        lengths = torch.from_numpy(np.diff(batch.offsets)).to(batch.ids.device)
        rows = torch.repeat_interleave(torch.arange(len(batch), device=batch.ids.device), lengths)
        counts = ~torch.isin(batch.ids, self._unused)
        keys, where = torch.unique((rows * self.width + batch.ids)[counts], return_inverse=True)
        return keys, where, counts
