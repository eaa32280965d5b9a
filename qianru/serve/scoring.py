"""How well documents fit a query: read together by a reranker, or by the vectors of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from starlette.requests import Request

from qianru.scores import kind_scores, kind_scores_pairs, weighted_mean
from qianru.serve.asking import embed, numbers_of, score, sized
from qianru.serve.lanes import Ask, Embedder, unit
from qianru.serve.models import Served, usual_ask
from qianru.types import Embeddings, FloatArray, Kind


async def fits(
    request: Request, served: Served, queries: Sequence[str], documents: Sequence[str], kinds: Sequence[Kind] | None,
    *, truncate: bool, instruction: str | None = None,
) -> FloatArray:
    """(m,) scores, larger is better, of one query with m documents or of query i with document i.

    A reranker's are probabilities. An embedding model's are cosines of dense vectors, sums over shared terms, MaxSim,
    or the mean of those that are asked for.
    """
    lane = served.lane
    if not isinstance(lane, Embedder):
        pairs = [(queries[0] if len(queries) == 1 else queries[i], text) for i, text in enumerate(documents)]
        return sigmoid(await score(request, served, lane, pairs, truncate=truncate))
    ask = Ask("query", tuple(kinds or usual_ask(lane).kinds), instruction)
    asked = _compared(await embed(request, served, lane, list(queries), ask, truncate=truncate))
    ask = ask._replace(role="document", instruction=None)
    told = _compared(await embed(request, served, lane, list(documents), ask, truncate=truncate))

    def scores() -> FloatArray:
        if len(queries) == 1:
            found = {kind: rows[0] for kind, rows in kind_scores(asked, told).items()}
        else:
            found = kind_scores_pairs(asked, told)
        return weighted_mean(found, dict.fromkeys(found, 1.0))

    return await sized(request, numbers_of(asked) + numbers_of(told), scores)


def sigmoid(scores: FloatArray) -> FloatArray:
    """(n,) scores as probabilities.

    >>> sigmoid(np.array([0.0, -800.0])).tolist()
    [0.5, 0.0]
    """
    with np.errstate(over="ignore"):
        made: FloatArray = 1 / (1 + np.exp(-np.asarray(scores, np.float64)))
    return made


def _compared(made: Embeddings) -> Embeddings:
    """With dense vectors at length 1, so that their products are cosines."""
    return Embeddings(made.model, made.n_tokens, made.n_truncated, unit(made.dense), made.sparse, made.multi)
