"""What a model makes of a task's texts, for people to look at: a map, neighbours, and how alike the right pairs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qianru.errors import BadInput
from qianru.evaluate.data import Clusters, Data, Labelled, Pairs
from qianru.evaluate.encode import Encoder
from qianru.evaluate.search import unit
from qianru.types import FloatArray, IntArray

MAX_TEXTS = 5_000
MAX_PAIRS = 20_000
N_NEIGHBOURS = 8
ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """n texts of a task as one model sees them.

    labels: (n,) of each text; of a search "query" or "document"
    points: (n, 2) first two principal components;  explained: (2,) their shares of the variance
    neighbours: (n, k) the most similar other texts, best first;  similarities: (n, k) their cosines
    together, apart: cosines of pairs that belong together, and of pairs that do not
    """

    task: str
    model: str
    texts: Sequence[str]
    labels: Sequence[str]
    points: FloatArray
    explained: FloatArray
    neighbours: IntArray
    similarities: FloatArray
    together: FloatArray
    apart: FloatArray


def survey(encoder: Encoder, task: str, data: Data, *, max_texts: int = MAX_TEXTS, seed: int = 0) -> Atlas:
    """The atlas of a task's texts, of a sample where they are many; dense vectors alone make a map.

    Raises BadInput for a model without dense vectors.
    """
    if "dense" not in encoder.kinds:
        raise BadInput(f"{encoder.model.spec.name} makes no dense vectors, of which a map is made. Take another model.")
    generator = np.random.default_rng(seed)
    if isinstance(data, Labelled | Clusters):
        texts, labels = _labelled(data, max_texts, generator)
        vectors = _vectors(encoder, texts, "document")
        left, right, same = _label_pairs(labels, generator)
    elif isinstance(data, Pairs):
        rows = _some(len(data.left), max_texts // 2, generator)
        texts = [side[i] for side in (data.left, data.right) for i in rows]
        labels = ["left"] * len(rows) + ["right"] * len(rows)
        vectors = _vectors(encoder, texts, "document")
        left, right, same = _gold_pairs(data, rows, generator)
    else:
        asked = list(data.queries)
        asked = [asked[i] for i in _some(len(asked), max_texts // 3, generator)]
        wanted = {name for query in asked for name in data.qrels[query]}
        found: dict[str, str] = {}
        spare = max_texts - len(asked)
        for name, text in data.corpus():              # what is judged, and the first others
            if name in wanted or len(found) + len(wanted) < spare:
                found[name] = text
        documents = list(found)[: max(spare, len(wanted))]
        texts = [*(data.queries[name] for name in asked), *(found[name] for name in documents)]
        labels = ["query"] * len(asked) + ["document"] * len(documents)
        vectors = np.concatenate([_vectors(encoder, texts[: len(asked)], "query"),
                                  _vectors(encoder, texts[len(asked) :], "document")])
        place = {name: i for i, name in enumerate(documents, len(asked))}
        good = [(i, place[name]) for i, query in enumerate(asked) for name, grade in data.qrels[query].items()
                if grade > 0 and name in place]
        left, right, same = _search_pairs(good, len(asked), len(texts), generator)
    points, explained = principal(vectors)
    neighbours, similarities = nearest(vectors, min(N_NEIGHBOURS, len(texts) - 1))
    cosines = np.einsum("nd,nd->n", vectors[left], vectors[right])
    return Atlas(task, encoder.model.spec.name, texts, labels, points, explained, neighbours, similarities,
                 cosines[same], cosines[~same])


def principal(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n, 2) coordinates along the two directions of most variance, and the share of the variance of each."""
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)      # ascending; d x d, whatever n
    best = directions[:, ::-1][:, :2]
    best = best * np.where(best[np.abs(best).argmax(axis=0), np.arange(best.shape[1])] < 0, -1, 1)
    points = np.zeros((len(vectors), 2))
    points[:, : best.shape[1]] = centred @ best
    explained = np.zeros(2)
    explained[: best.shape[1]] = np.maximum(values[::-1][:2], 0) / max(values.sum(), 1e-30)
    return points, explained


def _vectors(encoder: Encoder, texts: Sequence[str], role: str) -> FloatArray:
    dense = encoder.encode(texts, role, ["dense"]).dense      # type: ignore[arg-type]   # a Role
    assert dense is not None
    return unit(dense)


def _labelled(data: Labelled | Clusters, most: int, generator: np.random.Generator) -> tuple[list[str], list[str]]:
    sets = [(data.texts, data.labels)] if isinstance(data, Labelled) else data.sets
    texts = [text for some, _ in sets for text in some]
    labels = [str(label) for _, some in sets for label in some]
    rows = _some(len(texts), most, generator)
    return [texts[i] for i in rows], [labels[i] for i in rows]


def _some(n: int, most: int, generator: np.random.Generator) -> list[int]:
    chosen: list[int] = sorted(generator.choice(n, most, replace=False).tolist()) if n > most else list(range(n))
    return chosen


def _label_pairs(labels: Sequence[str], generator: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
    """Pairs of texts drawn at random, as many of one label as of two."""
    numbers = np.unique(np.array(labels), return_inverse=True)[1]
    order = np.argsort(numbers, kind="stable")
    sizes = np.bincount(numbers)
    starts = np.cumsum(sizes) - sizes
    n = min(MAX_PAIRS, 20 * len(labels))
    left = generator.integers(0, len(labels), 2 * n)
    of_label = numbers[left[:n]]
    right = generator.integers(0, len(labels), 2 * n)
    right[:n] = order[starts[of_label] + generator.integers(0, sizes[of_label])]
    keep = left != right
    return left[keep], right[keep], (numbers[left] == numbers[right])[keep]


def _gold_pairs(
    data: Pairs, rows: Sequence[int], generator: np.random.Generator
) -> tuple[IntArray, IntArray, IntArray]:
    """Pairs in the upper third of gold belong together, those in the lower third do not; without gold, all do."""
    at = np.arange(len(rows))
    if data.gold is None:
        other = generator.permutation(len(rows))
        left = np.concatenate([at, at])
        right = np.concatenate([at, other]) + len(rows)
        return left, right, np.concatenate([at, other]) == left
    gold = np.array([data.gold[i] for i in rows])
    alike = alike_by_gold(gold)
    known = alike >= 0
    return at[known], at[known] + len(rows), alike[known] == 1


def alike_by_gold(gold: FloatArray) -> IntArray:
    """(n,) 1 in the upper third of gold's span, 0 in the lower, -1 between: neither can be said.

    >>> alike_by_gold(np.array([0.0, 1.0, 1.0])).tolist(), alike_by_gold(np.array([0.0, 2.5, 5.0])).tolist()
    ([0, 1, 1], [0, -1, 1])
    """
    low, high = gold.min(initial=0), gold.max(initial=1)
    third = (high - low) / 3
    return np.where(gold >= high - third, 1, np.where(gold <= low + third, 0, -1))


def _search_pairs(
    good: Sequence[tuple[int, int]], n_queries: int, n_texts: int, generator: np.random.Generator
) -> tuple[IntArray, IntArray, IntArray]:
    """Queries with their documents, and as many with documents at random."""
    pairs = np.array(good[:MAX_PAIRS], np.int64).reshape(-1, 2)
    n = max(1_000, len(pairs))
    if n_texts == n_queries or not n_queries:
        return pairs[:, 0], pairs[:, 1], np.ones(len(pairs), np.bool_)
    left = generator.integers(0, n_queries, n)
    right = generator.integers(n_queries, n_texts, n)
    known = set(good)
    free = np.array([pair not in known for pair in zip(left.tolist(), right.tolist(), strict=True)], np.bool_)
    same = np.concatenate([np.ones(len(pairs), np.bool_), np.zeros(int(free.sum()), np.bool_)])
    return np.concatenate([pairs[:, 0], left[free]]), np.concatenate([pairs[:, 1], right[free]]), same


def nearest(vectors: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """The k nearest other rows of each, by cosine, best first."""
    ids = np.zeros((len(vectors), max(k, 0)), np.int64)
    cosines = np.zeros(ids.shape)
    if k < 1:
        return ids, cosines
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        products = vectors[start : start + ROWS_AT_ONCE] @ vectors.T
        rows = np.arange(len(products))
        products[rows, rows + start] = -np.inf
        best = np.argpartition(-products, k - 1, axis=1)[:, :k] if k < len(vectors) - 1 else \
            np.argsort(-products, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(products, best, 1), axis=1, kind="stable")
        ids[start : start + len(products)] = np.take_along_axis(best, order, 1)
        cosines[start : start + len(products)] = np.take_along_axis(products, ids[start : start + len(products)], 1)
    return ids, cosines
