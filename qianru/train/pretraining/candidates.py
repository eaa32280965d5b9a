"""Which words a hidden token is guessed among: those of the batch and some of the others, in place of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from qianru.types import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The words of a step. Softmax over them estimates softmax over all, and is it if all others are drawn.

        words of the batch           each for itself
        others, drawn evenly         each for as many words as there are others for one that is drawn

    ids: (c,) the words;  added: (c,) to their logits: the logarithm of how many words each stands for
    column: (vocabulary,) of each candidate among them
    Source: sampled softmax (Jean et al. 2015, arXiv 1412.2007), the chance of being drawn taken out of the logits.
    """

    ids: Tensor
    added: Tensor
    column: Tensor

    @classmethod
    def drawn(
        cls, texts: Sequence[IntArray], vocab_size: int, n_others: int, rng: np.random.Generator, device: str = "cpu"
    ) -> Self:
        """The words of the texts with n_others more, or all if there are no more."""
        own = np.unique(np.concatenate(texts))
        others = np.setdiff1d(np.arange(vocab_size), own, assume_unique=True)
        n_drawn = min(n_others, len(others))
        ids = np.concatenate([own, rng.choice(others, n_drawn, replace=False)])
        added = np.zeros(len(ids), np.float32)
        if n_drawn:
            added[len(own) :] = np.log(len(others) / n_drawn)
        column = np.zeros(vocab_size, np.int64)
        column[ids] = np.arange(len(ids))
        return cls(*(torch.from_numpy(numbers).to(device) for numbers in (ids, added, column)))

    def words(self, table: Tensor) -> Tensor:
        """(vocabulary, d) -> (c, d)."""
        return table[self.ids]

    def bias(self, of_all: Tensor) -> Tensor:
        """(vocabulary,) -> (c,), the correction included."""
        return of_all[self.ids] + self.added
