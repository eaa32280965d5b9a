"""The plan that finds the right documents best, learnt from labelled queries and judged on those held back.

Every kind brings its candidates once; hundreds of ways to fuse them are then tried on these rankings alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput
from qianru.evaluate.ranking_metrics import ranking_metrics
from qianru.evaluate.resampling import resample
from qianru.evaluate.statistics import mean_of
from qianru.index.base import Ranking
from qianru.index.collection import Collection
from qianru.index.plan import Plan
from qianru.scores import fuse_rrf, fuse_weighted
from qianru.types import Kind, Progress
from qianru.use.labels import Labelled, grades_of

CUT = 10
DEPTHS = (30, 100)                    # candidates of each kind
STEPS = {2: 20, 3: 10}                # kinds -> weights are twentieths or tenths
FORMS: Sequence[Mapping[str, Any]] = (
    {"fusion": "rrf"},
    {"fusion": "rrf", "rrf_k": 10.0},
    *({"fusion": "weighted", "scale": scale, "complete": complete}
      for complete in (False, True) for scale in ("minmax", "max", "none")),
)
LEVEL = 0.95

Rankings = Mapping[Kind, Ranking]


class Interval(NamedTuple):
    """A mean and the ends of its bootstrap interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was learnt; scores are nDCG@10.

    plan: the best on all queries
    before: of the plan that the collection had;  after: of plans on queries that they were not learnt from
    gain: after - before;  alone: kind -> by this kind only
    n_queries: that count;  n_unknown: of which the collection has no answer
    """

    plan: Plan
    before: float
    after: float
    gain: Interval
    alone: Mapping[Kind, float]
    n_queries: int
    n_unknown: int


def tune(
    collection: Collection,
    labelled: Sequence[Labelled],
    *,
    n_folds: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tuning:
    """Kinds, fusion, weights and candidates that are best for the labelled queries, beside what the plan has.

    A threshold of the old plan goes, since scores change; its rescoring, diversity and grouping stay, and play no part
    in learning. progress counts queries. Raises BadInput for fewer than 2 x n_folds queries that have an answer in the
    collection.
    """
    grades = list(grades_of(collection, labelled))
    counted = [i for i, one in enumerate(grades) if one]
    if n_folds < 2 or len(counted) < 2 * n_folds:
        raise BadInput(f"{len(counted)} of {len(labelled)} queries have an answer in this collection; to learn in "
                       f"{n_folds} folds at least {2 * max(n_folds, 2)} are needed.")
    queries, grades = [labelled[i].query for i in counted], [grades[i] for i in counted]
    old = collection.plan.altered(rescore=None, mmr=None, group_by=None, min_score=None)
    kinds = tuple(collection.info()["kinds"])
    deep = Plan(kinds=kinds, candidates=max(DEPTHS))
    if not set(kinds) - {"multi"}:
        raise BadInput("This collection stores token vectors only; there is nothing to fuse.")
    found = collection.candidates(queries, plan=deep)
    whole = collection.candidates(queries, plan=deep.altered(complete=True)) if len(kinds) > 1 else found
    plans = list(_plans(kinds))
    n_single = sum(len(plan.kinds or ()) == 1 for plan in plans)
    values = np.empty((len(plans), len(queries)))
    for i, judged in enumerate(grades):
        values[:, i] = _values(plans, found[i], whole[i], judged)
        if progress is not None:
            progress(i + 1, len(queries))
    hits = [[hit.id for hit in mine] for mine in collection.search_many(queries, CUT, plan=old)]
    numbers = collection.numbers([id for mine in hits for id in mine])
    before = _ndcg([[numbers[id] for id in mine] for mine in hits], grades)
    folds = np.random.default_rng(seed).permutation(len(queries)) % n_folds
    after = np.empty(len(queries))
    for fold in range(n_folds):
        away = folds == fold
        after[away] = values[_best(values[:, ~away], n_single, n_folds)][away]
    best = plans[_best(values, n_single, n_folds)]
    steps = {name: getattr(best, name) for name in
             ("kinds", "candidates", "fusion", "rrf_k", "scale", "complete", "weights")}
    kept = collection.plan
    if kept.rescore == "maxsim" and "multi" in (best.kinds or ()):
        steps["rescore"] = None                              # its share in the fusion has been learnt
    alone = {plan.kinds[0]: float(row.mean()) for plan, row in zip(plans, values, strict=True)
             if plan.kinds is not None and len(plan.kinds) == 1 and plan.candidates == max(DEPTHS)}
    return Tuning(kept.altered(min_score=None, **steps), float(before.mean()), float(after.mean()),
                  interval_of(after - before, seed), alone, len(queries), len(labelled) - len(queries))


def _best(values: NDArray[np.float64], n_single: int, n_folds: int) -> int:
    """The row of the best fusion, if fusions gain on queries that they were not chosen by; else of the best kind alone.

    The best of hundreds on few queries is lucky: judged by the queries that chose it, it beats a kind alone also where
    it has nothing to give, and costs a search more each time. values: (p, q), the first n_single rows of kinds alone
    """
    single, fused = int(values[:n_single].mean(1).argmax()), values[n_single:]
    if not len(fused):
        return single
    folds = np.arange(values.shape[1]) % n_folds
    held = np.empty(values.shape[1])
    for fold in range(n_folds):
        away = folds == fold
        held[away] = fused[fused[:, ~away].mean(1).argmax()][away]
    gains = held - values[single]
    shown = gains.mean() > gains.std() / np.sqrt(len(gains))
    return n_single + int(fused.mean(1).argmax()) if shown else single


def interval_of(differences: NDArray[np.float64], seed: int = 0) -> Interval:
    """The mean with its percentile interval by the bootstrap over queries."""
    draws = resample([mean_of(differences)], len(differences), seed=seed)[0]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(differences.mean()), float(low), float(high))


def _plans(kinds: tuple[Kind, ...]) -> Iterator[Plan]:
    """All that are tried; of equally good ones the first is taken, so the plain ones stand first."""
    for kind in kinds:
        if kind != "multi":
            yield Plan(kinds=(kind,), candidates=max(DEPTHS))
    subsets = [some for n in range(2, len(kinds) + 1) for some in combinations(kinds, n)]
    for some, form, depth in product(subsets, FORMS, reversed(DEPTHS)):
        plain = Plan(kinds=some, candidates=depth, **form)
        for shares in sorted(_shares(len(some)), key=lambda shares: max(shares) - min(shares)):
            yield plain.altered(weights={kind: share / sum(shares) for kind, share in zip(some, shares, strict=True)})


def _shares(n: int) -> list[tuple[int, ...]]:
    """All ways to part the steps among n kinds, each at least 1."""
    return [shares for shares in product(range(1, STEPS[n]), repeat=n) if sum(shares) == STEPS[n]]


def _values(plans: Sequence[Plan], found: Rankings, whole: Rankings, judged: Mapping[int, int]) -> NDArray[np.float64]:
    """(p,) nDCG of every plan for one query; plans that differ in weights alone are fused in one product."""
    tops: list[list[int]] = []
    at = 0
    while at < len(plans):
        first = plans[at]
        same = at + 1
        while same < len(plans) and plans[same].altered(weights=first.weights) == first:
            same += 1
        rankings = _as_planned(first, found, whole)
        if len(rankings) == 1:
            tops.append(next(iter(rankings.values())).ids[:CUT].tolist())
        else:
            weights = np.array([[plan.weights[kind] for kind in rankings] for plan in plans[at:same]])
            tops += _fused(first, rankings, weights)
        at = same
    return _ndcg(tops, [judged] * len(tops))


def _as_planned(plan: Plan, found: Rankings, whole: Rankings) -> dict[Kind, Ranking]:
    """The rankings that the plan would retrieve, cut out of those of all kinds at the largest depth."""
    assert plan.kinds is not None
    n = plan.candidates
    mine: dict[Kind, Ranking] = {kind: Ranking(found[kind].ids[:n], found[kind].scores[:n])
                                 for kind in plan.kinds if kind != "multi"}
    if len(plan.kinds) > 1:
        pool = np.unique(np.concatenate([ranking.ids for ranking in mine.values()]))
        for kind in plan.kinds:
            if kind == "multi" or plan.complete:
                ids, scores = whole[kind]
                inside = np.isin(ids, pool)
                mine[kind] = Ranking(ids[inside], scores[inside])
    return {kind: mine[kind] for kind in plan.kinds}


def _fused(plan: Plan, rankings: Rankings, weights: NDArray[np.float64]) -> list[list[int]]:
    """For each row of weights the best CUT of the fusion."""
    ids = np.unique(np.concatenate([ranking.ids for ranking in rankings.values()]))
    gains = np.zeros((len(rankings), len(ids)))
    for row, ranking in zip(gains, rankings.values(), strict=True):      # what each kind gives at weight 1
        single, scores = (fuse_rrf([ranking], k=plan.rrf_k) if plan.fusion == "rrf" else
                          fuse_weighted([ranking], scale=plan.scale))
        row[np.searchsorted(ids, single)] = scores
    order = np.argsort(-(weights @ gains), axis=1, kind="stable")[:, :CUT]                    # equal sums: lower id
    return [ids[row].tolist() for row in order]


def _ndcg(tops: Sequence[Sequence[int]], grades: Sequence[Mapping[int, int]]) -> NDArray[np.float64]:
    """(q,) nDCG@10. tops: the best documents of each query"""
    found = np.zeros((len(tops), CUT), np.int64)
    for row, top, judged in zip(found, tops, grades, strict=True):
        row[: len(top)] = [judged.get(n, 0) for n in top]
    return ranking_metrics(found, [np.array(list(judged.values())) for judged in grades], [CUT])[f"ndcg_at_{CUT}"]
