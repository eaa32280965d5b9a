"""How alike two embeddings are: cosine, dot, Euclidean, Jaccard and MaxSim, as matrices and as pairs.

Every score is a similarity: larger is better, nothing is clipped. A vector without direction (all zeros, no terms, no
tokens) has nothing in common with any other: its cosine, Jaccard and MaxSim are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.types import FloatArray, IntArray, Ragged, SparseRows

Vectors: TypeAlias = FloatArray | SparseRows
"""(n, d) array or n sparse rows; both sides of a comparison are of one sort."""
Metric: TypeAlias = Callable[[Vectors, Vectors], FloatArray]

BLOCK = 1 << 22   # numbers of an intermediate array; 32 MB of float64
CLOSE = 1e-6      # part of the squared lengths below which a squared distance is computed again, without cancellation


def cosine(a: Vectors, b: Vectors) -> FloatArray:
    """(n, m) cosines of the angles between the rows of a and the rows of b; 0 where one of them is all zeros.

    >>> cosine(np.array([[2.0, 1, 0, 2, 1, 1, 1]]), np.array([[2.0, 1, 2, 2, 1, 1, 0]])).round(4).tolist()
    [[0.8199]]
    """
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        a, b = _both_sparse(a, b)
        return _cosines(_accumulate(a, b, np.multiply), a.norms()[:, None], b.norms()).astype(_dtype(a, b), copy=False)
    a, b = _both_dense(a, b)
    return _unit(a) @ _unit(b).T


def dot(a: Vectors, b: Vectors) -> FloatArray:
    """(n, m) dot products of the rows of a with the rows of b.

    Sparse rows need not be equally wide: a term is the same column on both sides.
    """
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        return sparse_dot(*_both_sparse(a, b))
    a, b = _both_dense(a, b)
    return a @ b.T


def sparse_dot(a: SparseRows, b: SparseRows) -> FloatArray:
    """(n, m) dot products over the terms that a row of a and a row of b share: what dot does for sparse rows."""
    return _accumulate(a, b, np.multiply).astype(_dtype(a, b), copy=False)


def euclidean(a: Vectors, b: Vectors) -> FloatArray:
    """(n, m) Euclidean distances between rows with the sign turned, so that larger is better and 0 is the best.

    >>> euclidean(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[-5.0, 0.0]]
    """
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        a, b = _both_sparse(a, b)
        lengths = np.square(a.norms())[:, None] + np.square(b.norms())
        products = _accumulate(a, b, np.multiply)
    else:
        a, b = _both_dense(a, b)
        wide_a, wide_b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
        lengths = np.square(wide_a).sum(1)[:, None] + np.square(wide_b).sum(1)
        products = wide_a @ wide_b.T
    squared = lengths - 2 * products
    distances = np.sqrt(np.maximum(squared, 0))   # below 0 by rounding only, and then computed again
    rows, columns = np.nonzero(squared <= CLOSE * lengths)
    step = max(1, BLOCK // max(1, _width(a)))
    for start in range(0, len(rows), step):       # near each other: the difference first, then its length
        i, j = rows[start : start + step], columns[start : start + step]
        distances[i, j] = -euclidean_pairs(_take(a, i), _take(b, j))
    return (0 - distances).astype(_dtype(a, b), copy=False)   # 0 - x has no negative zero


def jaccard(a: Vectors, b: Vectors) -> FloatArray:
    """(n, m) sums of the smaller counts over sums of the larger counts; for rows of 0 and 1 the Jaccard of the sets.

    Two rows without counts score 0. Raises BadInput for negative counts.
    Source: Ruzicka 1958, the weighted form of Jaccard 1901.

    >>> jaccard(np.array([[1.0, 1, 0]]), np.array([[0.0, 1, 1], [2, 1, 0]])).round(4).tolist()
    [[0.3333, 0.6667]]
    """
    _no_negatives(a)
    _no_negatives(b)
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        a, b = _both_sparse(a, b)
        shared = _accumulate(a, b, np.minimum)
        total = _sums(a)[:, None] + _sums(b)
    else:
        a, b = _both_dense(a, b)
        shared = np.empty((len(a), len(b)), a.dtype)
        step = max(1, BLOCK // max(1, b.size))
        for start in range(0, len(a), step):   # (step, m, d) -> (step, m)
            shared[start : start + step] = np.minimum(a[start : start + step, None], b).sum(-1)
        total = a.sum(1)[:, None] + b.sum(1)
    return _ratio(shared, total - shared).astype(_dtype(a, b), copy=False)


def cosine_pairs(a: Vectors, b: Vectors) -> FloatArray:
    """(n,) cosine of row i of a and row i of b."""
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        a, b = _both_sparse(a, b)
        rows, left, right = _aligned(a, b)
        products = _row_sums(rows, left * right, len(a))
        return _cosines(products, a.norms(), b.norms()).astype(_dtype(a, b), copy=False)
    a, b = _paired(a, b)
    return _products(_unit(a), _unit(b))


def dot_pairs(a: Vectors, b: Vectors) -> FloatArray:
    """(n,) dot product of row i of a and row i of b."""
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        a, b = _both_sparse(a, b)
        rows, left, right = _aligned(a, b)
        return _row_sums(rows, left * right, len(a)).astype(_dtype(a, b), copy=False)
    a, b = _paired(a, b)
    return _products(a, b)


def euclidean_pairs(a: Vectors, b: Vectors) -> FloatArray:
    """(n,) distance between row i of a and row i of b with the sign turned."""
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        a, b = _both_sparse(a, b)
        rows, left, right = _aligned(a, b)
        squared = _row_sums(rows, np.square(left - right), len(a))
    else:
        a, b = _paired(a, b)
        squared = np.square(a.astype(np.float64, copy=False) - b).sum(1)
    return (0 - np.sqrt(squared)).astype(_dtype(a, b), copy=False)


def jaccard_pairs(a: Vectors, b: Vectors) -> FloatArray:
    """(n,) weighted Jaccard of row i of a and row i of b."""
    _no_negatives(a)
    _no_negatives(b)
    if isinstance(a, SparseRows) or isinstance(b, SparseRows):
        a, b = _both_sparse(a, b)
        rows, left, right = _aligned(a, b)
        smaller = _row_sums(rows, np.minimum(left, right), len(a))
        larger = _row_sums(rows, np.maximum(left, right), len(a))
        return _ratio(smaller, larger).astype(_dtype(a, b), copy=False)
    a, b = _paired(a, b)
    return _ratio(np.minimum(a, b).sum(1), np.maximum(a, b).sum(1))


def maxsim(queries: Ragged, documents: Ragged) -> FloatArray:
    """(n, m) mean over the query's tokens of the best dot product with any of the document's tokens.

    0 where the query or the document has no tokens.
    Source: Khattab and Zaharia 2020 (ColBERT), with a mean in place of the sum as in BGE-M3.
    """
    data, others = _both_dense(queries.data, documents.data)
    scores = np.zeros((len(queries), len(documents)), data.dtype)
    for q, q_end in _spans(queries.offsets, 256):
        asked = data[queries.offsets[q] : queries.offsets[q_end]]
        asking = np.flatnonzero(np.diff(queries.offsets[q : q_end + 1])) + q   # reduceat cannot take empty parts
        if not len(asking):
            continue
        for d, d_end in _spans(documents.offsets, max(1, BLOCK // len(asked))):
            first = documents.offsets[d]
            told = np.flatnonzero(np.diff(documents.offsets[d : d_end + 1])) + d
            if not len(told):
                continue
            similar = asked @ others[first : documents.offsets[d_end]].T                            # (tokens, tokens)
            best = np.maximum.reduceat(similar, documents.offsets[told] - first, axis=1)            # (tokens, told)
            total = np.add.reduceat(best, queries.offsets[asking] - queries.offsets[q], axis=0)     # (asking, told)
            scores[np.ix_(asking, told)] = total / np.diff(queries.offsets)[asking, None].astype(data.dtype)
    return scores


def maxsim_pairs(queries: Ragged, documents: Ragged) -> FloatArray:
    """(n,) MaxSim of query i and document i."""
    _same_length(len(queries), len(documents))
    data, others = _both_dense(queries.data, documents.data)
    scores = np.zeros(len(queries), data.dtype)
    for i in range(len(queries)):
        asked = data[queries.offsets[i] : queries.offsets[i + 1]]
        told = others[documents.offsets[i] : documents.offsets[i + 1]]
        if len(asked) and len(told):
            scores[i] = (asked @ told.T).max(1).mean()
    return scores


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"cosine": cosine, "dot": dot, "euclidean": euclidean, "jaccard": jaccard}
)
PAIR_METRICS: Mapping[str, Metric] = MappingProxyType(
    {"cosine": cosine_pairs, "dot": dot_pairs, "euclidean": euclidean_pairs, "jaccard": jaccard_pairs}
)


def metric(name: str) -> Metric:
    """The function of METRICS by that name; UnknownName for any other."""
    if name not in METRICS:
        raise UnknownName("metric", name, METRICS)
    return METRICS[name]


def _accumulate(a: SparseRows, b: SparseRows, combine: Callable[[Any, Any], FloatArray]) -> NDArray[np.float64]:
    """(n, m) float64 sums over the shared terms of combine(weight in a, weight in b).

    b is turned into postings of the terms that a has; each cell adds its terms in ascending order, whatever the block.
    """
    n, m = len(a), len(b)
    result = np.zeros((n, m))
    known = np.flatnonzero(np.isin(b.terms, a.terms))
    if not len(known):
        return result
    known = known[np.argsort(b.terms[known], kind="stable")]
    terms, weights = b.terms[known], b.weights[known].astype(np.float64)
    documents = np.repeat(np.arange(m), np.diff(b.offsets))[known]
    first = np.searchsorted(terms, a.terms, "left")
    count = np.searchsorted(terms, a.terms, "right") - first                      # (nnz of a,) postings of each term
    work = np.concatenate([[0], np.cumsum(count)])[a.offsets] + np.arange(n + 1) * m
    for start, end in _spans(work, BLOCK):
        mine = slice(a.offsets[start], a.offsets[end])
        lengths = count[mine]
        before = np.concatenate([[0], np.cumsum(lengths)])
        where = np.repeat(first[mine] - before[:-1], lengths) + np.arange(before[-1])
        rows = np.repeat(np.arange(end - start), np.diff(a.offsets[start : end + 1]))
        gains = combine(np.repeat(a.weights[mine].astype(np.float64), lengths), weights[where])
        cells = np.repeat(rows, lengths) * m + documents[where]
        result[start:end] = _row_sums(cells, gains, (end - start) * m).reshape(-1, m)
    return result


def _aligned(a: SparseRows, b: SparseRows) -> tuple[IntArray, FloatArray, FloatArray]:
    """Rows, weights in a, weights in b for every term that row i of a or row i of b has."""
    _same_length(len(a), len(b))
    rows = np.concatenate([np.repeat(np.arange(len(s)), np.diff(s.offsets)) for s in (a, b)])
    terms = np.concatenate([a.terms, b.terms])
    order = np.lexsort((terms, rows))
    rows, terms = rows[order], terms[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]) | (terms[1:] != terms[:-1])
    place = np.cumsum(new) - 1                                     # (nnz of both,) which (row, term) each entry is
    weights = np.concatenate([a.weights, b.weights]).astype(np.float64)[order]
    from_a = order < len(a.terms)
    n = int(new.sum())
    left = _row_sums(place[from_a], weights[from_a], n)
    right = _row_sums(place[~from_a], weights[~from_a], n)
    return rows[new], left, right


def _spans(offsets: IntArray, limit: int) -> Iterator[tuple[int, int]]:
    """Ranges of items whose sizes, by their offsets, add up to at most the limit; one item at least."""
    start = 0
    while start < len(offsets) - 1:
        end = max(start + 1, int(np.searchsorted(offsets, offsets[start] + limit, "right")) - 1)
        yield start, end
        start = end


def _both_sparse(a: Vectors, b: Vectors) -> tuple[SparseRows, SparseRows]:
    if isinstance(a, SparseRows) and isinstance(b, SparseRows):
        return a, b
    raise BadInput("One side is sparse and the other dense; they have no common columns. Compare vectors of one kind.")


def _both_dense(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both as (n, d) arrays of their common float type, float32 at least."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ShapeMismatch(f"Vectors to compare stand in rows of equal length, not in shapes {a.shape} and {b.shape}.")
    kind = _dtype(a, b)
    return a.astype(kind, copy=False), b.astype(kind, copy=False)


def _products(a: FloatArray, b: FloatArray) -> FloatArray:
    products: FloatArray = np.einsum("nd,nd->n", a, b)
    return products


def _paired(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    _same_length(len(a), len(b))
    return _both_dense(a, b)


def _same_length(n: int, m: int) -> None:
    if n != m:
        raise ShapeMismatch(f"Pairs need as many rows on both sides, not {n} and {m}.")


def _dtype(a: Vectors, b: Vectors) -> np.dtype[Any]:
    """The type of the scores: float64 where one side has it or counts in integers, else float32."""
    kinds = [v.weights.dtype if isinstance(v, SparseRows) else v.dtype for v in (a, b)]
    return np.result_type(*kinds, np.float32)


def _width(a: Vectors) -> int:
    return len(a.terms) // max(1, len(a)) + 1 if isinstance(a, SparseRows) else a.shape[1]


def _take(a: Vectors, rows: IntArray) -> Vectors:
    return a.take(rows) if isinstance(a, SparseRows) else a[rows]


def _unit(a: FloatArray) -> FloatArray:
    """The rows at length 1, zero rows as they are."""
    largest = np.abs(a).max(1, keepdims=True, initial=0)
    a = a / np.where(largest > 0, largest, 1)          # so that no square overflows or vanishes
    lengths = np.sqrt(np.square(a).sum(1, keepdims=True))
    return a / np.where(lengths > 0, lengths, 1)


def _cosines(products: FloatArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """The products over both lengths, 0 where a length is 0."""
    return products / np.where(left > 0, left, 1) / np.where(right > 0, right, 1)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, 0 where below is 0."""
    return above / np.where(below > 0, below, 1)


def _sums(a: SparseRows) -> FloatArray:
    return _row_sums(np.repeat(np.arange(len(a)), np.diff(a.offsets)), a.weights, len(a))


def _row_sums(rows: IntArray, values: FloatArray, n: int) -> FloatArray:
    """(n,) float64 sums of the values of each row, added in the order given."""
    return np.asarray(np.bincount(rows, weights=values, minlength=n), np.float64)   # whole numbers if there are none


def _no_negatives(a: Vectors) -> None:
    values = a.weights if isinstance(a, SparseRows) else a
    if values.size and values.min() < 0:
        raise BadInput(f"Jaccard compares counts, which are never negative; found {values.min()}. Use cosine here.")
