"""From questions to hits: the plan is settled, the questions embedded once for all kinds, the steps gone through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qianru.errors import BadInput, ShapeMismatch, SpecMismatch
from qianru.index.base import Ranking
from qianru.index.filter import Filter
from qianru.index.pipeline import Asked, Backend, retrieve, search
from qianru.index.plan import Fusion, Plan, whole
from qianru.index.writer import unit
from qianru.models import load
from qianru.models.base import Model, Reranker, as_texts, chosen_kinds
from qianru.types import Embeddings, Hit, Kind

PlanLike = Plan | str | Mapping[str, Any]
"""A Plan, the name of one, or one written down as JSON or a mapping."""


class Searcher:
    """Searches a backend by a model. kinds: the vectors that the backend stores."""

    def __init__(self, model: Model, kinds: tuple[Kind, ...], backend: Backend) -> None:
        self.model = model
        self.kinds = kinds
        self.backend = backend
        self.reranker: Reranker | None = None
        self._loaded: tuple[str, Reranker] | None = None

    def settled(
        self,
        plan: PlanLike,
        kinds: Sequence[Kind] | None = None,
        fusion: Fusion | None = None,
        weights: Mapping[Kind, float] | None = None,
    ) -> Plan:
        """The plan with the steps that are given beside it, its kinds named and known to be stored.

        Raises BadInput, UnknownName for what cannot be.
        """
        chosen = plan if isinstance(plan, Plan) else Plan.parse(plan)
        able = chosen_kinds(replace(self.model.spec, kinds=self.kinds), kinds if kinds is not None else chosen.kinds)
        kept = {kind: weight for kind, weight in chosen.weights.items() if kind in able}
        changes: dict[str, Any] = {"kinds": able, "weights": kept if weights is None else weights}
        if fusion is not None:
            changes["fusion"] = fusion
        if chosen.rescore == "maxsim" and "multi" not in self.kinds:
            raise BadInput("This plan rescores by MaxSim, and this collection stores "
                           f"{' and '.join(self.kinds)} vectors, no multi ones. Leave rescore out.")
        return chosen.altered(**changes)

    def kept(self, plan: PlanLike) -> Plan:
        """The plan as it is kept for all searches: one that weighs no kind which is not stored.

        Raises BadInput, UnknownName for another.
        """
        chosen = plan if isinstance(plan, Plan) else Plan.parse(plan)
        self.settled(chosen)
        if missing := [kind for kind in chosen.weights if kind not in self.kinds]:
            raise BadInput(f"This plan weighs {' and '.join(missing)} vectors, and this collection stores "
                           f"{' and '.join(self.kinds)} ones alone. Take another plan, or a second model that makes "
                           "the others.")
        return chosen

    def search(self, queries: Sequence[str], k: int, where: Filter | str | None, plan: Plan) -> list[list[Hit]]:
        """The k best hits for each query by a settled plan."""
        asked = self._asked(queries, whole("k", k, least=1), where, plan)
        return search(plan, self.backend, asked, self._reranker_of(plan))

    def by_vector(self, vector: ArrayLike, k: int, where: Filter | str | None, plan: Plan) -> list[Hit]:
        """The k best hits for a query that is embedded already, by its dense vector and a settled plan."""
        try:
            dense = np.asarray(vector, np.float64)
        except (TypeError, ValueError, OverflowError):
            dense = np.full(0, np.nan)
        if dense.ndim != 1 or not len(dense) or not np.isfinite(dense).all():
            raise BadInput(f"A vector is a row of finite numbers, not {vector!r:.60}.")
        if self.model.spec.dim not in (None, len(dense)):
            raise ShapeMismatch(f"This vector has {len(dense)} dimensions; those of the collection have "
                                f"{self.model.spec.dim}. Embed the query with {self.model.spec.name}.")
        scale = np.frexp(np.abs(dense).max())[1]      # a power of two: exact, and no square is too large or small
        dense = np.ldexp(dense, -scale).astype(np.float32)
        embedded = Embeddings(self.model.spec.name, np.zeros(1, np.int64), dense=unit(dense[None]))
        asked = Asked([""], embedded, ("dense",), whole("k", k, least=1), as_filter(where))
        return search(plan, self.backend, asked)[0]

    def candidates(self, queries: Sequence[str], where: Filter | str | None, plan: Plan) -> list[dict[Kind, Ranking]]:
        """For each query, what each kind of a settled plan brings to the fusion."""
        return retrieve(plan, self.backend, self._asked(queries, 1, where, plan), plan.candidates)

    def embed(self, queries: Sequence[str], kinds: Sequence[Kind]) -> Embeddings:
        """The queries' vectors, dense ones at length 1."""
        made = self.model.encode(queries, role="query", kinds=kinds)
        return Embeddings(made.model, made.n_tokens, made.n_truncated, unit(made.dense), made.sparse, made.multi)

    def _asked(self, queries: Sequence[str], k: int, where: Filter | str | None, plan: Plan) -> Asked:
        assert plan.kinds is not None
        listed = as_texts(queries)
        kinds = [kind for kind in self.kinds
                 if kind in plan.kinds or (kind == "multi" and plan.rescore == "maxsim")]
        return Asked(listed, self.embed(listed, kinds), plan.kinds, k, as_filter(where))

    def _reranker_of(self, plan: Plan) -> Reranker | None:
        if plan.rescore != "reranker" or self.reranker is not None or not plan.reranker:
            return self.reranker
        if self._loaded is None or self._loaded[0] != plan.reranker:
            model: object = load(plan.reranker)
            if not isinstance(model, Reranker):
                raise SpecMismatch(f"{plan.reranker} makes vectors and cannot rescore. Name a cross-encoder such as "
                                   "bge-reranker-base.")
            self._loaded = (plan.reranker, model)
        return self._loaded[1]


def as_filter(where: Filter | str | None) -> Filter | None:
    """The condition; parsed where it is written as text. Raises BadInput for anything else."""
    if isinstance(where, str):
        return Filter.parse(where)
    if where is not None and not isinstance(where, Filter):
        raise BadInput(f"where is a condition such as 'line > 10', not {where!r:.60}.")
    return where
