"""Where clusters are looked for: unit rows on the few main axes of the vectors, dense or sparse alike."""

from __future__ import annotations

from inspect import signature
from typing import Any, TypeAlias

import numpy as np

from qianru.errors import BadInput, require
from qianru.scores import Vectors
from qianru.types import FloatArray, IntArray, SparseRows

NO_LENGTH = 1e-4    # of what is left of a row that is the mean itself
N_AXES = 64         # 50 to 100 made no difference on five sets of labelled texts; 200 was worse


Views: TypeAlias = Vectors | tuple[Vectors, ...]
"""(n, d) array or n sparse rows; or several of these, of the same n texts, by models that see different things."""


def main_axes(vectors: Views, n_axes: int = N_AXES, seed: int = 0, *, centred: bool = True) -> FloatArray:
    """(n, a) unit rows on at most so many main axes of each view; a row of zeros stays one.

    The axes are the right singular vectors of the unit rows (LSA): what all texts share a little of, noise for
    k-means, is left out. What all dense rows have in common, their mean, is taken off first if they are centred.
    Raises BadInput for a row that is not made of finite numbers.
    """
    if isinstance(vectors, tuple):
        return unit(np.hstack([main_axes(view, n_axes, seed, centred=centred) for view in vectors]))
    matrix = as_matrix(vectors)
    n, d = matrix.shape
    if isinstance(matrix, np.ndarray):
        rows = _centred(unit(matrix)) if centred else unit(matrix)
        if d <= n_axes:
            return rows
        _, directions = np.linalg.eigh(rows.T.astype(np.float64) @ rows)       # ascending; d x d, whatever n
        return unit(rows @ directions[:, ::-1][:, :n_axes].astype(np.float32))
    if min(n, d) <= n_axes + 1:
        return unit(matrix.toarray())
    return unit(_on_main_axes(matrix.astype(np.float64), n_axes, seed))


def _on_main_axes(matrix: Any, n_axes: int, seed: int) -> FloatArray:
    """(n, n_axes) the rows of a scipy matrix on its first right singular vectors, each with its largest part positive.

    ARPACK draws vectors, the first one and others where singular values are equal or zero, as with texts made after one
    pattern; of its own it would draw other ones in every run.
    """
    linalg = require("scipy.sparse.linalg", "evaluate", "Clustering sparse vectors")
    n, d = matrix.shape
    sides = (matrix, matrix.T) if n < d else (matrix.T, matrix)
    product = linalg.LinearOperator((min(n, d),) * 2, lambda x: sides[0] @ (sides[1] @ x), dtype=np.float64)
    generator = np.random.default_rng(seed)
    seeded = {"rng": generator} if "rng" in signature(linalg.eigsh).parameters else {}      # from SciPy 1.17 on
    values, vectors = linalg.eigsh(product, n_axes, v0=generator.uniform(-1, 1, min(n, d)), **seeded)
    made = vectors * np.sqrt(np.maximum(values, 0)) if n < d else matrix @ vectors
    made = made[:, ::-1]
    positive: FloatArray = made * np.where(made[np.abs(made).argmax(axis=0), np.arange(n_axes)] < 0, -1, 1)
    return positive


def _centred(rows: FloatArray) -> FloatArray:
    """Unit rows about the mean of those that are not zero, which stay; as they were if all are the same."""
    some = np.abs(rows).max(axis=1, initial=0) > 0
    moved = np.zeros_like(rows)
    if not some.any():
        return rows
    moved[some] = rows[some] - rows[some].mean(axis=0)
    if not (np.linalg.norm(moved[some], axis=1) > NO_LENGTH).all():
        return rows
    return unit(moved)


def as_matrix(vectors: Vectors) -> Any:
    """(n, d) float32 array, or a scipy matrix of sparse unit rows; BadInput for numbers that are not finite."""
    if not isinstance(vectors, SparseRows):
        dense = np.asarray(vectors)
        if dense.ndim != 2:
            raise BadInput(f"Vectors are a matrix with a row for each text, not an array of shape {dense.shape}.")
        bad = np.flatnonzero(~np.isfinite(dense).all(axis=1))
        if len(bad):
            raise BadInput(f"The vector of text {bad[0]} (counting from 0) holds a number that is not finite. Leave "
                           "the text out, or embed it again.")
        return dense.astype(np.float32, copy=False)
    sparse = require("scipy.sparse", "evaluate", "Clustering sparse vectors")
    if not np.isfinite(vectors.weights).all():
        at = int(np.flatnonzero(~np.isfinite(vectors.weights))[0])
        row = int(np.searchsorted(vectors.offsets, at, "right")) - 1
        raise BadInput(f"The vector of text {row} (counting from 0) holds a weight that is not finite. Leave the text "
                       "out, or embed it again.")
    lengths = np.repeat(vectors.norms(), np.diff(vectors.offsets))
    weights = vectors.weights / np.where(lengths > 0, lengths, 1)
    return sparse.csr_matrix((weights.astype(np.float32), vectors.terms, vectors.offsets),
                             (len(vectors), max(vectors.width, 1)))


def rows_of(vectors: Views, rows: IntArray) -> Views:
    """The named rows of every view."""
    if isinstance(vectors, tuple):
        return tuple(view.take(rows) if isinstance(view, SparseRows) else np.asarray(view)[rows] for view in vectors)
    return vectors.take(rows) if isinstance(vectors, SparseRows) else np.asarray(vectors)[rows]


def unit(rows: FloatArray) -> FloatArray:
    """(n, d) float32 rows of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(rows.astype(np.float64, copy=False), axis=1, keepdims=True)
    unit_rows: FloatArray = (rows / np.where(lengths > 1e-12, lengths, 1)).astype(np.float32)
    return unit_rows
