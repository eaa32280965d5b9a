"""What all exact searches check of the blocks that they are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch
from qianru.types import FloatArray, IntArray, Progress

Part = TypeVar("Part", bound=Sized)


def checked_blocks(
    blocks: Iterable[tuple[IntArray, Part]], progress: Progress | None
) -> Iterator[tuple[NDArray[np.int64], Part]]:
    """The blocks with ids as int64, telling how many documents are done.

    Raises ShapeMismatch where ids and vectors are not as many, BadInput for ids that are no whole numbers of 64 bits.
    """
    done = 0
    for ids, part in blocks:
        numbers = np.asarray(ids)
        if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and len(numbers)):
            raise BadInput(f"Ids are one row of whole numbers, not an array of {numbers.dtype} of shape "
                           f"{numbers.shape}.")
        if len(numbers) != len(part):
            raise ShapeMismatch(f"A block has one id for each document, not {len(numbers)} for {len(part)}.")
        if numbers.dtype == np.uint64 and len(numbers) and numbers.max() >= 2**63:
            raise BadInput(f"Ids go up to 2**63 - 1; these go up to {numbers.max()}.")
        yield numbers.astype(np.int64, copy=False), part
        done += len(part)
        if progress is not None:
            progress(done, None)


def checked_matrix(vectors: FloatArray, dim: int | None, what: str) -> None:
    """ShapeMismatch unless the vectors are rows of that many numbers."""
    if vectors.ndim != 2 or (dim is not None and vectors.shape[1] != dim):
        raise ShapeMismatch(f"{what} stand in rows of {'equal length' if dim is None else f'{dim} numbers'}, not in an "
                            f"array of shape {vectors.shape}.")


def check_offsets(offsets: IntArray, what: str) -> None:
    """BadInput unless they begin at 0 and never fall: compiled code would look where nothing is."""
    if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
        raise BadInput(f"The offsets of {what} must begin at 0 and not fall. Were they read from a damaged file?")


def narrowed(vectors: FloatArray) -> NDArray[np.float32]:
    """The vectors as float32, row after row; infinite where they are too large for it."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(vectors, np.float32)


def lengths_of(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) their lengths, not finite where a number is not."""
    with np.errstate(over="ignore", under="ignore"):
        lengths: NDArray[np.float64] = np.sqrt(np.einsum("nd,nd->n", vectors, vectors)).astype(np.float64)
    strange = np.flatnonzero(~((lengths > 1e-15) & (lengths < np.inf)))     # too large or small for float32, or NaN
    for start in range(0, len(strange), 1024):
        rows = strange[start : start + 1024]
        lengths[rows] = np.sqrt(np.square(vectors[rows].astype(np.float64)).sum(axis=1))
    return lengths


def check_finite(lengths: NDArray[np.float64], what: str, first: int = 0) -> None:
    """BadInput where a length, and so a number of the vector, is not finite; first is the number of the first."""
    if not np.isfinite(lengths).all():
        row = first + int(np.flatnonzero(~np.isfinite(lengths))[0])
        raise BadInput(f"{what} {row} (counting from 0) holds a number that is not finite in float32.")


def check_products(left: float, right: float) -> None:
    """BadInput where vectors of these lengths have products that float32 cannot hold."""
    if max(left, right, left * right) > 1e37:
        raise BadInput("The vectors are so long that their dot products overflow float32. Normalise them.")
