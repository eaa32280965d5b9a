"""The k best documents by dot product of sparse vectors, through an inverted file."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput
from qianru.scores.best import Best, best_of, checked_k
from qianru.scores.exact.blocks import checked_blocks
from qianru.scores.ranking import Ranked
from qianru.types import IntArray, Progress, SparseRows


class Postings:
    """Sparse vectors by term: built once, searched many times.

    ids: (n,) of the documents;  rows: their n vectors, terms ascending
    Scores are summed in float64 and rounded to float32; a document whose score is 0 shares nothing and is never found.
    Memory: 8 to 16 bytes for each weight, 16 for each document.
    """

    def __init__(self, ids: IntArray, rows: SparseRows) -> None:
        ((self.ids, rows),) = checked_blocks([(ids, rows)], None)
        weights = checked_weights(rows)
        order = np.argsort(rows.terms, kind="stable")
        self.terms, self._starts = np.unique(rows.terms[order], return_index=True)
        self._starts = np.append(self._starts, len(order))
        self._rows = np.repeat(np.arange(len(rows), dtype=np.int32), np.diff(rows.offsets))[order]
        self._weights = weights[order]

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self.ids)

    def top_k(self, queries: SparseRows, k: int, *, n_threads: int | None = None) -> list[Ranked]:
        """For each query ids and scores of its k best documents, best first, equal scores by the lower id."""
        k = checked_k(k)
        checked_weights(queries)
        found: list[Ranked] = []
        for terms, weights in queries:
            places = np.searchsorted(self.terms, terms)
            scores = np.zeros(len(self))
            for place, term, weight in zip(places.tolist(), terms.tolist(), weights.tolist(), strict=True):
                if place < len(self.terms) and self.terms[place] == term:
                    span = slice(self._starts[place], self._starts[place + 1])
                    scores[self._rows[span]] += self._weights[span].astype(np.float64) * weight
            narrow = scores.astype(np.float32)
            at = np.flatnonzero(narrow)
            found.append(best_of(self.ids[at], narrow[at], k))
        return found


def sparse_top_k(
    queries: SparseRows,
    blocks: Iterable[tuple[IntArray, SparseRows]],
    k: int,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[Ranked]:
    """For each query ids and scores of its k best documents, best first, equal scores by the lower id.

    blocks: (ids (b,), b sparse rows); each is read once and turned into Postings
    A document that shares no term with the query is never found. Raises BadInput for weights that are not finite.
    """
    best = Best(len(queries), k)
    for ids, rows in checked_blocks(blocks, progress):
        for query, (found, scores) in enumerate(Postings(ids, rows).top_k(queries, best.k, n_threads=n_threads)):
            best.offer_to(query, scores, found)
    return best.rankings()


def checked_weights(rows: SparseRows) -> NDArray[np.float32]:
    """The weights as float32. BadInput for one that is not finite then."""
    with np.errstate(over="ignore"):
        weights = rows.weights.astype(np.float32, copy=False)
    if not np.isfinite(weights).all():
        raise BadInput("A sparse vector holds a weight that is not a finite number in float32.")
    return weights
