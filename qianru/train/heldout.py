"""Scores on examples that were held out: is it better than before?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qianru.errors import BadInput
from qianru.models.base import Model
from qianru.scores import cosine, cosine_pairs
from qianru.train.data.examples import Ranked, Scored
from qianru.train.data.sets import DataSet
from qianru.types import FloatArray

AT = 10


class HeldOut:
    """Evaluates a model on a data set: its dense vectors, by cosine.

    ranked examples: "ndcg@10" and "mrr@10" of each query among the documents of all examples
    scored pairs: "spearman" of the cosines with the scores
    """

    def __init__(self, data: DataSet) -> None:
        if data.task not in ("ranked", "scored"):
            raise BadInput(f"{data.config.path} holds {data.task} texts; a held-out set needs queries with positives, "
                           "or pairs with scores.")
        examples = [data[i] for i in range(len(data))]
        self._ranked = [e for e in examples if isinstance(e, Ranked)]
        self._scored = [e for e in examples if isinstance(e, Scored)]

    def __call__(self, model: Model) -> Mapping[str, float]:
        return self._ranks(model) if self._ranked else {"spearman": self._correlation(model)}

    def _ranks(self, model: Model) -> dict[str, float]:
        columns: dict[str, int] = {}
        right: dict[str, set[int]] = {}
        for e in self._ranked:
            places = [columns.setdefault(text, len(columns)) for text in (*e.positives, *e.negatives)]
            right.setdefault(e.query, set()).update(places[: len(e.positives)])
        queries, documents = _dense(model, list(right), "query"), _dense(model, list(columns), "document")
        ndcg, mrr = [], []
        for vector, relevant in zip(queries, right.values(), strict=True):
            scores = cosine(vector[None], documents)[0]
            best = np.argsort(-scores, kind="stable")[:AT]
            gains = np.isin(best, list(relevant))
            discounts = 1 / np.log2(np.arange(2, AT + 2))
            ndcg.append((gains * discounts[: len(gains)]).sum() / discounts[: len(relevant)].sum())
            mrr.append(1 / (1 + gains.argmax()) if gains.any() else 0.0)
        return {"ndcg@10": float(np.mean(ndcg)), "mrr@10": float(np.mean(mrr))}

    def _correlation(self, model: Model) -> float:
        left, right = ([getattr(e, side) for e in self._scored] for side in ("left", "right"))
        cosines = cosine_pairs(_dense(model, left, "document"), _dense(model, right, "document"))
        return spearman(cosines, np.array([e.score for e in self._scored]))


class Several:
    """Evaluates a model on several data sets: the mean of their first scores, "mean", then each by its file's name."""

    def __init__(self, sets: Sequence[DataSet]) -> None:
        self._judges = {Path(data.config.path).name: HeldOut(data) for data in sets}

    def __call__(self, model: Model) -> Mapping[str, float]:
        scores = {name: dict(judge(model)) for name, judge in self._judges.items()}
        first = [next(iter(held.values())) for held in scores.values()]
        named = {f"{name} {metric}": score for name, held in scores.items() for metric, score in held.items()}
        return {"mean": float(np.mean(first)), **named}


def hold_out(sets: Sequence[DataSet], share: float) -> tuple[list[DataSet], HeldOut | Several]:
    """(the sets without that share of their rows, what evaluates on it); BadInput where nothing can be held out."""
    judged = [data.task in ("ranked", "scored") for data in sets]
    parts = [data.split(share) if fit else (data, data) for data, fit in zip(sets, judged, strict=True)]
    held = [part for (_, part), fit in zip(parts, judged, strict=True) if fit]
    if not held:
        raise BadInput("Nothing can be held out: queries with positives or pairs with scores can, and there are none.")
    for rest, part in parts:
        if not len(part) or not len(rest):
            raise BadInput(f"hold_out = {share} of {rest.config.path} leaves {len(part)} rows to judge by and "
                           f"{len(rest)} to learn from. Use another share, or a file of held-out examples.")
    return [rest for rest, _ in parts], HeldOut(held[0]) if len(held) == 1 else Several(held)


def spearman(a: FloatArray, b: FloatArray) -> float:
    """Correlation of the ranks, equal numbers having the mean of theirs; 0 where one of the two does not vary.

    >>> spearman(np.array([0.1, 0.5, 0.9]), np.array([1, 5, 3]))
    0.5
    """
    x, y = (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b)))
    length = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / length) if length else 0.0


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: FloatArray = (last - (counts - 1) / 2)[inverse]
    return means


def _dense(model: Model, texts: list[str], role: str) -> FloatArray:
    made = model.encode(texts, role=role, kinds=["dense"]).dense   # type: ignore[arg-type]
    assert made is not None
    return made
