"""Numbers for the losses, the same everywhere. Needs no part of Qianru: a reference environment reads it too."""

from __future__ import annotations

import numpy as np

B, GROUP, D, LENGTH = 6, 3, 8, 5   # queries, documents of each, dimensions, tokens of each text
TEMPERATURE = 0.05
DIMS = (8, 4, 2)
Array = np.ndarray


def unit(vectors: Array) -> Array:
    """Brought to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def drawn(seed: int, *shape: int) -> Array:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


QUERIES = unit(drawn(1, B, D))
DOCUMENTS = unit(drawn(2, B * GROUP, D))                    # each query's positive, then its negatives
DEGREES = np.array([0.0, 3.0, 1.0, 3.0, 5.0, 1.0])          # with ties, as STS-B has them
TEACHER_SCORES = drawn(3, B, GROUP) * 2
TEACHER_VECTORS = drawn(4, B, D)
TERMS_Q = np.abs(drawn(5, B, 20)) * 0.3                     # weights of 20 terms
TERMS_D = np.abs(drawn(6, B * GROUP, 20)) * 0.3
TOKENS_Q = unit(drawn(7, B, LENGTH, D))
TOKENS_D = unit(drawn(8, B * GROUP, LENGTH, D))
POEMS = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡", "我爱吃蔬菜", "明月光", "思故乡我低头望明月",
         "地上霜是明月光"]
