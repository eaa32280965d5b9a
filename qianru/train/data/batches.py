"""Rows -> a Batch: every text once, and who must not be whose negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qianru.train.data.examples import Labelled, Plain, Ranked, Scored
from qianru.train.data.sampler import Draw
from qianru.train.data.sets import DataSet
from qianru.types import FloatArray, IntArray

BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RankedBatch:
    """b queries and c documents, no text twice among the documents.

    target: (b,) column of each query's positive;  own: (b, c) the documents that came with it
    known: (b, c) all that is right for it: its positives, those of a query of the same text, its own text
    alike: (b, b) queries with the same text or an answer in common
    group: (b, g) columns of its positive and its negatives, teacher: (b, g) scores of them; None without a teacher
    """

    queries: list[str]
    documents: list[str]
    target: IntArray
    own: BoolArray
    known: BoolArray
    alike: BoolArray
    group: IntArray | None = None
    teacher: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScoredBatch:
    """n pairs: left[i] and right[i] are alike by scores[i]."""

    left: list[str]
    right: list[str]
    scores: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PlainBatch:
    """n texts, none twice."""

    texts: list[str]


Batch: TypeAlias = RankedBatch | ScoredBatch | PlainBatch


def collect(data: DataSet, draw: Draw, n_negatives: int) -> Batch:
    """The batch of a draw from its data set; which positive and which negatives are taken, its seed says."""
    rng = np.random.default_rng(draw.seed)
    examples = [data[int(i)] for i in draw.rows]
    if data.labels is not None:
        return _labelled(data, draw.rows, [e for e in examples if isinstance(e, Labelled)], rng)
    ranked = [e for e in examples if isinstance(e, Ranked)]
    if ranked:
        return rank(ranked, n_negatives, rng)
    scored = [e for e in examples if isinstance(e, Scored)]
    if scored:
        return ScoredBatch([e.left for e in scored], [e.right for e in scored], np.array([e.score for e in scored]))
    return PlainBatch(list(dict.fromkeys(e.text for e in examples if isinstance(e, Plain))))


def rank(examples: Sequence[Ranked], n_negatives: int, rng: np.random.Generator) -> RankedBatch:
    """One positive and up to n_negatives negatives of each example, drawn at random, their order kept."""
    taught = all(e.scores is not None for e in examples)
    n_each = min(n_negatives, *(len(e.negatives) for e in examples)) if taught else n_negatives   # a teacher's rows are
    columns: dict[str, int] = {}                                                                  # of one length
    groups: list[list[int]] = []
    scores: list[list[float]] = []
    for e in examples:
        positive = int(rng.integers(len(e.positives)))
        negatives = sorted(rng.permutation(len(e.negatives))[:n_each].tolist())
        texts = [e.positives[positive], *(e.negatives[i] for i in negatives)]
        groups.append([columns.setdefault(text, len(columns)) for text in texts])
        if e.scores is not None:
            scores.append([e.scores[positive], *(e.scores[len(e.positives) + i] for i in negatives)])
    right: dict[str, set[str]] = {}       # by the query's text: the same question may stand in several rows
    for e in examples:
        right.setdefault(e.query, {e.query}).update(e.positives)
    known = np.zeros((len(examples), len(columns)), bool)
    own = np.zeros_like(known)
    for i, e in enumerate(examples):
        known[i, [columns[text] for text in right[e.query] if text in columns]] = True
        own[i, groups[i]] = True
    return RankedBatch(
        [e.query for e in examples], list(columns), np.array([group[0] for group in groups]), own, known,
        _alike([right[e.query] for e in examples]), np.array(groups) if taught else None,
        np.array(scores) if taught else None,
    )


def _alike(right: Sequence[set[str]]) -> BoolArray:
    """(b, b) whether two rows share a text that is right."""
    having: dict[str, list[int]] = {}
    for i, texts in enumerate(right):
        for text in texts:
            having.setdefault(text, []).append(i)
    alike = np.eye(len(right), dtype=bool)
    for rows in having.values():
        if len(rows) > 1:
            alike[np.ix_(rows, rows)] = True
    return alike


def _labelled(data: DataSet, rows: IntArray, examples: Sequence[Labelled], rng: np.random.Generator) -> RankedBatch:
    """Each text with another of its class for its positive; all of its class are known to be right."""
    assert data.labels is not None
    classes = data.labels[rows]
    columns: dict[str, int] = {}
    column_classes: list[int] = []
    target = np.zeros(len(rows), np.int64)
    for i, (row, label) in enumerate(zip(rows, classes, strict=True)):
        others = np.flatnonzero(data.labels == label)
        partner = data[int(rng.choice(others[others != row]))]
        assert isinstance(partner, Labelled)
        if partner.text not in columns:
            columns[partner.text] = len(columns)
            column_classes.append(int(label))
        target[i] = columns[partner.text]
    known = classes[:, None] == np.array(column_classes)[None]
    known |= np.array([[e.text == text for text in columns] for e in examples])
    own = np.zeros_like(known)
    own[np.arange(len(rows)), target] = True
    return RankedBatch([e.text for e in examples], list(columns), target, own, known, classes[:, None] == classes[None])
