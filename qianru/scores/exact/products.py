"""Fast products of dense vectors whose error is known, in less than float32 where torch has the instructions for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qianru.scores.exact.compiled import spread

Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")

ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-8}
"""Unit roundoff: how far the nearest number of that type may be, as a proportion."""
ROWS_PER_THREAD = 256
LEAST_DIM = 8       # torch 2.13 gives wrong products of int8 for one dimension
MOST_DIM = {"float32": 2**53, "bfloat16": 2**53, "int8": (2**31 - 1) // 127**2}     # sums of int8 products are int32


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Vectors as a product takes them.

    codes: (n, d) float32, int8, or bfloat16's bits as int16;  scales (n,): times this they are the vectors but for
    errors: (n,) the length of what is missing;  lengths: (n,) of the vectors;  all of these float32
    """

    codes: NDArray[Any]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]
    lengths: NDArray[np.float32]


def measured(vectors: NDArray[np.float32], n_threads: int | None) -> NDArray[np.float64]:
    """As blocks.lengths_of, with numba's help."""
    from qianru.scores.exact.dense_numba import measure

    lengths = np.empty(len(vectors))
    spread(partial(measure, vectors, lengths), len(vectors), n_threads, ROWS_PER_THREAD)
    return lengths


def coded(
    vectors: NDArray[np.float32], lengths: NDArray[np.float64], precision: Precision, n_threads: int | None
) -> Coded:
    """The vectors in that precision, with numba's help."""
    from qianru.scores.exact.dense_numba import narrow, quantize

    n = len(vectors)
    short = lengths.astype(np.float32)
    ones = np.ones(n, np.float32)
    if precision == "int8":
        codes, scales, errors = np.empty(vectors.shape, np.int8), np.empty(n, np.float32), np.empty(n, np.float32)
        made = partial(quantize, vectors, vectors.view(np.uint32), codes, scales, errors)
        spread(made, n, n_threads, ROWS_PER_THREAD)
        return Coded(codes, scales, errors, short)
    if precision == "bfloat16":
        half, errors = np.empty(vectors.shape, np.uint16), np.empty(n, np.float32)
        spread(partial(narrow, vectors, vectors.view(np.uint32), half, errors), n, n_threads, ROWS_PER_THREAD)
        return Coded(half.view(np.int16), ones, errors, short)
    return Coded(vectors, ones, np.zeros(n, np.float32), short)


class Product:
    """Products of coded queries with coded documents, into memory of its own that the next call writes over."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._space = np.empty(0, np.int32 if precision == "int8" else np.float32)

    def __call__(self, queries: NDArray[Any], documents: NDArray[Any]) -> NDArray[Any]:
        """(q, b) float32, or int32 for int8."""
        shape = len(queries), len(documents)
        if len(self._space) < shape[0] * shape[1]:
            self._space = np.empty(shape[0] * shape[1], self._space.dtype)
        result = self._space[: shape[0] * shape[1]].reshape(shape)
        if self._precision == "float32":
            return np.matmul(queries, documents.T, out=result)
        import torch

        left, right, out = torch.from_numpy(queries), torch.from_numpy(documents), torch.from_numpy(result)
        if self._precision == "int8":
            torch._int_mm(left, right.T, out=out)
        else:
            out.copy_(left.view(torch.bfloat16) @ right.view(torch.bfloat16).T)
        return result


def relative_error(precision: Precision, dim: int) -> float:
    """How far a product of coded vectors of length 1 may be from the true product of those codes."""
    summed = dim * ROUNDING["float32"]      # Higham, Accuracy and Stability of Numerical Algorithms, 3.1
    if precision == "int8":
        return 1e-6     # whole numbers are summed exactly; what is left is rounding to float32, here and there
    return 2 * summed + (ROUNDING["bfloat16"] if precision == "bfloat16" else 0) + 1e-6


def usable(precision: Precision, dim: int) -> Precision:
    """The precision, or float32 where there is nothing faster: for very few or many dimensions, without torch."""
    if precision == "float32" or not LEAST_DIM <= dim <= MOST_DIM[precision]:
        return "float32"
    if find_spec("torch") is None or not _right(precision):
        return "float32"
    return precision


@lru_cache
def _right(precision: Precision) -> bool:
    """Whether the product is right: some processors without instructions for int8 saturate on the way."""
    import torch

    if precision == "bfloat16":
        return True
    if not hasattr(torch, "_int_mm"):
        return False
    largest = np.full((32, 512), 127, np.int8)
    largest[::2] = -127
    product = Product("int8")(largest, largest)
    return bool((np.abs(product) == 512 * 127 * 127).all())
