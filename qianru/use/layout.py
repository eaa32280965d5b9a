"""A flat picture of many vectors: what is alike lies together, and the large shape holds too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from qianru.types import FloatArray, IntArray, Progress

N_NEAR, N_MIDDLE, N_FAR = 10, 5, 20         # pairs of each point, all below from Wang et al. 2021, section 5
DRAWN_FOR_MIDDLE = 6                        # of so many drawn the second nearest is a middle neighbour
CANDIDATES = 30                             # nearest by similarity, of which N_NEAR are near by their own scale
WHOLE = 6_000                               # rows up to which all are compared with all
ROUNDS = 4                                  # of k-means beyond that, and
PROBED = 16                                 # cells of it that are looked into
STEPS = (100, 200, 450)                     # ends of the three phases
RATE, BETA_1, BETA_2, TINY = 1.0, 0.9, 0.999, 1e-7      # of Adam
NEAR_SCALE, MIDDLE_SCALE = 10.0, 10_000.0
START = 0.01                                # size of the first picture, the two main axes
ROWS_AT_ONCE = 2_000
FEWEST = 8                                  # below that the main axes are the picture

Tell: TypeAlias = Callable[[float], None]


def layout(rows: FloatArray, *, seed: int = 0, progress: Progress | None = None) -> FloatArray:
    """(n, 2) float32 places of n points, in the middle of the picture and of a spread of about 1.

    rows: (n, d) of length 1, on a few main axes (see qianru.use.cluster.space)
    progress: counts steps
    PaCMAP: pulled together are pairs of near and, at first, of middle neighbours, pushed apart are pairs drawn at
    random; all pairs in every step, so that the seed decides everything. The same machine gives the same picture.
    Source: Wang, Huang, Rudin and Shaposhnik, "Understanding how dimension reduction tools work", JMLR 2021.
    """
    n = len(rows)
    first = main_plane(rows)
    if n < FEWEST:
        return _framed(first)
    generator = np.random.default_rng(seed)
    total = STEPS[-1] + STEPS[-1] // 3              # finding neighbours takes about a quarter of the time

    def tell(steps: float) -> None:
        if progress is not None:
            progress(int(steps), total)

    near = near_neighbours(rows, generator, lambda share: tell(share * (total - STEPS[-1])))
    middle = _middle_neighbours(rows, generator)
    far = generator.integers(0, n - 1, (n, min(N_FAR, n - 1)))
    far = far + (far >= np.arange(n)[:, None])             # anyone but itself; that a few are near does no harm
    places = first * (START / max(float(first.std()), 1e-12))
    return _framed(_descend(places.astype(np.float32), near, middle, far, lambda step: tell(total - STEPS[-1] + step)))


def main_plane(rows: FloatArray) -> FloatArray:
    """(n, 2) the rows on their first two principal components; of each axis the largest part is positive."""
    centred = rows - rows.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    best = axes[:, ::-1][:, :2]
    best = best * np.where(best[np.abs(best).argmax(axis=0), np.arange(best.shape[1])] < 0, -1, 1)
    made = np.zeros((len(rows), 2))
    made[:, : best.shape[1]] = centred @ best
    return made


def near_neighbours(rows: FloatArray, generator: np.random.Generator, tell: Tell | None = None) -> IntArray:
    """(n, k) the neighbours of each row, nearest first by distance over how far both have their neighbours.

    The scale lets points of thin regions be near neighbours too (Zelnik-Manor and Perona 2004, as PaCMAP takes it).
    Of many rows only those in the nearest cells are looked at, which misses some of the nearest: good enough to draw.
    """
    n = len(rows)
    found, likeness = _nearest(rows, min(CANDIDATES, n - 1), generator, tell)
    distances = np.sqrt(np.maximum(2 - 2 * likeness, 0))
    scale = np.maximum(distances[:, 3:6].mean(axis=1), 1e-6)        # of the 4th to 6th neighbour
    scaled = distances**2 / (scale[:, None] * scale[found])
    order = np.argsort(scaled, axis=1, kind="stable")[:, :N_NEAR]
    return np.take_along_axis(found, order, 1)


def _nearest(
    rows: FloatArray, k: int, generator: np.random.Generator, tell: Tell | None
) -> tuple[IntArray, FloatArray]:
    """((n, k), (n, k)) the likest other rows and how like they are, likest first."""
    n = len(rows)
    cells, near = _cells(rows, generator)
    members = [np.flatnonzero(cells == c) for c in range(len(near))]
    found = np.empty((n, k), np.int64)
    likeness = np.empty((n, k), np.float32)
    done = 0
    for c, mine in enumerate(members):
        choice = np.sort(np.concatenate([members[other] for other in near[c]]))
        if len(choice) <= k:                        # cells of a few alike texts, far from all others
            choice = np.arange(n)
        for start in range(0, len(mine), ROWS_AT_ONCE):
            part = mine[start : start + ROWS_AT_ONCE]
            alike = rows[part] @ rows[choice].T
            alike[np.arange(len(part)), np.searchsorted(choice, part)] = -np.inf         # not itself
            best = np.argpartition(-alike, k - 1, axis=1)[:, :k]
            values = np.take_along_axis(alike, best, 1)
            order = np.lexsort((best, -values), axis=1)
            found[part] = choice[np.take_along_axis(best, order, 1)]
            likeness[part] = np.take_along_axis(values, order, 1)
            done += len(part)
            if tell is not None:
                tell(done / n)
    return found, likeness


def _cells(rows: FloatArray, generator: np.random.Generator) -> tuple[IntArray, IntArray]:
    """(n,) the cell of each row, and for each cell the nearest ones, itself first: a few rounds of k-means."""
    n = len(rows)
    if n <= WHOLE:
        return np.zeros(n, np.int64), np.zeros((1, 1), np.int64)
    centres = rows[np.sort(generator.choice(n, int(np.sqrt(n)), replace=False))]
    for _ in range(ROUNDS):
        cells = np.concatenate([(rows[start : start + ROWS_AT_ONCE] @ centres.T).argmax(axis=1)
                                for start in range(0, n, ROWS_AT_ONCE)])
        sums = np.zeros_like(centres)
        np.add.at(sums, cells, rows)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
    return cells, np.argsort(-(centres @ centres.T), axis=1, kind="stable")[:, :PROBED]


def _middle_neighbours(rows: FloatArray, generator: np.random.Generator) -> IntArray:
    """(n, N_MIDDLE) of six drawn at random the second nearest, so many times."""
    n = len(rows)
    made = np.empty((n, N_MIDDLE), np.int64)
    for column in range(N_MIDDLE):
        drawn = generator.integers(0, n, (n, DRAWN_FOR_MIDDLE))
        for start in range(0, n, ROWS_AT_ONCE):
            part = drawn[start : start + ROWS_AT_ONCE]
            likeness = np.einsum("nd,nkd->nk", rows[start : start + len(part)], rows[part])
            second = np.argsort(-likeness, axis=1, kind="stable")[:, 1]
            made[start : start + len(part), column] = part[np.arange(len(part)), second]
    return made


def _descend(places: FloatArray, near: IntArray, middle: IntArray, far: IntArray, tell: Tell) -> FloatArray:
    """The places after Adam's steps over all pairs."""
    first, second = np.zeros_like(places), np.zeros_like(places)
    for step in range(STEPS[-1]):
        if step < STEPS[0]:
            weights = (2.0, 1000 + (3 - 1000) * step / STEPS[0], 1.0)
        else:
            weights = (3.0, 3.0, 1.0) if step < STEPS[1] else (1.0, 0.0, 1.0)
        gradient = _pull(places, near, weights[0], NEAR_SCALE) + _push(places, far, weights[2])
        if weights[1]:
            gradient += _pull(places, middle, weights[1], MIDDLE_SCALE)
        first += (1 - BETA_1) * (gradient - first)
        second += (1 - BETA_2) * (gradient * gradient - second)
        rate = RATE * np.sqrt(1 - BETA_2 ** (step + 1)) / (1 - BETA_1 ** (step + 1))
        places -= (rate * first / (np.sqrt(second) + TINY)).astype(np.float32)
        tell(step + 1)
    return places


def _pull(places: FloatArray, others: IntArray, weight: float, scale: float) -> FloatArray:
    """The gradient of weight * d / (scale + d), d being 1 + the squared distance of a pair."""
    apart = places[:, None, :] - places[others]                                 # (n, k, 2)
    d = 1 + np.einsum("nkx,nkx->nk", apart, apart)
    return _both_ways(apart, (2 * weight * scale) / (scale + d) ** 2, others)


def _push(places: FloatArray, others: IntArray, weight: float) -> FloatArray:
    """The gradient of weight / (1 + d)."""
    apart = places[:, None, :] - places[others]
    d = 1 + np.einsum("nkx,nkx->nk", apart, apart)
    return _both_ways(apart, (-2 * weight) / (1 + d) ** 2, others)


def _both_ways(apart: FloatArray, factors: FloatArray, others: IntArray) -> FloatArray:
    """(n, 2) what each pair's force does to its first point, less what that does to its second."""
    forces = apart * factors[:, :, None]
    total: FloatArray = forces.sum(axis=1)
    flat = others.ravel()
    for axis in (0, 1):
        total[:, axis] -= np.bincount(flat, forces[:, :, axis].ravel(), minlength=len(apart))
    return total


def _framed(places: FloatArray) -> FloatArray:
    """The places around 0, nearly all within -1 and 1."""
    middle = np.median(places, axis=0)
    reach = float(np.quantile(np.abs(places - middle), 0.99)) if len(places) else 1.0
    framed: FloatArray = ((places - middle) / (reach or 1.0)).astype(np.float32)
    return framed
