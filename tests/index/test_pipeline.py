"""The steps of a plan say the same as a slow loop that follows its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

from qianru.errors import BadInput, ShapeMismatch
from qianru.index.base import Ranking
from qianru.index.filter import Filter
from qianru.index.pipeline import Asked, search
from qianru.index.plan import KINDS, Plan
from qianru.models.base import ModelSpec
from qianru.types import Document, Embeddings, FloatArray, Hit, IntArray, Kind, Progress


class Table:
    """A backend whose scores are written down: scores[kind][n]; 0 is found by none."""

    def __init__(self, scores: Mapping[Kind, Sequence[float]], authors: Sequence[str | None]) -> None:
        self.table = scores
        self.authors = authors
        self.dense = np.random.default_rng(len(authors)).standard_normal((len(authors), 3))

    def candidates(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None) -> list[Ranking]:
        scores = np.array(self.table[kind], np.float64)
        order = np.lexsort((np.arange(len(scores)), -scores))
        order = order[scores[order] != 0][:k]
        return [Ranking(order, scores[order])] * len(queries)

    def scores(self, queries: Embeddings, i: int, kind: Kind, ns: IntArray) -> FloatArray:
        return np.array(self.table[kind], np.float64)[ns]

    def everything(self, where: Filter | None) -> IntArray:
        return np.arange(len(self.authors))

    def documents(self, ns: Sequence[int]) -> dict[int, Document]:
        return {n: Document(str(n), f"诗{n}", {} if (author := self.authors[n]) is None else {"poet": author})
                for n in ns}

    def vectors(self, ns: IntArray) -> Embeddings:
        return Embeddings("table", np.zeros(len(ns), np.int64), dense=self.dense[ns])


class ByLength:
    """A reranker: the text's last digit, whatever the query."""

    spec = ModelSpec("by length", "test", (), "")

    def score(self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> FloatArray:
        return np.array([float(text[-1]) for _, text in pairs])


def run(table: Table, plan: Plan, k: int, **how: Any) -> list[Hit]:
    asked = Asked(["月"], Embeddings("q", np.zeros(1, np.int64)), plan.kinds or KINDS, k)
    return search(plan, table, asked, **how)[0]


def slowly(table: Table, plan: Plan, k: int) -> list[tuple[int, float]]:
    """(document, score) by the plan's words alone, with lists and loops."""
    n = len(table.authors)
    kinds = plan.kinds or KINDS
    wanted = max(plan.candidates, k, plan.depth if plan.rescore or plan.mmr is not None else 0)
    if len(kinds) == 1 and not plan.rescore and plan.mmr is None and plan.group_by is None:
        wanted = k
    while True:
        lists: dict[Kind, list[int]] = {}
        for kind in kinds:
            if kind != "multi":
                ranked = sorted(range(n), key=lambda d, kind=kind: (-table.table[kind][d], d))
                lists[kind] = [d for d in ranked if table.table[kind][d] != 0][:wanted]
        full = any(len(found) == wanted for found in lists.values())
        union = sorted({d for found in lists.values() for d in found})
        if "multi" in kinds:
            pool = union if lists else range(n)
            ranked = sorted(pool, key=lambda d: (-table.table["multi"][d], d))
            lists["multi"] = ranked if len(kinds) > 1 else [d for d in ranked[:wanted] if table.table["multi"][d]]
            full = full or (len(kinds) == 1 and len(lists["multi"]) == wanted)
        if plan.complete and len(kinds) > 1:
            lists = {kind: sorted(union, key=lambda d, kind=kind: (-table.table[kind][d], d)) for kind in kinds}
        total: dict[int, float] = {}
        for kind in kinds:
            values = [table.table[kind][d] for d in lists[kind]]
            for place, d in enumerate(lists[kind]):
                if len(kinds) == 1:
                    gain = values[place]
                elif plan.fusion == "rrf":
                    gain = 1 / (plan.rrf_k + place + 1)
                elif plan.scale == "none":
                    gain = values[place]
                elif plan.scale == "max":
                    gain = values[place] / (max(map(abs, values)) or 1)
                else:
                    low, high = min(values), max(values)
                    gain = (values[place] - low) / (high - low) if high > low else 1
                total[d] = total.get(d, 0) + gain * (plan.weights.get(kind, 1) if len(kinds) > 1 else 1)
        found = sorted(total.items(), key=lambda one: (-one[1], one[0]))
        pool_size = max(plan.depth, k)
        if plan.rescore:
            new = {d: table.table["multi"][d] if plan.rescore == "maxsim" else float(str(d)[-1])
                   for d, _ in found[:pool_size]}
            found = sorted(new.items(), key=lambda one: (-one[1], one[0]))
        if plan.min_score is not None:
            found = [one for one in found if one[1] >= plan.min_score]
        if plan.mmr is not None:
            found = slow_mmr(table, found[:pool_size], plan.mmr)
        if plan.group_by is None:
            return found[:k]
        kept: list[tuple[int, float]] = []
        for d, score in found:
            author = table.authors[d]
            if author is None or sum(table.authors[other] == author for other, _ in kept) < plan.per_group:
                kept.append((d, score))
        if len(kept) >= k or not full or plan.rescore or plan.mmr is not None:
            return kept[:k]
        wanted *= 4


def slow_mmr(table: Table, found: list[tuple[int, float]], share: float) -> list[tuple[int, float]]:
    scores = [score for _, score in found]
    chosen: list[tuple[int, float]] = []

    def gain(one: tuple[int, float]) -> tuple[float, float]:
        low, high = min(scores), max(scores)
        relevance = (one[1] - low) / (high - low) if high > low else 1.0
        a = table.dense[one[0]]
        alike = [a @ table.dense[d] / np.linalg.norm(a) / np.linalg.norm(table.dense[d]) for d, _ in chosen]
        return round(share * relevance - (1 - share) * max(alike, default=0.0), 9), relevance

    left = list(found)
    while left:
        best = max(left, key=gain)      # of equal ones the first
        chosen.append(best)
        left.remove(best)
    return chosen


SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0])


@st.composite
def tables(draw: st.DrawFn) -> Table:
    n = draw(st.integers(1, 24))
    scores = {kind: draw(st.lists(SCORES, min_size=n, max_size=n)) for kind in KINDS}
    return Table(scores, draw(st.lists(st.sampled_from(["李白", "杜甫", None]), min_size=n, max_size=n)))


PLANS = st.builds(
    Plan,
    kinds=st.sets(st.sampled_from(KINDS), min_size=1).map(tuple),
    candidates=st.integers(1, 8),
    fusion=st.sampled_from(["rrf", "weighted"]),
    rrf_k=st.sampled_from([1.0, 60.0]),
    scale=st.sampled_from(["minmax", "max", "none"]),
    complete=st.booleans(),
    rescore=st.sampled_from([None, "maxsim", "reranker"]),
    depth=st.integers(1, 6),
    min_score=st.sampled_from([None, 0.5]),
    mmr=st.sampled_from([None, None, 0.5]),
    group_by=st.sampled_from([None, "poet"]),
    per_group=st.integers(1, 2),
)


@settings(max_examples=300, deadline=None)
@given(tables(), PLANS, st.integers(1, 8))
def test_the_pipeline_says_what_a_slow_loop_says(table: Table, plan: Plan, k: int) -> None:
    hits = run(table, plan, k, reranker=ByLength())
    expected = slowly(table, plan, k)
    assert [int(hit.id) for hit in hits] == [d for d, _ in expected]
    assert_allclose([hit.score for hit in hits], [score for _, score in expected], rtol=1e-9)


def test_the_ranks_and_scores_of_each_kind_stay_with_a_hit() -> None:
    table = Table({"dense": [0.9, 0.1, 0.5], "sparse": [0, 3.0, 2.0], "multi": [0.2, 0.4, 0.3]}, [None] * 3)
    hit = run(table, Plan(rescore="reranker"), 1, reranker=ByLength())[0]
    assert (hit.id, hit.score) == ("2", 2.0)
    assert hit.scores == {"dense": 0.5, "sparse": 2.0, "multi": 0.3, "reranker": 2.0}
    # by hand: document 1 has 1/63 + 1/61 + 1/61, document 2 has 3/62, document 0 has 1/61 + 1/63
    assert hit.ranks == {"dense": 2, "sparse": 2, "multi": 2, "reranker": 1, "fused": 2}


def test_groups_that_use_up_the_candidates_have_more_fetched() -> None:
    scores = [float(100 - n) for n in range(60)]
    table = Table({"dense": scores, "sparse": scores, "multi": scores}, ["李白"] * 50 + ["杜甫"] * 10)
    hits = run(table, Plan(kinds=("dense",), candidates=5, group_by="poet"), 2)
    assert [hit.id for hit in hits] == ["0", "50"]


def test_diversity_passes_over_a_twin() -> None:
    table = Table({"dense": [1.0, 0.99, 0.5]}, [None] * 3)
    table.dense = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    plan = Plan(kinds=("dense",))
    assert [hit.id for hit in run(table, plan, 3)] == ["0", "1", "2"]
    assert [hit.id for hit in run(table, plan.altered(mmr=0.5), 2)] == ["0", "2"]
    assert [hit.id for hit in run(table, plan.altered(mmr=1.0), 3)] == ["0", "1", "2"]


def test_a_reranker_that_is_missing_or_wrong_is_named() -> None:
    table = Table({"dense": [1.0, 0.5]}, [None] * 2)
    plan = Plan(kinds=("dense",), rescore="reranker")
    with pytest.raises(BadInput, match="there is none"):
        run(table, plan, 1)

    class Short(ByLength):
        def score(self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> FloatArray:
            return np.zeros(1)

    with pytest.raises(ShapeMismatch, match="for 2 pairs"):
        run(table, plan, 2, reranker=Short())


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_a_reranker_whose_score_is_no_number_is_named(strange: float) -> None:
    class Broken(ByLength):
        def score(self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> FloatArray:
            return np.array([0.5, strange])

    table = Table({"dense": [1.0, 0.5]}, [None] * 2)
    with pytest.raises(BadInput, match="gave document '1' a score that is not a finite number"):
        run(table, Plan(kinds=("dense",), rescore="reranker"), 1, reranker=Broken())
