"""What a search answers: rankings fused into hits, the words that query and text share, and what made a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from qianru.index.base import Ranking
from qianru.index.storage import Storage
from qianru.scores import fuse_rrf, fuse_weighted
from qianru.text.analyze import Analyzer
from qianru.text.stopwords import stop_words
from qianru.types import Hit, Kind

Fusion = Literal["rrf", "weighted"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document has its scores for a query.

    terms: (word, what it adds to the sparse score), largest first;  scores: kind -> score
    """

    query: str
    id: str
    scores: Mapping[str, float]
    terms: Sequence[tuple[str, float]] = ()


def hits_of(
    storage: Storage, found: Mapping[Kind, Ranking], k: int, fusion: Fusion, weights: Sequence[float]
) -> list[Hit]:
    """The k best documents of what each kind of vector found for one query, best first.

    weights: one for each kind, in the order of found
    """
    rankings = list(found.values())
    if len(rankings) == 1:
        ids, scores = rankings[0]
    else:
        ids, scores = fuse_rrf(rankings, weights) if fusion == "rrf" else fuse_weighted(rankings, weights)
    ns = ids[:k].tolist()
    documents = storage.documents(ns)
    places = {kind: {n: place for place, n in enumerate(ranking.ids.tolist())} for kind, ranking in found.items()}
    hits = []
    for n, score in zip(ns, scores[:k].tolist(), strict=True):
        in_kinds = {kind: place[n] for kind, place in places.items() if n in place}
        hits.append(Hit(
            documents[n].id, documents[n].text, documents[n].fields, score,
            scores={kind: float(found[kind].scores[place]) for kind, place in in_kinds.items()},
            ranks={kind: place + 1 for kind, place in in_kinds.items()},
        ))
    return hits


def without_zeros(ranking: Ranking) -> Ranking:
    """Without similarities of 0: a text of which the model knows no word is a zero vector, and like nothing."""
    known = ranking.scores != 0
    return ranking if known.all() else Ranking(ranking.ids[known], ranking.scores[known])


def shared_words(analyzer: Analyzer, query: str, text: str) -> list[tuple[int, int]]:
    """(start, end) of what the text shares with the query, ascending and apart from each other.

    Characters inside the query's words count only where no word is shared, function words where nothing else is.
    """
    every = set(analyzer.tokens(query))
    words = set(replace(analyzer, characters=False).tokens(query))
    common = stop_words("zh") | stop_words("en")
    spans = analyzer.spans(text)
    for wanted in (words - common, every - common, every):
        if found := _merged([(start, end) for token, start, end in spans if token in wanted]):
            return found
    return []


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans ascending by start without overlaps: those that overlap are made one."""
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
