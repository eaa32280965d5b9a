"""Hits that are not all alike: maximal marginal relevance, and at most so many from one group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from qianru.scores import cosine
from qianru.types import Document, Embeddings, FloatArray


def diverse(scores: FloatArray, vectors: Embeddings, share: float) -> NDArray[np.int64]:
    """The places of the documents in the order that maximal marginal relevance puts them.

    Each time the one comes next whose share x relevance - (1 - share) x likeness to the likest of those before is the
    largest; of equal ones that with the better score, then the earlier one.

    scores: (n,) of relevance, brought to 0..1
    vectors: of the n documents; likeness is their cosine by dense vectors, without these by sparse ones
    Source: Carbonell and Goldstein 1998.

    >>> twins = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> diverse(np.array([1.0, 0.9, 0.5]), Embeddings("m", np.zeros(3, int), dense=twins), 0.5).tolist()
    [0, 2, 1]
    """
    n = len(scores)
    kind = vectors.dense if vectors.dense is not None else vectors.sparse
    if n < 2 or kind is None:
        return np.arange(n)
    alike = cosine(kind, kind)                                          # (n, n)
    low, high = float(scores.min()), float(scores.max())
    relevance = (np.asarray(scores, np.float64) - low) / (high - low) if high > low else np.ones(n)
    order: list[int] = []
    nearest = np.zeros(n)                                               # likeness to the likest that is chosen
    left = np.ones(n, bool)
    for _ in range(n):
        gain = np.where(left, share * relevance - (1 - share) * nearest, -np.inf)
        able = np.flatnonzero(gain == gain.max())
        place = int(able[np.argmax(relevance[able])])
        nearest = np.maximum(nearest, alike[place]) if order else np.asarray(alike[place], np.float64)
        order.append(place)
        left[place] = False
    return np.array(order, np.int64)


def grouped(
    found: Iterable[tuple[int, float, Document]], field: str, per_group: int
) -> Iterator[tuple[int, float, Document]]:
    """Those found, in order, without what a group has beyond its best per_group.

    A document without the field is a group of its own.
    """
    taken: Counter[str] = Counter()
    for one in found:
        value = one[2].fields.get(field)
        if value is not None:
            taken[repr(value)] += 1
            if taken[repr(value)] > per_group:
                continue
        yield one
