"""A collection as a map: every document a point, clusters with their words; and the desk where maps are kept."""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np

from qianru.errors import BadInput, CollectionError, RequestRefused
from qianru.index.collection import Collection
from qianru.types import FloatArray, IntArray, Progress
from qianru.use.cluster import cluster
from qianru.use.cluster.space import main_axes
from qianru.use.layout import layout
from qianru.use.material import from_collection

LIMIT = 50_000
TITLE = 60              # letters of a document that name it
MOST_CLUSTERS = 24
WORDS = 6
CELLS = 24              # a side, of the grid in which a cluster's densest place is looked for
READ, PLACED, GROUPED = 5, 75, 20       # parts of the work, in percent: measured at 50,000 documents
FRESH_S = 30.0          # how long a map is shown before a change of its collection makes it be drawn anew
AGAIN_S = 30.0          # after which asking for one map too many may help
FRESH_ON_A_SERVER_S = 600.0         # the same where nobody counts changes


@dataclass(frozen=True, slots=True)
class Label:
    """A cluster on the map: its number, its words, where they should stand, how many documents it has."""

    cluster: int
    words: Sequence[str]
    x: float
    y: float
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """n documents on a plane.

    points: (n, 2) float32, nearly all within -1 and 1;  clusters: (n,) int16, -1 for documents in none
    titles: how each text begins;  labels: of the clusters, the largest first
    n_documents: of the collection; more than n where a sample was drawn
    """

    points: FloatArray
    clusters: IntArray
    ids: Sequence[str]
    titles: Sequence[str]
    labels: Sequence[Label]
    n_documents: int

    def to_dict(self) -> dict[str, Any]:
        """The same in plain values for JSON: points as base64 of little-endian float32, clusters of int16."""
        return {
            "points": base64.b64encode(self.points.astype("<f4").tobytes()).decode(),
            "clusters": base64.b64encode(self.clusters.astype("<i2").tobytes()).decode(),
            "ids": list(self.ids),
            "titles": list(self.titles),
            "labels": [{"cluster": one.cluster, "words": list(one.words), "x": round(one.x, 5), "y": round(one.y, 5),
                        "size": one.size} for one in self.labels],
            "n_documents": self.n_documents,
        }


def map_of(
    collection: Collection, limit: int = LIMIT, seed: int = 0, progress: Progress | None = None
) -> Map:
    """The map of a collection by the vectors that it stores, dense ones where there are some.

    limit: of more documents so many are drawn at random;  progress: counts percent
    The same documents and seed give the same map on the same machine. Raises BadInput for a collection that is empty or
    stores token vectors alone, MissingExtra without scikit-learn.
    """
    if type(limit) is not int or limit < 1:
        raise BadInput(f"A map shows a whole number of documents, at least 1, not {limit!r}.")

    def tell(part: int, of: int, done: int, total: int | None) -> None:
        if progress is not None and total:
            progress(part + of * min(done, total) // total, 100)

    n_documents = collection.count()
    material = from_collection(collection, most=limit, seed=seed,
                               progress=lambda done, total: tell(0, READ, done, total))
    ids, texts, vectors = material.ids, material.texts, material.vectors
    space = main_axes(vectors, seed=seed)
    there = np.flatnonzero(np.abs(space).max(axis=1, initial=0) > 0)        # an empty text has no place
    points = np.zeros((len(space), 2), np.float32)
    points[there] = layout(space[there], seed=seed, progress=lambda done, total: tell(READ, PLACED, done, total))
    if len(there) < len(space):
        points[np.setdiff1d(np.arange(len(space)), there)] = points.min(axis=0) - 0.05
    k = n_clusters(len(there))
    clusters, words = np.full(len(space), -1, np.int16), []
    if k > 1:
        found = cluster(vectors, texts, k=k, seed=seed,
                        progress=lambda done, total: tell(READ + PLACED, GROUPED, done, total))
        clusters, words = found.labels.astype(np.int16), [list(some[:WORDS]) for some in found.words]
    labels = [Label(c, some, *_densest(points[clusters == c]), int((clusters == c).sum()))
              for c, some in enumerate(words)]
    if progress is not None:
        progress(100, 100)
    return Map(points, clusters, list(ids), [title(text) for text in texts], labels, n_documents)


def n_clusters(n: int) -> int:
    """How many clusters a map of n documents tells apart: as many as colours and words on it can be.

    >>> [n_clusters(n) for n in (1, 10, 100, 1_000, 50_000)]
    [1, 1, 3, 10, 24]
    """
    return int(np.clip(round(float(np.sqrt(n)) / 3.2), 1, MOST_CLUSTERS))


def title(text: str) -> str:
    """How a text begins, on one line.

    >>> title("静夜思\\n  床前明月光")
    '静夜思 床前明月光'
    """
    line = " ".join(text[: 4 * TITLE].split())
    return line if len(line) <= TITLE else line[: TITLE - 1] + "…"


def _densest(points: FloatArray) -> tuple[float, float]:
    """The middle of where most of the points are: the mean of a cluster in two parts would lie between them."""
    low, high = points.min(axis=0), points.max(axis=0)
    cells = np.minimum(((points - low) / np.maximum(high - low, 1e-9) * CELLS).astype(np.int64), CELLS - 1)
    counts = np.zeros((CELLS + 2, CELLS + 2))
    np.add.at(counts, (cells[:, 0] + 1, cells[:, 1] + 1), 1)
    around = sum(counts[1 + dx : CELLS + 1 + dx, 1 + dy : CELLS + 1 + dy] for dx in (-1, 0, 1) for dy in (-1, 0, 1))
    best = np.array(np.unravel_index(np.argmax(around), (CELLS, CELLS)))
    x, y = points[np.abs(cells - best).max(axis=1) <= 1].mean(axis=0).tolist()
    return x, y


@dataclass(frozen=True, slots=True)
class Working:
    """A map that is being drawn; progress from 0 to 1."""

    progress: float
    state: Literal["working"] = "working"


@dataclass(slots=True, eq=False)
class _Kept:
    map: Map | None = None
    sequence: int | None = None         # of the collection when drawing began
    drawn_at: float = 0.0
    work: Future[Map] | None = None
    percent: int = 0
    given_up: bool = False


class Maps:
    """Maps of collections, drawn in the background one at a time, and kept.

    A map that is there is given at once. Where its collection has changed since, it is drawn anew behind it, at most
    every fresh_s seconds, so that one that is written to all the time has a map too.
    """

    def __init__(self, n_kept: int = 8, fresh_s: float = FRESH_S, most_waiting: int = 16) -> None:
        self._n_kept, self._fresh_s, self._most_waiting = n_kept, fresh_s, most_waiting
        self._kept: OrderedDict[tuple[str, int, int], _Kept] = OrderedDict()
        self._lock = Lock()
        self._drawer = ThreadPoolExecutor(1, "qianru-map")

    def ask(self, name: str, collection: Collection, limit: int = LIMIT, seed: int = 0) -> Map | Working:
        """The map, or how far it has come; raises what has stopped the drawing, once, and then tries again.

        name: of the collection, the same at every call
        Raises RequestRefused where most_waiting others are to be drawn.
        """
        sequence = collection.sequence
        with self._lock:
            key = (name, limit, seed)
            if key not in self._kept and sum(kept.work is not None for kept in self._kept.values()) >= \
                    self._most_waiting:
                raise RequestRefused(f"{self._most_waiting} maps are to be drawn already. Ask again in a while.", 429,
                                     AGAIN_S)
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            if kept.work is not None and kept.work.done():
                work, kept.work = kept.work, None
                kept.map, kept.drawn_at = work.result(), time.monotonic()
            age_s = time.monotonic() - kept.drawn_at
            stale = age_s > FRESH_ON_A_SERVER_S if sequence is None else \
                kept.sequence != sequence and age_s > self._fresh_s
            if kept.work is None and (kept.map is None or stale):
                kept.sequence, kept.percent = sequence, 0
                kept.work = self._drawer.submit(self._draw, kept, collection, limit, seed)
            self._forget_some()
            return kept.map if kept.map is not None else Working(kept.percent / 100)

    def forget(self, name: str) -> None:
        """Gives up the maps of a collection that is gone."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == name]:
                self._kept.pop(key).given_up = True

    def close(self) -> None:
        """Draws no more; a map that is being drawn is given up at its next step."""
        with self._lock:
            for kept in self._kept.values():
                kept.given_up = True
            self._kept.clear()
        self._drawer.shutdown(wait=False, cancel_futures=True)

    def _draw(self, kept: _Kept, collection: Collection, limit: int, seed: int) -> Map:
        def tell(done: int, total: int | None) -> None:
            kept.percent = done
            if kept.given_up:
                raise CollectionError(f"The map of {collection.path} was given up. Ask for it again.")

        return map_of(collection, limit, seed, tell)

    def _forget_some(self) -> None:
        idle = [key for key, kept in self._kept.items() if kept.work is None]
        for key in idle[: max(0, len(self._kept) - self._n_kept)]:
            del self._kept[key]
