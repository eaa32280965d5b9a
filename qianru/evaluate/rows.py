"""Rows of embeddings: taken, put together, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qianru.errors import BadInput
from qianru.types import Embeddings, IntArray, Kind, Ragged, SparseRows


def take(embeddings: Embeddings, rows: IntArray, n_truncated: int = 0) -> Embeddings:
    """The named rows, in that order; n_truncated: how many of these were cut, which only the caller can know."""
    dense, sparse, multi = embeddings.dense, embeddings.sparse, embeddings.multi
    return Embeddings(
        embeddings.model, embeddings.n_tokens[rows], n_truncated,
        None if dense is None else dense[rows],
        None if sparse is None else sparse.take(rows),
        None if multi is None else take_ragged(multi, rows),
    )


def join(parts: Sequence[Embeddings]) -> Embeddings:
    """The rows of all parts, at least one, in order; all of the same kinds."""
    if len(parts) == 1:
        return parts[0]
    made: dict[str, Any] = {}
    if parts[0].dense is not None:
        made["dense"] = np.concatenate([part.dense for part in parts if part.dense is not None])
    if parts[0].sparse is not None:
        made["sparse"] = SparseRows.concat([part.sparse for part in parts if part.sparse is not None])
    if parts[0].multi is not None:
        every = [part.multi for part in parts if part.multi is not None]
        lengths = np.concatenate([np.diff(part.offsets) for part in every])
        made["multi"] = Ragged(np.concatenate([part.data for part in every]), _offsets(lengths))
    n_tokens = np.concatenate([part.n_tokens for part in parts])
    return Embeddings(parts[0].model, n_tokens, sum(part.n_truncated for part in parts), **made)


def take_ragged(ragged: Ragged, rows: IntArray) -> Ragged:
    """The named matrices, in that order.

    >>> take_ragged(Ragged(np.arange(6.0).reshape(3, 2), np.array([0, 1, 3])), np.array([1, 0])).data.tolist()
    [[2.0, 3.0], [4.0, 5.0], [0.0, 1.0]]
    """
    lengths = np.diff(ragged.offsets)[rows]
    offsets = _offsets(lengths)
    where = np.repeat(ragged.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Ragged(ragged.data[where], offsets)


def check(embeddings: Embeddings, texts: Sequence[str], kinds: Sequence[Kind]) -> None:
    """BadInput, naming model and text, for too few rows, a kind that is missing and numbers that are not finite."""
    name = embeddings.model
    if len(embeddings) != len(texts):
        raise BadInput(f"{name} made {len(embeddings)} vectors of {len(texts)} texts. It cannot be evaluated so.")
    for kind in kinds:
        part = getattr(embeddings, kind)
        if part is None:
            raise BadInput(f"{name} says that it makes {kind} vectors, and made none.")
        values = part if kind == "dense" else part.weights if kind == "sparse" else part.data
        if not np.isfinite(values.sum(dtype=np.float64)):     # one pass without a copy; the culprit is sought only then
            row = _not_finite(part, kind)
            if row is not None:
                raise BadInput(f"{name} makes a {kind} vector that holds NaN or infinity of the text "
                               f"'{texts[row][:60]}'. Look at its weights and precision.")


def _not_finite(part: Any, kind: Kind) -> int | None:
    """The first row with a number that is not finite; None if the sum was merely too large."""
    if kind == "dense":
        rows = np.flatnonzero(~np.isfinite(part).all(axis=1))
    else:
        values = part.weights if kind == "sparse" else part.data.sum(axis=1)
        rows = np.searchsorted(part.offsets, np.flatnonzero(~np.isfinite(values)), "right") - 1
    return int(rows[0]) if len(rows) else None


def _offsets(lengths: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
