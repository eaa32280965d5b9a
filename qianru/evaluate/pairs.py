"""Tasks of texts side by side: STS, pair classification, and bitext mining, where one side must find the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qianru.errors import require
from qianru.evaluate.data import Pairs
from qianru.evaluate.encode import Encoder, roles_of
from qianru.evaluate.outcome import Outcome
from qianru.evaluate.search import unit, weights_for
from qianru.evaluate.similarity_metrics import agreement, correlations
from qianru.evaluate.task import Task
from qianru.scores import weighted_mean
from qianru.scores.best import Best
from qianru.scores.similarity import cosine, cosine_pairs, dot_pairs, euclidean_pairs, maxsim, maxsim_pairs
from qianru.types import Embeddings, FloatArray, Kind

SIDES_AT_ONCE = 1024      # rows of the left side that are held against the right at once


def judge_pairs(encoder: Encoder, task: Task, data: Pairs, weights: Mapping[Kind, float] | None) -> Outcome:
    """STS: correlation with the scores. Pair classification: thresholds and average precision.

    The model's own similarity is the cosine of dense and of sparse vectors, MaxSim of multiple ones, the weighted mean
    of these where it makes several; with dense vectors alone there are other similarities beside it.
    """
    assert data.gold is not None
    gold = np.array(data.gold, np.float64)
    left, right = _sides(encoder, task, data)
    similarity = _own_similarity(left, right, encoder.kinds, weights)
    named: dict[str, FloatArray] = {"cosine": similarity}
    if encoder.kinds == ("dense",):
        a, b = _wide(left["dense"].dense), _wide(right["dense"].dense)
        named |= {"manhattan": -np.abs(a - b).sum(axis=1), "euclidean": euclidean_pairs(a, b)}
        if task.type == "PairClassification":
            named["dot"] = dot_pairs(a, b)
    if task.type == "STS":
        scores = correlations({"": similarity, **named}, gold)
    else:
        scores = agreement({"similarity": similarity, **named}, gold.astype(np.int64))
    names = [str(i) for i in range(len(gold))]
    texts = dict(zip(names, zip(data.left, data.right, strict=True), strict=True))
    judged = named[_deciding(task.main_score, tuple(named), scores)]
    per_item = dict(zip(names, judged.tolist(), strict=True))
    own = {} if judged is similarity else dict(zip(names, similarity.tolist(), strict=True))
    return Outcome(scores, per_item, dict(zip(names, gold.tolist(), strict=True)), texts, similarities=own)


def _deciding(main_score: str, named: Sequence[str], scores: Mapping[str, float]) -> str:
    """Of the similarities named that which the main score is of; the first is the model's own.

    >>> _deciding("max_ap", ("cosine", "euclidean"), {"cosine_ap": 0.5, "euclidean_ap": 0.6})
    'euclidean'
    >>> _deciding("similarity_ap", ("cosine", "euclidean"), {"cosine_ap": 0.5, "euclidean_ap": 0.6})
    'cosine'
    """
    of, _, measure = main_score.partition("_")
    if of == "max":
        return max(named, key=lambda name: scores[f"{name}_{measure}"])
    return of if of in named else named[0]


def mine_bitext(encoder: Encoder, task: Task, data: Pairs, weights: Mapping[Kind, float] | None) -> Outcome:
    """For each text on the left the most similar one on the right, which should be that of the same row.

    f1, precision and recall are means over the rows on the right weighted by how often each is sought: once.
    """
    metrics = require("sklearn.metrics", "evaluate", "Bitext mining")
    left, right = _sides(encoder, task, data)
    n = len(data.left)
    chosen = np.empty(n, np.int64)
    for start in range(0, n, SIDES_AT_ONCE):
        best = Best(min(SIDES_AT_ONCE, n - start), 1)
        for first in range(0, n, SIDES_AT_ONCE):
            ids = np.arange(first, min(first + SIDES_AT_ONCE, n))
            best.offer(_all_similarities(left, right, encoder.kinds, weights, start, first), ids)
        chosen[start : start + SIDES_AT_ONCE] = [ids[0] for ids, _ in best.rankings()]
    sought = np.arange(n)
    scores = {name: float(function(sought, chosen, average="weighted", zero_division=0))
              for name, function in (("precision", metrics.precision_score), ("recall", metrics.recall_score),
                                     ("f1", metrics.f1_score))}
    right_ones = (chosen == sought).astype(np.float64)
    scores["accuracy"] = float(right_ones.mean())
    shares = 2 * right_ones / (1 + np.bincount(chosen, minlength=n))       # F1 of each row: 2 tp / (sought + chosen)
    texts = {str(i): pair for i, pair in enumerate(zip(data.left, data.right, strict=True))}
    return Outcome(scores, {str(i): share for i, share in enumerate(shares.tolist())}, texts=texts)


def _sides(encoder: Encoder, task: Task, data: Pairs) -> tuple[dict[Kind, Embeddings], dict[Kind, Embeddings]]:
    """kind -> vectors of either side, kinds of equal roles made together."""
    grouped: dict[tuple[str, str], list[Kind]] = {}
    for kind in encoder.kinds:
        grouped.setdefault(roles_of(task, kind, encoder), []).append(kind)
    left: dict[Kind, Embeddings] = {}
    right: dict[Kind, Embeddings] = {}
    for roles, kinds in grouped.items():
        for side, role, texts in ((left, roles[0], data.left), (right, roles[1], data.right)):
            made = encoder.encode(texts, role, kinds)      # type: ignore[arg-type]   # roles of roles_of
            side.update(dict.fromkeys(kinds, made))
    return left, right


def _own_similarity(left: Mapping[Kind, Embeddings], right: Mapping[Kind, Embeddings], kinds: Sequence[Kind],
                    weights: Mapping[Kind, float] | None) -> FloatArray:
    """(n,) of row i with row i."""
    scores: dict[Kind, FloatArray] = {}
    for kind in kinds:
        a, b = left[kind], right[kind]
        if kind == "dense":
            scores[kind] = cosine_pairs(_wide(a.dense), _wide(b.dense))
        elif kind == "sparse":
            assert a.sparse is not None
            assert b.sparse is not None
            scores[kind] = cosine_pairs(a.sparse, b.sparse)
        else:
            assert a.multi is not None
            assert b.multi is not None
            scores[kind] = maxsim_pairs(a.multi, b.multi)
    return _weighed(scores, kinds, weights)


def _all_similarities(left: Mapping[Kind, Embeddings], right: Mapping[Kind, Embeddings], kinds: Sequence[Kind],
                      weights: Mapping[Kind, float] | None, start: int, first: int) -> FloatArray:
    """(a, b) of rows from start on the left with rows from first on the right."""

    scores: dict[Kind, FloatArray] = {}
    for kind in kinds:
        a, b = (side[kind].take(np.arange(at, min(at + SIDES_AT_ONCE, len(side[kind]))))
                for side, at in ((left, start), (right, first)))
        if a.dense is not None and b.dense is not None and kind == "dense":
            scores[kind] = unit(a.dense) @ unit(b.dense).T
        elif a.sparse is not None and b.sparse is not None and kind == "sparse":
            scores[kind] = cosine(a.sparse, b.sparse)
        elif a.multi is not None and b.multi is not None:
            scores[kind] = maxsim(a.multi, b.multi)
    return _weighed(scores, kinds, weights)


def _weighed(scores: Mapping[Kind, FloatArray], kinds: Sequence[Kind],
             weights: Mapping[Kind, float] | None) -> FloatArray:
    return scores[kinds[0]] if len(kinds) == 1 else weighted_mean(scores, weights_for(kinds, weights))


def _wide(vectors: FloatArray | None) -> FloatArray:
    assert vectors is not None
    return np.asarray(vectors, np.float64)
