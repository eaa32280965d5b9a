"""Tokens guessed from states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy

from qianru.runtime import product
from qianru.train.losses.numbers import at_least_float32

CHUNK = 256   # states whose logits are there at once: 22 MB for BERT's Chinese vocabulary


def guessed(logits: Tensor, ids: Tensor) -> Tensor:
    """Sum of the negative log-probabilities of the right tokens; the caller knows how many there are in all.

    logits: (m, vocabulary);  ids: (m,)
    """
    return cross_entropy(at_least_float32(logits), ids, reduction="sum")


def guessed_by_words(
    states: Tensor, words: Tensor, bias: Tensor, ids: Tensor, *, bfloat16: bool = False
) -> Tensor:
    """`guessed` of the logits states words' + bias, which never stand in memory all at once, nor their gradients.

    states: (m, d);  words: (vocabulary, d);  bias: (vocabulary,);  ids: (m,)
    bfloat16: multiply in it; logits and sums are float32 all the same
    The gradient of a chunk is made where its logits are, since the loss is a sum (as in Liger's fused loss, Hsu et al.
    2024, arXiv 2410.10989).
    """
    made: Tensor = _Guessed.apply(states, words, bias, ids, bfloat16)  # type: ignore[no-untyped-call]
    return made


class _Guessed(torch.autograd.Function):
    """loss = sum of logsumexp(l) - l[id];  dl = softmax(l) - onehot(id)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, words: Tensor, bias: Tensor, ids: Tensor, bfloat16: bool) -> Tensor:
        kind = torch.bfloat16 if bfloat16 else states.dtype
        near, total = words.to(kind), states.new_zeros(())
        d_states, d_words, d_bias = torch.empty_like(states), torch.zeros_like(words), torch.zeros_like(bias)
        with torch.autocast(states.device.type, enabled=False):
            for at in range(0, len(states), CHUNK):
                chunk, right = states[at : at + CHUNK].to(kind), ids[at : at + CHUNK, None]
                logits = product.linear(chunk, near, None).to(states.dtype).add_(bias)             # (chunk, vocabulary)
                sums = logits.logsumexp(1, keepdim=True)
                total += (sums - logits.gather(1, right)).sum()
                slopes = logits.sub_(sums).exp_()
                slopes.scatter_add_(1, right, -torch.ones_like(sums))
                d_bias += slopes.sum(0)
                slopes = slopes.to(kind)
                d_states[at : at + CHUNK] = product.linear(slopes, near.t(), None)
                d_words += product.linear(slopes.t(), chunk.t(), None)
        ctx.save_for_backward(d_states, d_words, d_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        d_states, d_words, d_bias = ctx.saved_tensors
        return d_states * slope, d_words * slope, d_bias * slope, None, None


def bag_of_words(reached: Tensor, rows: Tensor, terms: Tensor, shares: Tensor) -> Tensor:
    """Sum over texts of the mean negative log-probability of their distinct tokens, in one softmax over the vocabulary.

    reached: (n, vocabulary) the largest logit of each token id among the states of a text's tokens
    rows, terms: (u,) the distinct tokens of each text;  shares: (u,) one over how many its text has
    Source: Xiao et al. 2022 (DupMAE, arXiv 2211.08769), section 3.2, every token weighing the same.
    """
    log_probabilities = at_least_float32(reached).log_softmax(1)
    return -(shares * log_probabilities[rows, terms]).sum()
