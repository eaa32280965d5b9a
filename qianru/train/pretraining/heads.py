"""What guesses tokens from states; thrown away when pre-training is done."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import gelu, layer_norm

from qianru.runtime import product
from qianru.train.losses.masked import guessed_by_words

SPREAD = 0.02   # of weights drawn at random, as BERT's


class TokenHead(nn.Module):
    """BERT's: a layer, then products with the table of words, which the encoder learns too, and a bias of each."""

    def __init__(self, hidden: int, vocab_size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(hidden, hidden) * SPREAD), nn.Parameter(torch.zeros(hidden))
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))
        self.word_bias = nn.Parameter(torch.zeros(vocab_size))
        self.eps = eps

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """(m, hidden), (vocabulary, hidden) -> (m, vocabulary)."""
        return product.linear(self.before_words(states), words, self.word_bias)

    def before_words(self, states: Tensor) -> Tensor:
        """(m, hidden) -> (m, hidden), whose products with the words are the logits."""
        made = gelu(product.linear(states, self.weight, self.bias))
        return layer_norm(made, self.norm_weight.shape, self.norm_weight, self.norm_bias, self.eps)

    def guessed(self, states: Tensor, words: Tensor, ids: Tensor, *, bfloat16: bool = False) -> Tensor:
        """The sum of the negative log-probabilities of the right tokens."""
        return guessed_by_words(self.before_words(states).float(), words, self.word_bias, ids, bfloat16=bfloat16)


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

    def forward(self, queries: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
        """(n, length, hidden) states of n texts of one length. seen: (n, length, length) bool."""
        q, k, v = (self._heads(self._linear(x, name))
                   for x, name in ((queries, "query"), (keys, "key"), (keys, "value")))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
        hidden = self._norm(queries + self._linear(mixed.transpose(1, 2).flatten(2), "out"), "attention_norm")
        return self._norm(hidden + self._linear(gelu(self._linear(hidden, "up")), "down"), "output_norm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return product.linear(x, self.get_parameter(name), self.get_parameter(f"{name}_bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.get_parameter(name)
        return layer_norm(x, weight.shape, weight, self.get_parameter(f"{name}_bias"), self.eps)

    def _heads(self, x: Tensor) -> Tensor:
        """(n, length, hidden) -> (n, heads, length, d)."""
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)
