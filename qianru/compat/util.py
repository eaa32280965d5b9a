"""sentence-transformers' util: similarities of NumPy arrays, tensors or lists, as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qianru import scores
from qianru.errors import require
from qianru.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor


def cos_sim(a: Any, b: Any) -> Tensor:
    """(n, m) cosines."""
    return as_tensor(scores.cosine(as_rows(a), as_rows(b)))


def dot_score(a: Any, b: Any) -> Tensor:
    """(n, m) dot products."""
    return as_tensor(scores.dot(as_rows(a), as_rows(b)))


def pairwise_cos_sim(a: Any, b: Any) -> Tensor:
    """(n,) cosines of row i and row i."""
    return as_tensor(scores.cosine_pairs(as_rows(a), as_rows(b)))


def pairwise_dot_score(a: Any, b: Any) -> Tensor:
    """(n,) dot products of row i and row i."""
    return as_tensor(scores.dot_pairs(as_rows(a), as_rows(b)))


def semantic_search(query_embeddings: Any, corpus_embeddings: Any, top_k: int = 10) -> list[list[dict[str, Any]]]:
    """For each query its best rows of the corpus by cosine: {"corpus_id": row, "score": cosine}, best first."""
    found = scores.cosine(as_rows(query_embeddings), as_rows(corpus_embeddings))
    order = np.argsort(-found, axis=1, kind="stable")[:, :top_k]
    return [[{"corpus_id": int(i), "score": float(row[i])} for i in best]
            for row, best in zip(found, order, strict=True)]


def as_rows(vectors: Any) -> FloatArray:
    """(n, d) of an array, a tensor or a list of either; a single vector becomes one row."""
    if hasattr(vectors, "detach"):
        vectors = vectors.detach().float().cpu().numpy()
    elif isinstance(vectors, list | tuple) and vectors and hasattr(vectors[0], "detach"):
        vectors = [vector.detach().float().cpu().numpy() for vector in vectors]
    rows = np.asarray(vectors)
    rows = rows if rows.dtype.kind == "f" else rows.astype(np.float32)
    return rows[None] if rows.ndim == 1 else rows


def as_tensor(array: FloatArray) -> Tensor:
    """The same numbers as torch has them."""
    tensor: Tensor = require("torch", "torch", "sentence-transformers' similarity").from_numpy(array)
    return tensor
