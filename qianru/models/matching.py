"""How well pairs of texts match by every kind of vector, and why: BGE-M3's compute_score, explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from qianru.errors import BadInput
from qianru.models.base import Model, as_texts
from qianru.scores.by_kind import align, kind_scores_pairs, shared_terms, weighted_mean
from qianru.types import FloatArray, Kind

if TYPE_CHECKING:
    from qianru.models.transformer import Transformer

EQUAL_WEIGHTS: Mapping[Kind, float] = {"dense": 1.0, "sparse": 1.0, "multi": 1.0}


class SharedToken(NamedTuple):
    """A token that query and document have; its gain, the product of both weights, is its part of the sparse score."""

    token: str
    query_weight: float
    document_weight: float
    gain: float


class AlignedToken(NamedTuple):
    """A token of the query, the document's token that is most like it, and how alike they are."""

    query_token: str
    document_token: str
    score: float


@dataclass(frozen=True, slots=True)
class Match:
    """Why a document matches a query.

    score: the weighted mean of scores;  scores: by kind
    shared: those of the sparse score, the largest gain first;  aligned: those of the multi score, in the query's order
    """

    score: float
    scores: Mapping[Kind, float]
    shared: tuple[SharedToken, ...]
    aligned: tuple[AlignedToken, ...]


def score_pairs(
    model: Model,
    pairs: Iterable[tuple[str, str]],
    weights: Mapping[Kind, float] | None = None,
    *,
    documents: Model | None = None,
) -> tuple[FloatArray, dict[Kind, FloatArray]]:
    """(n,) weighted mean scores of n pairs of query and document, and the scores that they are made of, kind by kind.

    weights: of the kinds; None for equal ones of all kinds that the model makes
    documents: the model for these if it is another one, e.g. the same with another limit of tokens
    The scores are taken as they are: dense ones are at most 1 where vectors have length 1, sparse ones have no bound.
    """
    asked = list(pairs)
    queries = model.encode(as_texts(query for query, _ in asked), role="query")
    parts = kind_scores_pairs(queries, (documents or model).encode(as_texts(document for _, document in asked)))
    chosen = weights if weights is not None else {kind: EQUAL_WEIGHTS[kind] for kind in parts}
    return weighted_mean(parts, chosen), parts


def explain_match(
    model: Transformer, query: str, document: str, weights: Mapping[Kind, float] | None = None
) -> Match:
    """What the score of one pair is made of, token by token; BadInput for a model of dense vectors only."""
    if "sparse" not in model.spec.kinds:
        raise BadInput(f"{model.name} makes {' and '.join(model.spec.kinds)} vectors, in which no token can be told "
                       "from another. Use a model with sparse and multi vectors, such as bge-m3.")
    asked, told = model.encode([query], role="query"), model.encode([document])
    parts = kind_scores_pairs(asked, told)
    chosen = weights if weights is not None else {kind: EQUAL_WEIGHTS[kind] for kind in parts}
    assert asked.sparse is not None
    assert asked.multi is not None
    assert told.sparse is not None
    assert told.multi is not None
    shared = tuple(
        SharedToken(model.tokenizer.token(int(term)), float(left), float(right), float(left * right))
        for term, left, right in zip(*shared_terms(asked.sparse, told.sparse), strict=True)
    )
    (query_tokens,), (document_tokens,) = model.tokens([query], role="query"), model.tokens([document])
    best = align(asked.multi.row(0), told.multi.row(0))
    aligned = tuple(
        AlignedToken(token, document_tokens[1 + place], float(score))     # [CLS] has no multi vector
        for token, place, score in zip(query_tokens[1:], best.tokens, best.scores, strict=False)  # none if one is empty
    )
    return Match(float(weighted_mean(parts, chosen)[0]), {kind: float(part[0]) for kind, part in parts.items()},
                 shared, aligned)
