"""From the vectors of a text's words or tokens to the vector of the text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, SpecMismatch, UnknownName
from qianru.types import FloatArray, IntArray, SparseRows

BLOCK = 1 << 17   # numbers of a block of word vectors: 0.5 MB, which stays in the cache; twice as fast as 16 MB


@dataclass(frozen=True, slots=True)
class Pooling:
    """How the vectors of a text's words become the vector of the text.

    weighting: "mean": all words count alike; "sif": a word counts a / (a + p), p being its share of the corpus
    a: only for "sif"; 1e-3 to 1e-4 do best
    remove_common: take out of every text the direction that the corpus's texts share most
    characters: a word that the table lacks is read as those of its Chinese characters that the table has
    Source of sif and remove_common: Arora, Liang and Ma 2017.
    """

    weighting: Literal["mean", "sif"] = "mean"
    a: float = 1e-3
    remove_common: bool = False
    characters: bool = True

    def __post_init__(self) -> None:
        if self.weighting not in ("mean", "sif"):
            raise UnknownName("weighting", str(self.weighting), ["mean", "sif"])
        if not 0 < self.a <= 1:
            raise BadInput(f"a stands beside shares of the corpus, so it lies between 0 and 1, not at {self.a}.")
        for name in ("remove_common", "characters"):
            if not isinstance(getattr(self, name), bool):
                raise BadInput(f"{name} is true or false, not {getattr(self, name)!r}.")

    def to_json(self) -> dict[str, Any]:
        """Every option, as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, options: dict[str, Any]) -> Pooling:
        """The options that to_json described."""
        try:
            return cls(**options)
        except TypeError:
            raise SpecMismatch(f"{options} are not the options of pooling. Fit and save the model again.") from None


def weighted_sums(rows: SparseRows, table: FloatArray) -> FloatArray:
    """(n, d) float32 sums of weight times vector over each row's terms; zero for a row without any.

    rows: which rows of the table each text has, and how much each counts
    A text's sum adds its terms in ascending order, so it is the same bit for bit alone and in a batch.

    >>> weighted_sums(SparseRows.from_rows([{0: 1.0, 1: 2.0}, {}], 2), np.array([[1.0, 0], [0, 1]])).tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    sums = np.zeros((len(rows), table.shape[1]), np.float32)
    start = 0
    while start < len(rows):
        limit = rows.offsets[start] + BLOCK // max(1, table.shape[1])
        end = max(start + 1, int(np.searchsorted(rows.offsets, limit, "right")) - 1)
        here = slice(rows.offsets[start], rows.offsets[end])
        some = np.flatnonzero(np.diff(rows.offsets[start : end + 1])) + start   # reduceat cannot take empty parts
        if len(some):
            vectors = table[rows.terms[here]].astype(np.float32)                # (terms, d)
            vectors *= rows.weights[here, None].astype(np.float32)
            sums[some] = np.add.reduceat(vectors, rows.offsets[some] - here.start, axis=0)
        start = end
    return sums


def means(counts: SparseRows, table: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """(n, d) float32 means of the vectors that each text has, each counted as often as it stands there.

    weights: (v,) what each vector is multiplied with before; the sum is still divided by the plain number of vectors
    """
    scaled = counts.weights if weights is None else counts.weights * weights[counts.terms]
    sums = weighted_sums(SparseRows(counts.offsets, counts.terms, scaled, counts.width), table)
    before = np.concatenate([[0.0], np.cumsum(counts.weights, dtype=np.float64)])
    n = np.diff(before[counts.offsets])
    return np.asarray(sums / np.maximum(n, 1)[:, None], np.float32)


def sif_weights(occurrences: IntArray, a: float) -> FloatArray:
    """(v,) a / (a + p) with p each word's share of all occurrences.

    >>> sif_weights(np.array([999, 1]), a=0.001).round(4).tolist()
    [0.001, 0.5]
    """
    total = max(1, int(occurrences.sum()))
    weights: FloatArray = a / (a + occurrences / total)
    return weights


def common_direction(blocks: Iterable[FloatArray]) -> FloatArray:
    """(d,) float32 unit vector along which the rows of all blocks lie most: their first right singular vector.

    Zeros if there are no rows or only zeros. Through the d x d products, so the rows need not fit in memory at once.
    """
    products: NDArray[np.float64] | None = None
    for block in blocks:
        wide = block.astype(np.float64)
        products = wide.T @ wide if products is None else products + wide.T @ wide
    if products is None or not products.any():
        return np.zeros(0 if products is None else len(products), np.float32)
    direction = np.linalg.eigh(products)[1][:, -1].astype(np.float32)   # eigenvalues ascend
    sign = np.sign(direction[np.abs(direction).argmax()])
    return np.asarray(sign * direction, np.float32)


def without(direction: FloatArray, vectors: FloatArray) -> FloatArray:
    """(n, d) vectors less their part along the unit direction, row by row the same alone and in a batch."""
    along = np.einsum("nd,d->n", vectors, direction)
    result: FloatArray = vectors - along[:, None] * direction
    return result
