"""Which rows belong together: k-means with a chosen or a given number of clusters, or HDBSCAN."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from qianru.errors import require
from qianru.types import FloatArray, IntArray, Progress

NEAR_BEST = 0.9             # of the best silhouette: the fewest clusters that reach it are taken
SAMPLE = 2_000              # rows that a silhouette is taken over
TRIED_ON = 10_000           # rows that numbers of clusters are tried on
MOST_TRIED = 128
STARTS = 5                  # of k-means for the final clusters; the tightest counts
BATCHES_FROM = 100_000      # rows from which on k-means goes by batches
DENSITY_AXES = 16           # distances in more have no density to speak of
DENSITY_ROWS = 20_000       # HDBSCAN compares all with all; further rows go where their nearest neighbour is
NEIGHBOURS_AT_ONCE = 2_000


class Partition(NamedTuple):
    """labels: (n,) from 0, -1 for rows in no cluster;  tried: number of clusters -> mean silhouette, where chosen."""

    labels: IntArray
    tried: Mapping[int, float]


def k_means(rows: FloatArray, k: int | None, seed: int, progress: Progress | None = None) -> Partition:
    """k clusters, or as few as have nearly the best silhouette.

    rows: (n, d) of length 1;  progress: counts the runs of k-means
    Chosen: numbers from 2 to at most 128, each about 1.4 times the one before, are tried on a sample; the fewest
    clusters count whose mean silhouette (Rousseeuw 1987) is at least 90 % of the best; two only if no others have.
    """
    tried: dict[int, float] = {}
    if k is None:
        sample = _some(rows, TRIED_ON, seed)
        numbers = candidates(len(sample))
        for done, number in enumerate(numbers):
            labels = _k_means(number, seed, 1, sample)
            tried[number] = silhouette(sample, labels, seed)
            if progress is not None:
                progress(done + 1, len(numbers) + 1)
        k = fewest_near_best(tried)
    labels = _k_means(k, seed, STARTS, rows)
    if progress is not None:
        progress(len(tried) + 1, len(tried) + 1)
    return Partition(labels.astype(np.int64), tried)


def candidates(n: int) -> list[int]:
    """The numbers of clusters to try for n rows.

    >>> candidates(100), candidates(3)
    ([2, 3, 4, 6, 8, 11, 16, 23, 32, 45], [2])
    """
    most = min(MOST_TRIED, max(2, n // 2))
    return sorted({round(2 ** (half / 2)) for half in range(2, 15)} & set(range(2, most + 1)))


def fewest_near_best(tried: Mapping[int, float]) -> int:
    """The smallest number of clusters above two whose silhouette is near the best; two if there is no other.

    Of texts about many things the silhouette is nearly flat, and high for two halves that mean nothing.

    >>> fewest_near_best({2: 0.05, 4: 0.19, 8: 0.20, 16: 0.12}), fewest_near_best({2: 0.5, 3: 0.3})
    (4, 2)
    """
    best = max(tried.values())
    near = [k for k, value in tried.items() if value >= (best * NEAR_BEST if best > 0 else best)]
    return min((k for k in near if k > 2), default=2)


def silhouette(rows: FloatArray, labels: IntArray, seed: int = 0) -> float:
    """How much nearer rows are to their own cluster than to the next one, from -1 to 1, over a sample."""
    metrics = require("sklearn.metrics", "evaluate", "Choosing the number of clusters")
    sample = _sampled(len(rows), SAMPLE, seed)
    some = labels[sample]
    if not 1 < len(np.unique(some)) < len(some):
        return -1.0
    return float(metrics.silhouette_score(rows[sample], some))


def by_density(rows: FloatArray, min_size: int, seed: int) -> Partition:
    """Clusters of at least that many rows where rows stand close (HDBSCAN); rows between them are in none.

    rows: (n, d) of length 1
    """
    clusters = require("sklearn.cluster", "evaluate", "Clustering")
    chosen = _sampled(len(rows), DENSITY_ROWS, seed)
    sample = rows[chosen]
    size = max(2, round(min_size * len(sample) / len(rows)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)          # of its own default for copy
        found = clusters.HDBSCAN(min_cluster_size=size, min_samples=min(5, size), copy=True).fit_predict(sample)
    labels = np.full(len(rows), -1, np.int64)
    labels[chosen] = found
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    for start in range(0, len(others), NEIGHBOURS_AT_ONCE):
        part = others[start : start + NEIGHBOURS_AT_ONCE]
        labels[part] = found[(rows[part] @ sample.T).argmax(axis=1)]
    return Partition(labels, {})


def _k_means(k: int, seed: int, starts: int, rows: FloatArray) -> IntArray:
    clusters = require("sklearn.cluster", "evaluate", "Clustering")
    if len(rows) >= BATCHES_FROM:
        model = clusters.MiniBatchKMeans(k, batch_size=4096, n_init=starts, random_state=seed)
    else:
        model = clusters.KMeans(k, n_init=starts, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")          # of fewer different rows than clusters: then there are fewer clusters
        labels: IntArray = model.fit_predict(rows)
    return labels


def _some(rows: FloatArray, most: int, seed: int) -> FloatArray:
    some: FloatArray = rows[_sampled(len(rows), most, seed)]
    return some


def _sampled(n: int, most: int, seed: int) -> IntArray:
    """(min(n, most),) row numbers, ascending."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
