"""Tokens guessed from states."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from qianru.train.losses.numbers import at_least_float32


def guessed(logits: Tensor, ids: Tensor) -> Tensor:
    """Sum of the negative log-probabilities of the right tokens; the caller knows how many there are in all.

    logits: (m, vocabulary);  ids: (m,)
    """
    return cross_entropy(at_least_float32(logits), ids, reduction="sum")


def bag_of_words(reached: Tensor, rows: Tensor, terms: Tensor, shares: Tensor) -> Tensor:
    """Sum over texts of the mean negative log-probability of their distinct tokens, in one softmax over the vocabulary.

    reached: (n, vocabulary) the largest logit of each token id among the states of a text's tokens
    rows, terms: (u,) the distinct tokens of each text;  shares: (u,) one over how many its text has
    Source: Xiao et al. 2022 (DupMAE, arXiv 2211.08769), section 3.2, every token weighing the same.
    """
    log_probabilities = at_least_float32(reached).log_softmax(1)
    return -(shares * log_probabilities[rows, terms]).sum()
