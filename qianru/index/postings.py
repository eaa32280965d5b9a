"""Sparse vectors in memory that come and go, searched exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qianru.index.base import Ranking
from qianru.scores import Postings, best_of
from qianru.types import IntArray, SparseRows

MERGE_BELOW = 4     # a part is merged with the next when less than 4 times as large


@dataclass(slots=True)
class _Part:
    """Postings of documents that came together, and which of them are still there; None for all."""

    postings: Postings
    alive: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.postings) if self.alive is None else int(np.count_nonzero(self.alive))

    @property
    def living(self) -> IntArray:
        return self.postings.ids if self.alive is None else self.postings.ids[self.alive]


class LivePostings:
    """Sparse rows by id: each search is exact over those that are there at that moment.

    What is added waits for the next search, which sorts it into postings; small parts are merged into larger ones, so
    each row is sorted O(log n) times. A deleted row is passed over until its part is merged or most of it is dead.
    Memory: 8 bytes for each weight, 16 for each document and term of a part. One thread at a time.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[IntArray, SparseRows]] = []
        self._waiting_ids: set[int] = set()
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        """How many ids are stored."""
        self._merge()
        return sum(map(len, self._parts))

    @property
    def n_parts(self) -> int:
        """How many parts a search has to go through."""
        return len(self._parts) + bool(self._waiting)

    @property
    def size_bytes(self) -> int:
        """What the postings take, without what is waiting."""
        return sum(part.postings.size_bytes for part in self._parts)

    def add(self, ids: IntArray, rows: SparseRows) -> None:
        """Stores row i under ids[i], replacing what stood there; no id twice. Copies what it keeps."""
        self.delete(ids)
        self._waiting.append((ids.copy(), SparseRows.concat([rows])))
        self._waiting_ids.update(ids.tolist())

    def delete(self, ids: IntArray) -> None:
        """Forgets the ids; unknown ones are passed over."""
        if not self._waiting_ids.isdisjoint(ids.tolist()):
            self._merge()
        for part in self._parts:
            at = np.searchsorted(part.postings.ids, ids)
            at = at[part.postings.ids.take(at, mode="clip") == ids] if len(part.postings) else at[:0]
            if len(at):
                if part.alive is None:
                    part.alive = np.ones(len(part.postings), bool)
                part.alive[at] = False

    def search(self, queries: SparseRows, k: int, among: IntArray | None = None) -> list[Ranking]:
        """The k best for each query, best first, equal scores by ascending id.

        among: ids that may be found, ascending; None for all
        """
        self._merge()
        found: list[list[Ranking]] = []
        for part in self._parts:
            able = part.alive
            if among is not None:
                asked = np.isin(part.postings.ids, among, assume_unique=True)
                able = asked if able is None else able & asked
            found.append([Ranking(*ranked) for ranked in part.postings.top_k(queries, k, able=able)])
        if len(found) == 1:
            return found[0]
        return [_merged(list(of_query), k) for of_query in zip(*found, strict=True)] if found else [
            _merged([], k) for _ in range(len(queries))]

    def _merge(self) -> None:
        if self._waiting:
            ids, rows = (list(each) for each in zip(*self._waiting, strict=True))
            self._parts.append(_Part(Postings(np.concatenate(ids), SparseRows.concat(rows))))
            self._waiting, self._waiting_ids = [], set()
        parts = self._parts
        while len(parts) > 1 and len(parts[-2].postings) < MERGE_BELOW * len(parts[-1].postings):
            pair = [parts.pop(-2), parts.pop()]
            parts.append(_Part(Postings.merged([(part.postings, part.alive) for part in pair])))
        for i, part in enumerate(parts):
            if part.alive is not None and 2 * len(part) < len(part.postings):
                parts[i] = _Part(Postings.merged([(part.postings, part.alive)]))
        self._parts = [part for part in parts if len(part.postings)]


def _merged(found: list[Ranking], k: int) -> Ranking:
    """One ranking of those of several parts."""
    ids = np.concatenate([np.empty(0, np.int64), *(ranking.ids for ranking in found)])
    scores = np.concatenate([np.empty(0, np.float32), *(ranking.scores for ranking in found)])
    return Ranking(*best_of(ids, scores, k))
