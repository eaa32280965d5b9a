"""Why a document has its scores for a query: its words, its tokens, its best sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qianru.index.answers import shared_words
from qianru.index.intake import searchable
from qianru.models.base import Explains, Model
from qianru.models.joined import JoinedModel
from qianru.scores import align, shared_terms
from qianru.text.analyze import Analyzer
from qianru.text.sentences import sentences
from qianru.types import Document, Embeddings, FloatArray, IntArray, Kind, Role

if TYPE_CHECKING:
    from qianru.models.transformer import Transformer


SENTENCES = 256         # of a document, that are embedded to find the likest one


class Word(NamedTuple):
    """A word or token that query and document share. adds: its part of the sparse score, both weights' product."""

    word: str
    adds: float


class TokenPair(NamedTuple):
    """A token of the query, the document's token that is most like it, and how alike they are."""

    query: str
    document: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """How the tokens of a query and of a document answer each other; MaxSim is the mean of the pairs' scores.

    query, document: their n and m tokens;  similarities: (n, m);  pairs: one for each token of the query
    """

    query: Sequence[str]
    document: Sequence[str]
    similarities: FloatArray
    pairs: Sequence[TokenPair]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why a document has its scores for a query.

    scores: kind -> score
    terms: (word, what it adds to the sparse score), largest first
    alignment: of token vectors, where the collection stores them
    snippet: (start, end) of the sentence of the text that fits the query best
    """

    query: str
    id: str
    scores: Mapping[str, float]
    terms: Sequence[Word] = ()
    alignment: Alignment | None = None
    snippet: tuple[int, int] = (0, 0)

    def to_dict(self, matrix: bool = False) -> dict[str, Any]:
        """The same in plain values for JSON; with the whole matrix of similarities only on request."""
        told: dict[str, Any] = {"scores": dict(self.scores), "terms": [list(term) for term in self.terms],
                                "snippet": list(self.snippet)}
        if self.alignment is not None:
            told["alignment"] = [list(pair) for pair in self.alignment.pairs]
            if matrix:
                told["tokens"] = {"query": list(self.alignment.query), "document": list(self.alignment.document),
                                  "similarities": np.round(self.alignment.similarities, 4).tolist()}
        return told


def parts_of(model: Model) -> Sequence[Model]:
    """The models that a joined model is made of; else the model alone."""
    return model.parts if isinstance(model, JoinedModel) else [model]


def analyzer_of(model: Model) -> Analyzer:
    """How the model sees words, if any part of it does."""
    return next((part.analyzer for part in parts_of(model) if isinstance(part, Explains)), Analyzer())


def explain(model: Model, query: str, asked: Embeddings, document: Document, stored: Embeddings) -> Explanation:
    """What makes the scores of a document for a query.

    asked: the query's vectors;  stored: the document's, of the kinds that are stored; both of one text
    """
    scores: dict[str, float] = {}
    terms: list[Word] = []
    alignment = None
    for part in parts_of(model):
        if isinstance(part, Explains) and asked.sparse is not None:
            terms = [Word(word, float(adds)) for word, adds in part.contributions(query, searchable(document))]
            scores["sparse"] = float(sum(adds for _, adds in terms))
        elif "sparse" in part.spec.kinds and asked.sparse is not None and stored.sparse is not None:
            names = _token_names(part)
            columns, left, right = shared_terms(asked.sparse, stored.sparse)
            terms = [Word(names(int(column)), float(a * b)) for column, a, b in zip(columns, left, right, strict=True)]
            scores["sparse"] = float(sum(adds for _, adds in terms))
        if "multi" in part.spec.kinds and asked.multi is not None and stored.multi is not None:
            alignment = _alignment(part, query, asked.multi.row(0), document, stored.multi.row(0))
            scores["multi"] = float(np.mean([pair.score for pair in alignment.pairs])) if alignment.pairs else 0.0
    if asked.dense is not None and stored.dense is not None:
        scores["dense"] = float(asked.dense[0] @ stored.dense[0])
    order: tuple[Kind, ...] = ("dense", "sparse", "multi")
    return Explanation(query, document.id, {kind: scores[kind] for kind in order if kind in scores}, terms, alignment,
                       snippet(model, query, asked, document.text))


def snippet(model: Model, query: str, asked: Embeddings, text: str) -> tuple[int, int]:
    """(start, end) of the sentence that shares most words with the query.

    Where none does, the one of the first SENTENCES whose dense vector is likest: a book has a hundred thousand.
    """
    spans = sentences(text)
    if len(spans) < 2:
        return spans[0] if spans else (0, 0)
    shared = shared_words(analyzer_of(model), query)(text)
    if shared:
        told = [{text[a:b] for a, b in shared if start <= a and b <= end} for start, end in spans]
        return spans[int(np.argmax([sum(map(len, words)) for words in told]))]
    if asked.dense is None:
        return spans[0]
    spans = spans[:SENTENCES]
    made = model.encode([text[start:end] for start, end in spans], kinds=["dense"]).dense
    assert made is not None
    lengths = np.linalg.norm(made, axis=1)
    products = made @ asked.dense[0]
    return spans[int(np.argmax(np.divide(products, lengths, out=np.zeros(len(spans)), where=lengths > 0)))]


def _alignment(
    part: Model, query: str, asked: FloatArray, document: Document, told: FloatArray
) -> Alignment:
    mine = _tokens(part, query, "query", len(asked))
    theirs = _tokens(part, searchable(document), "document", len(told))
    if not len(asked) or not len(told):
        return Alignment(mine, theirs, np.zeros((len(mine), len(theirs)), np.float32), ())
    best: tuple[IntArray, FloatArray] = align(asked, told)
    pairs = [TokenPair(mine[i], theirs[place], float(score))
             for i, (place, score) in enumerate(zip(best[0].tolist(), best[1].tolist(), strict=True))]
    return Alignment(mine, theirs, asked @ told.T, pairs)


def _tokens(part: Model, text: str, role: Role, n: int) -> list[str]:
    """The n tokens that the rows of a text's token vectors stand for; numbers where the model does not say."""
    if part.spec.family == "transformer":
        transformer: Transformer = part  # type: ignore[assignment]   # that is what the family says
        named = transformer.tokens([text], role=role)[0][1:]            # the first stands for the whole text
        if len(named) == n:
            return list(named)
    return [str(i) for i in range(n)]


def _token_names(part: Model) -> Any:
    if part.spec.family == "transformer":
        return part.tokenizer.token  # type: ignore[attr-defined]
    return str
