"""Tasks of labelled texts: classification by logistic regression on few samples, clustering by k-means."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, require
from qianru.evaluate.data import Clusters, Label, Labelled
from qianru.evaluate.encode import Encoder, roles_of
from qianru.evaluate.learning import SEED, Learner
from qianru.evaluate.outcome import Outcome
from qianru.evaluate.task import Task
from qianru.types import Embeddings, Kind

SET_BATCH, DRAW_BATCH = 500, 512      # of k-means, over the data's own sets and over draws


def classify(encoder: Encoder, task: Task, data: Labelled) -> Outcome:
    """Means over the draws of samples to learn from; per text the share of draws that labelled it right."""
    draws = undersampled(data.train_labels, task.samples_per_label, task.draws)
    union = sorted({row for draw in draws for row in draw})
    places = {row: place for place, row in enumerate(union)}
    kind = _one_kind(encoder, task)
    role, _ = roles_of(task, kind, encoder)
    learner = Learner(_matrix(encoder.encode([data.train_texts[row] for row in union], role, [kind]), kind))
    test = _matrix(encoder.encode(data.texts, role, [kind]), kind)
    numbers = _numbers([*data.train_labels, *data.labels])
    train_labels = np.array([numbers[label] for label in data.train_labels])
    labels = np.array([numbers[label] for label in data.labels])
    right = np.zeros(len(labels))
    repeats: list[dict[str, float]] = []
    seen: dict[frozenset[int], NDArray[np.int64]] = {}
    for draw in draws:
        rows = frozenset(draw)
        if rows not in seen:        # where labels have fewer samples than are drawn, every draw is the same
            seen[rows] = learner.predicted([places[row] for row in draw], train_labels[draw], test)
        predicted = seen[rows]
        right += predicted == labels
        repeats.append(_label_metrics(labels, predicted))
    scores = {name: float(np.mean([repeat[name] for repeat in repeats])) for name in repeats[0]}
    shares = (right / len(draws)).tolist()
    texts = {str(i): (text,) for i, text in enumerate(data.texts)}
    return Outcome(scores, {str(i): share for i, share in enumerate(shares)}, texts=texts, repeats=tuple(repeats))


def undersampled(labels: Sequence[Label], per_label: int, draws: int) -> list[list[int]]:
    """For each draw the rows to learn from, at most so many of a label.

    As mteb draws them: the rows are shuffled with the same seed each time, but from the order of the time before.
    """
    if per_label < 1 or draws < 1:
        raise BadInput(f"Classification needs at least one sample of a label and one draw, not {per_label} and "
                       f"{draws}.")
    order = list(range(len(labels)))
    chosen: list[list[int]] = []
    for _ in range(draws):
        np.random.RandomState(SEED).shuffle(order)
        counts: Counter[Label] = Counter()
        rows: list[int] = []
        for row in order:
            if counts[labels[row]] < per_label:
                counts[labels[row]] += 1
                rows.append(row)
        chosen.append(rows)
    return chosen


def cluster(encoder: Encoder, task: Task, data: Clusters) -> Outcome:
    """The mean v-measure over the data's own sets, or over draws with replacement from all of it."""
    kind = _one_kind(encoder, task)
    role, _ = roles_of(task, kind, encoder)
    if task.draws == 0:
        measures = [_set_measure(_matrix(encoder.encode(texts, role, [kind]), kind), labels)
                    for texts, labels in data.sets]
        scores = {"v_measure": float(np.mean(measures)), "v_measure_std": float(np.std(measures))}
        return Outcome(scores, {str(i): value for i, value in enumerate(measures)})
    texts = [text for some, _ in data.sets for text in some]
    labels = [label for _, some in data.sets for label in some]
    return _drawn(_matrix(encoder.encode(texts, role, [kind]), kind), labels, task)


def _drawn(vectors: Any, labels: Sequence[Label], task: Task) -> Outcome:
    metrics = require("sklearn.metrics", "evaluate", "Clustering")
    numbers = _numbers(labels)
    known = np.array([numbers[label] for label in labels])
    means = _k_means(len(numbers), batch_size=DRAW_BATCH, n_init=1)
    drawing = random.Random(SEED)
    values: dict[str, list[float]] = {"v_measure": [], "ami": []}
    for _ in range(task.draws):
        rows = drawing.choices(range(len(labels)), k=task.draw_size)
        found = means.fit_predict(vectors[rows])
        values["v_measure"].append(float(metrics.v_measure_score(known[rows], found)))
        values["ami"].append(float(metrics.adjusted_mutual_info_score(known[rows], found)))
    scores = {name: float(np.mean(each)) for name, each in values.items()}
    scores |= {f"{name}_std": float(np.std(each)) for name, each in values.items()}
    repeats = tuple({name: each[i] for name, each in values.items()} for i in range(task.draws))
    return Outcome(scores, {str(i): value for i, value in enumerate(values["v_measure"])}, repeats=repeats)


def _set_measure(vectors: Any, labels: Sequence[Label]) -> float:
    metrics = require("sklearn.metrics", "evaluate", "Clustering")
    n_labels = len(set(labels))
    if n_labels <= 1:
        return 1.0               # whatever is found, no cluster holds two labels
    found = _k_means(n_labels, batch_size=SET_BATCH, n_init="auto").fit(vectors)
    return float(metrics.v_measure_score(list(map(str, labels)), found.labels_))


def _k_means(n_clusters: int, **settings: Any) -> Any:
    clusters = require("sklearn.cluster", "evaluate", "Clustering")
    return clusters.MiniBatchKMeans(n_clusters=n_clusters, init="k-means++", random_state=SEED, **settings)


def _label_metrics(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, float]:
    metrics = require("sklearn.metrics", "evaluate", "Classification")
    scores = {"accuracy": float(metrics.accuracy_score(labels, predicted))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")          # of labels that are never predicted: their precision counts as 0
        for name in ("f1", "precision", "recall"):
            function = getattr(metrics, f"{name}_score")
            scores[name] = float(function(labels, predicted, average="macro"))
            scores[f"{name}_weighted"] = float(function(labels, predicted, average="weighted"))
        if set(np.unique(labels).tolist()) == {0, 1}:
            for suffix, average in (("", "macro"), ("_weighted", "weighted")):
                scores["ap" + suffix] = float(metrics.average_precision_score(labels, predicted, average=average))
    return scores


def _numbers(labels: Sequence[Label]) -> dict[Label, int]:
    """label -> its number from 0, by value."""
    by_value = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    return {label: number for number, label in enumerate(by_value)}


def _one_kind(encoder: Encoder, task: Task) -> Kind:
    """The kind of vectors that a classifier or k-means reads: dense ones, or else sparse ones."""
    for kind in ("dense", "sparse"):
        if kind in encoder.kinds:
            return kind
    raise BadInput(f"{task.name} needs dense or sparse vectors; {encoder.model.spec.name} is asked for "
                   f"{' and '.join(encoder.kinds)} ones. Leave --kinds out.")


def _matrix(embeddings: Embeddings, kind: Kind) -> Any:
    """(n, d) array, or a scipy matrix of sparse rows."""
    if kind == "dense":
        return embeddings.dense
    sparse = require("scipy.sparse", "evaluate", "Classification and clustering of sparse vectors")
    rows = embeddings.sparse
    assert rows is not None
    return sparse.csr_matrix((rows.weights, rows.terms, rows.offsets), shape=(len(rows), max(rows.width, 1)))
