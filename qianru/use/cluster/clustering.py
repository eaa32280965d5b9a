"""The clusters of texts, told by words and central texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.models.base import as_texts
from qianru.types import FloatArray, IntArray, Progress
from qianru.use.cluster.partition import DENSITY_AXES, Partition, by_density, k_means
from qianru.use.cluster.space import Views, main_axes, rows_of
from qianru.use.cluster.words import distinguishing_words

Method = Literal["kmeans", "hdbscan"]
N_CENTRAL = 3
SHOWN_WORDS = 4
ROUNDING = 1e-4             # of numbers of unit rows


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """n texts in k clusters, the largest first.

    labels: (n,) the cluster of each text, from 0; -1 for texts in none
    sizes: (k,) how many texts each cluster has
    words: for each cluster the words that tell it from the others, best first
    central: for each cluster the rows of its most central texts, best first
    closeness: (n,) cosine of each text with the centre of its cluster; nan for texts in none
    criterion: how k came about;  tried: number of clusters -> mean silhouette, where k was chosen
    points: (n, 2) where to draw each text
    """

    labels: IntArray
    sizes: IntArray
    words: Sequence[Sequence[str]]
    central: Sequence[Sequence[int]]
    closeness: FloatArray
    criterion: str
    points: FloatArray
    tried: Mapping[int, float] = field(default_factory=dict)

    @property
    def k(self) -> int:
        """How many clusters there are."""
        return len(self.sizes)

    @property
    def names(self) -> list[str]:
        """A name for each cluster: its best words."""
        return [" · ".join(words[:SHOWN_WORDS]) or f"{i + 1}" for i, words in enumerate(self.words)]


def cluster(
    vectors: Views,
    texts: Sequence[str],
    *,
    method: Method = "kmeans",
    k: int | None = None,
    min_size: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Clustering:
    """The texts in clusters of similar vectors.

    vectors: (n, d) array or n sparse rows, or a tuple of such views;  texts: n, for the clusters' words
    k: how many clusters k-means makes; by default the fewest whose mean silhouette is near the best of those tried
    min_size: texts of the smallest cluster that HDBSCAN finds; by default 1 % of the texts, at least 5
    progress: counts steps
    Texts whose vector is zero (empty ones) are in no cluster, and with HDBSCAN those that stand alone.
    The same seed gives the same clusters. Raises BadInput for vectors that are not finite, fewer texts than clusters
    or options that the method does not have, ShapeMismatch where vectors and texts are not as many.
    """
    texts = as_texts(texts)
    _check(vectors, texts, method, k, min_size)
    space = _without_rounding(main_axes(vectors, seed=seed), texts)
    some = np.flatnonzero(np.abs(space).max(axis=1, initial=0) > 0)
    if len(some) < (k or 2):
        raise BadInput(f"{k or 2} clusters need as many texts with a vector that is not zero; there are {len(some)}. "
                       "Ask for fewer clusters, or take another model.")
    rows = space[some]
    if method == "kmeans":
        found = k_means(rows, k, seed, progress)
        criterion = "all texts are the same" if k != 1 and not found.labels.any() else \
            "given" if k is not None else \
            "the fewest clusters above two whose mean silhouette is at least 90 % of the best"
    else:
        size = min_size or max(5, round(len(some) / 100))
        # not centred: about the mean, whatever stands alone is nearer to every group than they are to one another
        found = by_density(main_axes(rows_of(vectors, some), DENSITY_AXES, seed, centred=False), size, seed)
        criterion = f"dense groups of at least {size} texts"
    labels = np.full(len(texts), -1, np.int64)
    labels[some] = _by_size(found)
    return _described(vectors, space, texts, labels, criterion, found.tried)


def _without_rounding(space: FloatArray, texts: Sequence[str]) -> FloatArray:
    """The rows, equal ones for equal texts that rounding alone tells apart: k-means would part them by it."""
    first: dict[str, int] = {}
    same = space[[first.setdefault(text, row) for row, text in enumerate(texts)]]
    rows: FloatArray = np.where(np.abs(space - same).max(axis=1, keepdims=True) < ROUNDING, same, space)
    return rows


def _described(
    vectors: Views, space: FloatArray, texts: Sequence[str], labels: IntArray, criterion: str,
    tried: Mapping[int, float],
) -> Clustering:
    sizes = np.bincount(labels[labels >= 0])
    k = len(sizes)
    centres = np.zeros((k, space.shape[1]))
    np.add.at(centres, labels[labels >= 0], space[labels >= 0])
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    closeness = np.full(len(texts), np.nan)
    closeness[labels >= 0] = np.einsum("nd,nd->n", space[labels >= 0], centres[labels[labels >= 0]])
    order = np.lexsort((np.arange(len(texts)), -closeness, labels))
    ends = np.searchsorted(labels[order], np.arange(k + 1))
    central = [_different(texts, order[ends[c] : ends[c + 1]]) for c in range(k)]
    return Clustering(labels, sizes, distinguishing_words(texts, labels, k), central, closeness, criterion,
                      map_points(space, labels, centres), tried)


def map_points(space: FloatArray, labels: IntArray, centres: FloatArray) -> FloatArray:
    """(n, 2) where to draw each text: on the two directions in which the clusters' centres differ most."""
    weights = np.bincount(labels[labels >= 0], minlength=len(centres)).astype(np.float64)
    middle = np.average(centres, axis=0, weights=weights) if len(centres) > 2 else space.mean(axis=0)
    spread = (centres - middle) * np.sqrt(weights)[:, None] if len(centres) > 2 else space - middle
    _, directions = np.linalg.eigh(spread.T @ spread)
    best = directions[:, ::-1][:, :2]
    best = best * np.where(best[np.abs(best).argmax(axis=0), np.arange(best.shape[1])] < 0, -1, 1)
    points = np.zeros((len(space), 2))
    points[:, : best.shape[1]] = (space - middle) @ best
    return points


def _by_size(found: Partition) -> IntArray:
    """The labels renumbered: the largest cluster is 0, of equally large ones that of the first text."""
    names, first, inverse, sizes = np.unique(found.labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    order = order[names[order] >= 0]
    number = np.full(len(names), -1, np.int64)
    number[order] = np.arange(len(order))
    return number[inverse]


def _different(texts: Sequence[str], rows: IntArray) -> list[int]:
    """The first rows whose texts are not the same."""
    seen: dict[str, int] = {}
    for row in rows.tolist():
        seen.setdefault(texts[row].strip(), row)
        if len(seen) == N_CENTRAL:
            break
    return list(seen.values())


def _check(vectors: Views, texts: Sequence[str], method: str, k: int | None, min_size: int | None) -> None:
    if method not in get_args(Method):
        raise UnknownName("method", method, get_args(Method))
    for view in vectors if isinstance(vectors, tuple) else (vectors,):
        if len(view) != len(texts):
            raise ShapeMismatch(f"{len(view)} vectors do not fit {len(texts)} texts one to one.")
    if k is not None and (type(k) is not int or k < 1):
        raise BadInput(f"The number of clusters is a whole number of at least 1, not {k!r}.")
    if k is not None and k > len(texts):
        raise BadInput(f"{len(texts)} texts cannot make {k} clusters. Ask for fewer clusters, or give more texts.")
    if min_size is not None and (type(min_size) is not int or min_size < 2):
        raise BadInput(f"The smallest cluster has a whole number of at least 2 texts, not {min_size!r}.")
    if method == "hdbscan" and k is not None:
        raise BadInput("HDBSCAN finds how many clusters there are itself. Leave the number out, or take k-means.")
    if method == "kmeans" and min_size is not None:
        raise BadInput("k-means has no smallest size. Leave it out, or take HDBSCAN.")
    if len(texts) < 2:
        raise BadInput(f"Clusters need at least 2 texts; there are {len(texts)}.")
