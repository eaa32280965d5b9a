"""The k best documents by MaxSim of token vectors, and MaxSim of chosen candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch
from qianru.scores.best import Best
from qianru.scores.exact.blocks import checked_blocks, checked_matrix
from qianru.scores.ranking import Ranked
from qianru.scores.similarity import maxsim
from qianru.types import FloatArray, IntArray, Progress, Ragged


def maxsim_top_k(
    queries: Ragged,
    blocks: Iterable[tuple[IntArray, Ragged]],
    k: int,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[Ranked]:
    """For each query ids and scores of its k best documents, best first, equal scores by the lower id.

    queries: token vectors of q queries;  blocks: (ids (b,), token vectors of b documents); each is read once
    The score is the mean over the query's tokens of the best dot product with a token of the document. A document
    without tokens is never found, and a query without tokens finds nothing.
    Raises ShapeMismatch for another number of dimensions, BadInput for numbers that are not finite.
    """
    checked_matrix(queries.data, None, "Token vectors")
    asking = np.diff(queries.offsets) > 0
    best = Best(len(queries), k)
    for ids, documents in checked_blocks(blocks, progress):
        checked_matrix(documents.data, queries.data.shape[1], "Token vectors of documents")
        scores = maxsim(queries, documents)
        if not np.isfinite(scores).all():
            raise BadInput("A token vector holds a number that is not finite.")
        scores[:, np.diff(documents.offsets) == 0] = -np.inf
        scores[~asking] = -np.inf
        best.offer(scores, ids)
    return best.rankings()


def maxsim_candidates(queries: Ragged, candidates: Sequence[IntArray], documents: Ragged) -> list[FloatArray]:
    """For each query the MaxSim of its candidates, in their order; 0 where one side has no tokens.

    candidates: one array of rows of the documents for each query
    """
    if len(candidates) != len(queries):
        raise ShapeMismatch(f"{len(queries)} queries need as many lists of candidates, not {len(candidates)}.")
    checked_matrix(documents.data, queries.data.shape[1], "Token vectors of documents")
    found: list[FloatArray] = []
    for query, rows in enumerate(candidates):
        scores: NDArray[np.floating] = np.zeros(len(rows), np.float32)
        asked = queries.row(query)
        for i, row in enumerate(np.asarray(rows).tolist()):
            told = documents.row(row)
            if len(asked) and len(told):
                scores[i] = (asked @ told.T).max(axis=1).mean()
        found.append(scores)
    return found
