"""What every index does around its search: checks what comes in, and cuts what goes out."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.index.base import Ranking
from qianru.types import Embeddings, IntArray, Kind, SparseRows, Value

MAX_TERM = 2**32        # a term's column is a 32-bit number in the engine
WHOLE = range(-(2**63), 2**63)
NOTHING = Ranking(np.empty(0, np.int64), np.empty(0, np.float32))
STORABLE: tuple[Kind, ...] = ("dense", "sparse")


class Rows(NamedTuple):
    """Checked rows: ids (n,) int64, dense (n, dim) float32, sparse with float32 weights other than 0."""

    ids: NDArray[np.int64]
    dense: NDArray[np.float32] | None
    sparse: SparseRows | None
    fields: Sequence[Mapping[str, Value]]


def checked_kinds(kinds: Sequence[Kind], dim: int | None) -> tuple[tuple[Kind, ...], int]:
    """The kinds in one order and the dimension, 0 without dense vectors."""
    for kind in kinds:
        if kind not in STORABLE:
            raise UnknownName("kind of vector that an index stores", kind, STORABLE)
    if not kinds:
        raise BadInput(f"An index stores at least one kind of vector: {' or '.join(STORABLE)}.")
    if "dense" in kinds and (dim is None or dim < 1):
        raise BadInput(f"Dense vectors need a number of dimensions above 0, not {dim}.")
    return tuple(kind for kind in STORABLE if kind in kinds), (dim or 0) if "dense" in kinds else 0


def checked_rows(
    kinds: Sequence[Kind], dim: int, ids: IntArray, embeddings: Embeddings, fields: Sequence[Mapping[str, Value]]
) -> Rows:
    """The rows as an index stores them. Raises before anything is stored."""
    if not len(ids) == len(embeddings) == len(fields):
        raise ShapeMismatch(
            f"{len(ids)} ids, {len(embeddings)} embeddings and {len(fields)} fields do not belong together one to one."
        )
    numbers = checked_ids(ids)
    if len(np.unique(numbers)) != len(numbers):
        raise BadInput("An id stands twice in one call. Keep the row that should count.")
    for i, row in enumerate(fields):
        _check_fields(i, row)
    dense = checked_dense(embeddings, dim) if "dense" in kinds else None
    sparse = checked_sparse(embeddings) if "sparse" in kinds else None
    return Rows(numbers, dense, sparse, fields)


def checked_ids(ids: IntArray) -> NDArray[np.int64]:
    """The ids as int64. Raises BadInput for what is no whole number from 0 to 2**63 - 1."""
    numbers = np.asarray(ids)
    if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and len(numbers)):
        raise BadInput(f"Ids are one row of whole numbers, not an array of {numbers.dtype} of shape {numbers.shape}.")
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= 2**63):
        raise BadInput(f"Ids go from 0 to 2**63 - 1; these go from {numbers.min()} to {numbers.max()}.")
    return numbers.astype(np.int64)


def checked_search(kinds: Sequence[Kind], kind: Kind, k: int) -> int:
    """k as an int. Raises UnknownName for a kind that the index does not store."""
    if kind not in kinds:
        raise UnknownName("kind in this index", kind, kinds)
    try:
        wanted = operator.index(k)
    except TypeError:
        wanted = -1
    if wanted < 0:
        raise BadInput(f"k is a number of answers, 0 or more, not {k!r}.")
    return wanted


def checked_dense(embeddings: Embeddings, dim: int) -> NDArray[np.float32]:
    """(n, dim) float32, all finite."""
    dense = embeddings.dense
    if dense is None:
        raise BadInput(f"{embeddings.model} made no dense vectors, and this index stores them.")
    if dense.ndim != 2 or dense.shape[1] != dim:
        raise ShapeMismatch(
            f"This index holds {dim} dimensions; {embeddings.model} makes an array of shape {dense.shape}. "
            "Rebuild the index, or load the model that made it."
        )
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(dense, np.float32)
    if not np.isfinite(narrow).all():
        row = int(np.flatnonzero(~np.isfinite(narrow).all(axis=1))[0])
        raise BadInput(f"The dense vector of row {row} (counting from 0) holds a number that is not finite in float32.")
    return narrow


def checked_sparse(embeddings: Embeddings) -> SparseRows:
    """The rows with float32 weights, finite and without zeros, which stand for an absent term."""
    sparse = embeddings.sparse
    if sparse is None:
        raise BadInput(f"{embeddings.model} made no sparse vectors, and this index stores them.")
    offsets, terms = sparse.offsets, sparse.terms
    with np.errstate(over="ignore"):
        weights = sparse.weights.astype(np.float32, copy=False)
    if len(terms):
        if not np.isfinite(weights).all():
            raise BadInput("A sparse vector holds a weight that is not a finite number in float32.")
        if terms.min() < 0 or terms.max() >= MAX_TERM:
            raise BadInput(f"Sparse terms go from 0 to 2**32 - 1; these go from {terms.min()} to {terms.max()}.")
        falls = terms[1:] <= terms[:-1]
        if falls.any():
            inner = offsets[1:-1]
            falls[inner[(inner > 0) & (inner < len(terms))] - 1] = False      # from one row to the next anything goes
            if falls.any():
                raise BadInput("The terms of a sparse row must be ascending, each once.")
        if np.count_nonzero(weights) < len(weights):
            present = weights != 0
            kept = np.concatenate([[0], np.cumsum(present)])
            return SparseRows(kept[offsets], terms[present], weights[present], sparse.width)
    return SparseRows(offsets, terms, weights, sparse.width)


def _check_fields(i: int, row: Mapping[str, Value]) -> None:
    for name, value in row.items():
        for v in value if isinstance(value, list | tuple) else (value,):
            if isinstance(v, str):
                good = v.isascii() or _encodable(v)
            elif isinstance(v, int):
                good = v in WHOLE
            else:
                good = isinstance(v, float) and math.isfinite(v)
            if not good:
                raise BadInput(
                    f"Field {name!r} of row {i} (counting from 0) holds {v!r:.60}; a field holds text, a finite number "
                    "(whole ones of 64 bits), true or false, or a list of these."
                )
        if not isinstance(name, str) or not name or not _encodable(name):
            raise BadInput(f"A field of row {i} (counting from 0) is named {name!r}; a name is text that is not empty.")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:      # half a character: a lone surrogate
        return False
    return True
