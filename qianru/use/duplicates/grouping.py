"""Which texts stand for which: groups of near-duplicates around one that is kept, chosen by a rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from qianru.errors import BadInput, UnknownName
from qianru.types import FloatArray, IntArray, Value
from qianru.use.duplicates.join import Pairs
from qianru.use.duplicates.shingles import Shingled
from qianru.use.moments import moments

Keep = Literal["first", "last", "longest", "largest"]


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """n texts, each kept or a near-duplicate of one that is.

    leaders: (n,) the text that is kept in place of each; itself for those kept
    similarities: (n,) of each text with it, 1 for itself
    """

    leaders: IntArray
    similarities: FloatArray

    @property
    def kept(self) -> IntArray:
        """The texts that are kept, ascending."""
        return np.flatnonzero(self.leaders == np.arange(len(self.leaders)))

    @property
    def groups(self) -> list[list[int]]:
        """The groups of two texts and more, each with the one that is kept first."""
        order = np.argsort(self.leaders, kind="stable")
        leaders = self.leaders[order]
        found = []
        for start, stop in _stretches(leaders):
            if stop - start > 1:
                leader = int(leaders[start])
                found.append([leader, *(row for row in order[start:stop].tolist() if row != leader)])
        return found


def preference(keep: Keep, sizes: IntArray, values: Sequence[Value | None] | None = None) -> IntArray:
    """(n,) the texts in the order in which they are preferred; of those alike in this, the first counts.

    sizes: (n,) how long each text is;  values: (n,) of the field that "largest" goes by: numbers, or dates such as
    2024-05-01; a text without one comes last

    >>> preference("largest", np.array([1, 1, 1]), ["2023-01-02", None, "2024-05-01"]).tolist()
    [2, 0, 1]
    """
    n = len(sizes)
    if keep not in get_args(Keep):
        raise UnknownName("rule for what to keep", keep, get_args(Keep))
    if (keep == "largest") != (values is not None):
        raise BadInput("Keeping the largest needs a field to go by, and only that does. Name one, or choose another "
                       "rule.")
    if keep == "first":
        return np.arange(n)
    if keep == "last":
        return np.arange(n)[::-1]
    if keep == "longest":
        return np.argsort(-sizes, kind="stable")
    assert values is not None
    rows = [row for row, value in enumerate(values) if value is not None]
    known = moments([values[row] for row in rows], lambda i: f"the field of text {rows[i] + 1}")
    place = {value: i for i, value in enumerate(sorted(set(known)), 1)}
    order = np.zeros(n, np.int64)
    order[rows] = [-place[value] for value in known]
    return np.argsort(order, kind="stable")


def alike_as_a_whole(sets: Shingled) -> IntArray:
    """(n,) the first text that is the same when case, width, script and punctuation are folded away."""
    _, first, inverse = np.unique(sets.wholes, return_index=True, return_inverse=True)
    same = first[inverse]
    return np.where(sets.sizes > 0, same, np.arange(len(sets)))      # texts without a letter are no duplicates


def grouped(pairs: Pairs, same: IntArray, preferred: IntArray) -> Duplicates:
    """The most preferred text is kept and takes all that are like it, then the next that is left, and so on.

    same: (n,) as alike_as_a_whole gives them, to whose values the pairs belong;  preferred: (n,) the texts, best first
    So nothing is dropped that is not itself alike to what is kept: groups do not grow in chains.
    """
    n = len(same)
    rank = np.empty(n, np.int64)
    rank[preferred] = np.arange(n)
    best = np.full(n, n, np.int64)                     # of each class of equal texts the rank of the most preferred
    np.minimum.at(best, same, rank)
    left, right = np.asarray(pairs.left), np.asarray(pairs.right)
    ends = np.concatenate([left, right])
    order = np.lexsort((best[np.concatenate([right, left])], best[ends]))
    others = np.concatenate([right, left])[order]
    similar = np.concatenate([pairs.similarities, pairs.similarities])[order]
    ends = ends[order]
    leader, similarity = np.arange(n), np.ones(n)
    taken = np.zeros(n, bool)
    for start, stop in _stretches(ends):
        if taken[ends[start]]:
            continue
        for other, value in zip(others[start:stop].tolist(), similar[start:stop].tolist(), strict=True):
            if not taken[other] and best[other] > best[ends[start]]:
                taken[other], leader[other], similarity[other] = True, ends[start], value
    leaders = preferred[best[leader[same]]]            # from classes to texts
    return Duplicates(leaders, np.where(leaders == np.arange(n), 1.0, similarity[same]))


def _stretches(values: IntArray) -> Iterator[tuple[int, int]]:
    """Where runs of equal values begin and end."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    edges = np.concatenate([[0], edges, [len(values)]]) if len(values) else np.zeros(1, np.int64)
    return zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
