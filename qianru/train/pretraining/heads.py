"""What guesses tokens from states; thrown away when pre-training is done."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import gelu, layer_norm, normalize

from qianru.runtime import product

SPREAD = 0.02   # of weights drawn at random, as BERT's
LOG_SCALE = 3.0  # e^3 = 20 times the cosine, as a temperature of 0.05


class TokenHead(nn.Module):
    """BERT's: a layer, then products with the table of words, which the encoder learns too, and a bias of each."""

    def __init__(self, hidden: int, vocab_size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(hidden, hidden) * SPREAD), nn.Parameter(torch.zeros(hidden))
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))
        self.word_bias = nn.Parameter(torch.zeros(vocab_size))
        self.eps = eps

    def before_words(self, states: Tensor) -> Tensor:
        """(m, hidden) -> (m, hidden), whose products with the words are the logits."""
        made = gelu(product.linear(states, self.weight, self.bias))
        return layer_norm(made, self.norm_weight.shape, self.norm_weight, self.norm_bias, self.eps)


class CosineHead(nn.Module):
    """Products of a vector's direction with the table of words: what is learnt is what cosines will compare."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(LOG_SCALE))
        self.word_bias = nn.Parameter(torch.zeros(vocab_size))

    def before_words(self, vectors: Tensor) -> Tensor:
        """(n, hidden) -> (n, hidden), whose products with the words are the logits."""
        return normalize(vectors, dim=-1) * self.log_scale.exp()


class OneLayerDecoder(nn.Module):
    """RetroMAE's: every token of a text from its vector and about half of the others' embeddings, never its own.

        query of place i    norm(vector + position i)
        keys and values     the vector, then the embeddings of all tokens but the first
        place i sees        the vector, and each other token with probability 1 - share, drawn anew for each place

    Source: Xiao et al. 2022 (RetroMAE, arXiv 2205.12035), section 3.3, enhanced decoding.
    """

    def __init__(self, hidden: int, inner: int, n_heads: int, eps: float) -> None:
        super().__init__()
        self.n_heads, self.eps = n_heads, eps
        sizes = {"query": (hidden, hidden), "key": (hidden, hidden), "value": (hidden, hidden), "out": (hidden, hidden),
                 "up": (inner, hidden), "down": (hidden, inner)}
        for name, size in sizes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(size) * SPREAD))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(size[0])))
        for name in ("attention", "output"):
            self.register_parameter(f"{name}_norm", nn.Parameter(torch.ones(hidden)))
            self.register_parameter(f"{name}_norm_bias", nn.Parameter(torch.zeros(hidden)))

    def forward(self, queries: Tensor, keys: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """(total, hidden) states of texts end to end. seen: (n, length, length) bool of every n of one length."""
        q, k, v = (self._linear(x, name) for x, name in ((queries, "query"), (keys, "key"), (keys, "value")))
        mixed, at = [], 0
        for mask in seen:
            here = slice(at, at := at + mask[..., 0].numel())
            query, key, value = (self._heads(x[here], mask) for x in (q, k, v))
            found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None])
            mixed.append(found.transpose(1, 2).flatten(2).flatten(0, 1))     # (n, heads, length, d) -> (tokens, hidden)
        hidden = self._norm(queries + self._linear(torch.cat(mixed), "out"), "attention_norm")
        return self._norm(hidden + self._linear(gelu(self._linear(hidden, "up")), "down"), "output_norm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return product.linear(x, self.get_parameter(name), self.get_parameter(f"{name}_bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.get_parameter(name)
        return layer_norm(x, weight.shape, weight, self.get_parameter(f"{name}_bias"), self.eps)

    def _heads(self, x: Tensor, mask: Tensor) -> Tensor:
        """(tokens, hidden) -> (n, heads, length, d)."""
        return x.view(*mask.shape[:2], self.n_heads, -1).transpose(1, 2)
