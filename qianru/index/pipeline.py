"""The steps of a plan, whatever holds the documents: candidates, fusion, rescoring, threshold, diversity, groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch
from qianru.index.base import Ranking
from qianru.index.diversity import diverse, grouped
from qianru.index.filter import Filter
from qianru.index.plan import Plan
from qianru.models.base import Reranker
from qianru.scores import fuse_rrf, fuse_weighted
from qianru.types import Document, Embeddings, FloatArray, Hit, IntArray, Kind, Ragged

MORE = 4            # times as many candidates where groups have used them up
READ_AT_ONCE = 64   # documents, where groups decide which ones count


class Backend(Protocol):
    """Where documents and their vectors lie: a collection's folder, or a cluster."""

    def candidates(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None) -> list[Ranking]:
        """As Index.search, for dense or sparse vectors."""
        ...

    def scores(self, queries: Embeddings, i: int, kind: Kind, ns: IntArray) -> FloatArray:
        """(m,) exact scores of query i with documents ns, by any kind that is stored."""
        ...

    def everything(self, where: Filter | None) -> IntArray:
        """All documents that pass the filter, ascending."""
        ...

    def documents(self, ns: Sequence[int]) -> Mapping[int, Document]:
        """The documents ns."""
        ...

    def vectors(self, ns: IntArray) -> Embeddings:
        """The dense and sparse vectors of documents ns as they are scored."""
        ...


class Asked(NamedTuple):
    """What one search is about. embedded: the queries' vectors, row i for query i;  kinds: those to search by."""

    queries: Sequence[str]
    embedded: Embeddings
    kinds: tuple[Kind, ...]
    k: int
    where: Filter | None = None


class Ranked(NamedTuple):
    """One query's answers on their way through the steps.

    ids, scores: in the order of now;  kinds: what each kind found;  before: id -> its rank before rescoring
    """

    ids: IntArray
    scores: FloatArray
    kinds: Mapping[str, Ranking]
    before: Mapping[int, int]


def search(plan: Plan, backend: Backend, asked: Asked, reranker: Reranker | None = None) -> list[list[Hit]]:
    """The k best hits for each query by the plan. Raises BadInput for a plan with a reranker where none is given."""
    if plan.rescore == "reranker" and reranker is None:
        raise BadInput("This plan rescores by a reranker and there is none. Name one in the plan (reranker=\"path\"), "
                       "or give it to the collection: collection.reranker = one.")
    n_wanted = _n_wanted(plan, asked)
    found = retrieve(plan, backend, asked, n_wanted)
    hits = []
    for i, rankings in enumerate(found):
        n = n_wanted
        while True:
            mine = list(_hits(plan, backend, asked, i, rankings, reranker))
            short = plan.group_by is not None and plan.rescore is None and plan.mmr is None and len(mine) < asked.k
            if not short or all(len(ranking.ids) < n for ranking in rankings.values()):
                break
            n *= MORE
            rankings = retrieve(plan, backend, _only(asked, i), n)[0]
        hits.append(mine)
    return hits


def retrieve(plan: Plan, backend: Backend, asked: Asked, n: int) -> list[dict[Kind, Ranking]]:
    """For each query, kind -> the n candidates that the kind brings, scored by the others too where the plan says so.

    The rankings of the plan's kinds in one order: dense, sparse, multi. Fusion needs nothing else.
    """
    finders: list[Kind] = [kind for kind in asked.kinds if kind != "multi"]
    found = {kind: [without_zeros(ranking) for ranking in backend.candidates(asked.embedded, kind, n, asked.where)]
             for kind in finders}
    everything = backend.everything(asked.where) if not finders else None
    rankings = []
    for i in range(len(asked.queries)):
        mine: dict[Kind, Ranking] = {kind: found[kind][i] for kind in finders}
        if everything is not None or (len(asked.kinds) > 1 and (plan.complete or "multi" in asked.kinds)):
            pool = everything if everything is not None else _union(mine.values())
            for kind in asked.kinds:
                if kind == "multi":
                    scored = best_first(pool, backend.scores(asked.embedded, i, kind, pool))
                    mine[kind] = scored if finders else without_zeros(Ranking(scored.ids[:n], scored.scores[:n]))
                elif plan.complete:
                    mine[kind] = _completed(mine[kind], pool, backend, asked, i, kind)
        rankings.append({kind: mine[kind] for kind in asked.kinds})
    return rankings


def fuse(plan: Plan, rankings: Mapping[Kind, Ranking]) -> tuple[IntArray, FloatArray]:
    """(ids, scores) of all candidates, best first, equal scores by the lower id."""
    parts = list(rankings.values())
    if len(parts) == 1:
        return parts[0].ids, parts[0].scores
    weights = [plan.weights.get(kind, 1.0) for kind in rankings]
    if plan.fusion == "rrf":
        return fuse_rrf(parts, weights, plan.rrf_k)
    return fuse_weighted(parts, weights, plan.scale)


def best_first(ids: IntArray, scores: FloatArray) -> Ranking:
    """The ids by falling scores, equal scores by the lower id."""
    order = np.lexsort((ids, -scores))
    return Ranking(ids[order], scores[order])


def without_zeros(ranking: Ranking) -> Ranking:
    """Without similarities of 0: a text of which the model knows no word is a zero vector, and like nothing."""
    known = ranking.scores != 0
    return ranking if known.all() else Ranking(ranking.ids[known], ranking.scores[known])


def row_of(multi: Ragged, i: int) -> Ragged:
    """Item i alone."""
    row = multi.row(i)
    return Ragged(row, np.array([0, len(row)], np.int64))


def _n_wanted(plan: Plan, asked: Asked) -> int:
    """How many candidates each kind brings."""
    plain = plan.rescore is None and plan.mmr is None and plan.group_by is None
    if len(asked.kinds) == 1 and plain:
        return asked.k
    deep = plan.depth if plan.rescore is not None or plan.mmr is not None else 0
    return max(plan.candidates, asked.k, deep)


def _hits(
    plan: Plan, backend: Backend, asked: Asked, i: int, rankings: Mapping[Kind, Ranking], reranker: Reranker | None
) -> Iterator[Hit]:
    ids, scores = fuse(plan, rankings)
    ranked = Ranked(ids, scores, {str(kind): ranking for kind, ranking in rankings.items()}, {})
    pool = max(plan.depth, asked.k)
    if plan.rescore is not None:
        ranked = _rescored(plan, backend, asked, i, _cut(ranked, pool), reranker)
    if plan.min_score is not None:
        ranked = _chosen(ranked, np.flatnonzero(ranked.scores >= plan.min_score))
    if plan.mmr is not None:
        ranked = _cut(ranked, pool)
        ranked = _chosen(ranked, diverse(ranked.scores, backend.vectors(ranked.ids), plan.mmr))
    if plan.group_by is None:
        ranked = _cut(ranked, asked.k)
    read = _read(backend, ranked)
    places = {kind: {n: place for place, n in enumerate(ranking.ids.tolist())}
              for kind, ranking in ranked.kinds.items()}
    if plan.group_by is not None:
        read = islice(grouped(read, plan.group_by, plan.per_group), asked.k)
    for n, score, document in read:
        own = {kind: place[n] for kind, place in places.items() if n in place}
        ranks = {kind: place + 1 for kind, place in own.items()}
        if n in ranked.before:
            ranks["fused"] = ranked.before[n]
        yield Hit(document.id, document.text, document.fields, score,
                  scores={kind: float(ranked.kinds[kind].scores[place]) for kind, place in own.items()}, ranks=ranks)


def _rescored(
    plan: Plan, backend: Backend, asked: Asked, i: int, ranked: Ranked, reranker: Reranker | None
) -> Ranked:
    """In the order of new scores; their ranking stands among the kinds, as "multi" or "reranker"."""
    if plan.rescore == "maxsim":
        name, scores = "multi", backend.scores(asked.embedded, i, "multi", ranked.ids)
    else:
        assert reranker is not None
        documents = backend.documents(ranked.ids.tolist())
        texts = [documents[n].text for n in ranked.ids.tolist()]
        name, scores = "reranker", np.asarray(reranker.score([(asked.queries[i], text) for text in texts]))
        if scores.shape != ranked.ids.shape:
            raise ShapeMismatch(f"{reranker.spec.name} gave scores of shape {scores.shape} for {len(texts)} pairs.")
        if not np.isfinite(scores).all():
            strange = ranked.ids[~np.isfinite(scores)][:1].tolist()
            raise BadInput(f"{reranker.spec.name} gave document {documents[strange[0]].id!r} a score that is not a "
                           "finite number. Are its weights damaged?")
    new = best_first(ranked.ids, scores)
    before = {n: rank for rank, n in enumerate(ranked.ids.tolist(), 1)} if len(ranked.kinds) > 1 else {}
    return Ranked(new.ids, new.scores, {**ranked.kinds, name: new}, before)


def _completed(ranking: Ranking, pool: IntArray, backend: Backend, asked: Asked, i: int, kind: Kind) -> Ranking:
    """The ranking with scores for the whole pool; a score that it has already stays."""
    missing = np.setdiff1d(pool, ranking.ids)
    if not len(missing):
        return ranking
    scores = backend.scores(asked.embedded, i, kind, missing)
    return best_first(np.concatenate([ranking.ids, missing]), np.concatenate([ranking.scores, scores]))


def _read(backend: Backend, ranked: Ranked) -> Iterator[tuple[int, float, Document]]:
    """(number, score, document) in order, read a few at a time."""
    ns, scores = ranked.ids.tolist(), ranked.scores.tolist()
    for start in range(0, len(ns), READ_AT_ONCE):
        part = ns[start : start + READ_AT_ONCE]
        documents = backend.documents(part)
        yield from ((n, scores[start + j], documents[n]) for j, n in enumerate(part))


def _only(asked: Asked, i: int) -> Asked:
    return asked._replace(queries=[asked.queries[i]], embedded=asked.embedded.take([i]))


def _union(rankings: Iterable[Ranking]) -> IntArray:
    return np.unique(np.concatenate([ranking.ids for ranking in rankings]))


def _cut(ranked: Ranked, k: int) -> Ranked:
    return ranked._replace(ids=ranked.ids[:k], scores=ranked.scores[:k])


def _chosen(ranked: Ranked, places: NDArray[np.int64]) -> Ranked:
    return ranked._replace(ids=ranked.ids[places], scores=ranked.scores[places])
