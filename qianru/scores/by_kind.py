"""Scores of embeddings kind by kind, their weighted means, and what a score is made of.

BGE-M3's three scores are these: the dot product of dense vectors of length 1, the sum over shared tokens of both
weights, and MaxSim. Source: Chen et al. 2024 (BGE-M3), section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from qianru.errors import BadInput, ShapeMismatch
from qianru.scores.similarity import dot, dot_pairs, maxsim, maxsim_pairs, sparse_dot
from qianru.types import Embeddings, FloatArray, IntArray, Kind, SparseRows


class Aligned(NamedTuple):
    """For each token of a query the document's token that is most like it.

    tokens: (n,) places in the document, from 0;  scores: (n,) dot products
    """

    tokens: IntArray
    scores: FloatArray


class Shared(NamedTuple):
    """The terms that two sparse vectors share, those that add most to their score first.

    terms: (n,);  left, right: (n,) the weights on both sides
    """

    terms: IntArray
    left: FloatArray
    right: FloatArray


def kind_scores(queries: Embeddings, documents: Embeddings) -> dict[Kind, FloatArray]:
    """kind -> (n, m) scores of every query with every document, for the kinds that both sides have."""
    scores: dict[Kind, FloatArray] = {}
    if queries.dense is not None and documents.dense is not None:
        scores["dense"] = dot(queries.dense, documents.dense)
    if queries.sparse is not None and documents.sparse is not None:
        scores["sparse"] = sparse_dot(queries.sparse, documents.sparse)
    if queries.multi is not None and documents.multi is not None:
        scores["multi"] = maxsim(queries.multi, documents.multi)
    return _some(scores, queries, documents)


def kind_scores_pairs(queries: Embeddings, documents: Embeddings) -> dict[Kind, FloatArray]:
    """kind -> (n,) scores of query i with document i, for the kinds that both sides have."""
    if len(queries) != len(documents):
        raise ShapeMismatch(f"Pairs need as many rows on both sides, not {len(queries)} and {len(documents)}.")
    scores: dict[Kind, FloatArray] = {}
    if queries.dense is not None and documents.dense is not None:
        scores["dense"] = dot_pairs(queries.dense, documents.dense)
    if queries.sparse is not None and documents.sparse is not None:
        scores["sparse"] = dot_pairs(queries.sparse, documents.sparse)
    if queries.multi is not None and documents.multi is not None:
        scores["multi"] = maxsim_pairs(queries.multi, documents.multi)
    return _some(scores, queries, documents)


def weighted_mean(scores: Mapping[Kind, FloatArray], weights: Mapping[Kind, float]) -> FloatArray:
    """The scores of several kinds as one: their sum by these weights over the weights' sum.

    The values are taken as they are; fuse_weighted brings rankings to one scale first.
    Raises BadInput for a kind without scores and for weights that are negative or all zero.

    >>> parts = {"dense": np.array([0.5]), "sparse": np.array([0.2]), "multi": np.array([0.9])}
    >>> weighted_mean(parts, {"dense": 0.4, "sparse": 0.2, "multi": 0.4}).round(4).tolist()
    [0.6]
    """
    missing = [kind for kind in weights if kind not in scores]
    if missing:
        raise BadInput(f"There are no {' and no '.join(missing)} scores to weigh, only {', '.join(scores)}.")
    total = sum(weights.values())
    if not (0 < total < np.inf) or min(weights.values()) < 0:   # also if one of them is no number
        raise BadInput(f"Weights are numbers of at least 0 that are not all 0, not {dict(weights)}.")
    kinds = list(weights)
    mean: FloatArray = np.average([scores[kind] for kind in kinds], axis=0, weights=[weights[kind] for kind in kinds])
    return mean


def align(query: FloatArray, document: FloatArray) -> Aligned:
    """Which token of a document answers each token of a query; MaxSim is the mean of these scores.

    query: (n, d), document: (m, d) token vectors of one text each; nothing if one of them is empty

    >>> aligned = align(np.eye(2), np.array([[0.0, 0.8], [0.6, 0.0], [0.0, 0.1]]))
    >>> aligned.tokens.tolist(), aligned.scores.tolist()
    ([1, 0], [0.6, 0.8])
    """
    if query.ndim != 2 or document.ndim != 2 or query.shape[1] != document.shape[1]:
        raise ShapeMismatch(f"Token vectors stand in rows of equal length, not in shapes {query.shape} and "
                            f"{document.shape}.")
    if not len(query) or not len(document):
        return Aligned(np.zeros(0, np.int64), np.zeros(0, query.dtype))
    similar = query @ document.T                                    # (n, m)
    tokens = similar.argmax(1)
    return Aligned(tokens, similar[np.arange(len(query)), tokens])


def shared_terms(left: SparseRows, right: SparseRows, i: int = 0, j: int = 0) -> Shared:
    """The terms that row i on the left and row j on the right share; their products add up to the sparse score.

    >>> a, b = SparseRows.from_rows([{1: 2.0, 5: 1.0}], 9), SparseRows.from_rows([{5: 3.0, 1: 1.0, 7: 9.0}], 9)
    >>> [part.tolist() for part in shared_terms(a, b)]
    [[5, 1], [1.0, 2.0], [3.0, 1.0]]
    """
    (terms, weights), (others, other_weights) = left.row(i), right.row(j)
    both, mine, theirs = np.intersect1d(terms, others, assume_unique=True, return_indices=True)
    order = np.argsort(-(weights[mine] * other_weights[theirs]), kind="stable")
    return Shared(both[order], weights[mine][order], other_weights[theirs][order])


def _some(scores: dict[Kind, FloatArray], queries: Embeddings, documents: Embeddings) -> dict[Kind, FloatArray]:
    if not scores:
        raise BadInput(f"There is nothing to compare: one side has {' and '.join(queries.kinds) or 'no'} vectors, the "
                       f"other {' and '.join(documents.kinds) or 'none'}.")
    return scores
