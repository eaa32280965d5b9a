"""Embeddings written out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qianru.types import Embeddings, SparseRows


def vectors(
    dense: Sequence[Sequence[float]] | None = None,
    sparse: Sequence[Mapping[int, float]] | None = None,
    width: int = 100,
) -> Embeddings:
    """Embeddings; what is left out is of zeros or empty."""
    n = len(dense) if dense is not None else len(sparse or [])
    return Embeddings(
        "by hand",
        np.zeros(n, np.int64),
        dense=np.array(dense, np.float64) if dense is not None and n else np.zeros((n, 2)),
        sparse=SparseRows.from_rows(sparse if sparse is not None else [{}] * n, width),
    )
