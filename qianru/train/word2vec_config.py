"""What word vectors are learnt like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word2VecConfig:
    """Word2Vec's settings, which checks them; the defaults are for thousands of texts.

    dim: of the vectors;  window: words of context to each side;  min_count: rarer words get no vector
    sg: skip-gram, else CBOW;  negative: noise words for each true one;  epochs: passes over the texts
    """

    dim: int = 128
    window: int = 10
    min_count: int = 5
    sg: bool = True
    negative: int = 5
    epochs: int = 20
