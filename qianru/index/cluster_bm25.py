"""BM25 on a server that many write to: whatever is counted over all documents, the server is asked for.

No client keeps a number that another could make wrong. Each point's payload holds its words ("terms"), how often each
stands there ("counts"), its length and the level that its weights are for. From these the server counts, exactly and at
any moment, in how many documents a word stands (a filter), how long all documents are and how many (a histogram of
lengths), and which levels there are. So adding, replacing and deleting need no transaction.

The sparse vectors only find candidates. Their columns are hashes of words, and their weights are for a mean length of
1.05 to the power of the level, not for that of now. Candidates are scored again from their counts by the statistics
of now, and enough of them are taken that no other document can be among the best k (see follower.py for the bound).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from qianru.errors import CollectionDamaged
from qianru.index.cluster import ClusterIndex, Found
from qianru.index.filter import Filter
from qianru.models.bm25 import BM25
from qianru.models.counting import tally
from qianru.types import FloatArray, IntArray, Progress, SparseRows

if TYPE_CHECKING:
    from qdrant_client.http.models import Filter as Conditions

STEP = 1.05             # from one level's mean length to the next
FAR = 3                 # levels: weights that are further off are written anew
SPARE = 16              # candidates beyond k that are scored again
ROUNDING = 1 + 1e-4     # more than the server's float32 sums can be off, as a proportion
REWEIGHED_AT_ONCE = 500
WORDS_KEPT = 500_000
COUNTS = ("terms", "counts", "length")


class ClusterStatistics:
    """Statistics (see qianru.models.bm25) that a server counts; answers are kept for as long as they count as fresh.

    Columns are this object's own: words get the next one when they are first asked for.
    """

    def __init__(self, index: ClusterIndex) -> None:
        self._index = index
        self._names: list[str] = []
        self._columns: dict[str, int] = {}
        self.forget()

    def forget(self) -> None:
        """Asks anew from now on."""
        self._until = -math.inf
        self._lengths: dict[int, int] = {}
        self._levels: dict[int, int] = {}
        self._known: dict[int, int] = {}

    def refresh(self) -> None:
        """Before a search: forgets what is too old, and words where there are too many."""
        if time.monotonic() > self._until:
            self.forget()
        if len(self._names) > WORDS_KEPT:
            self._names, self._columns = [], {}
            self._known.clear()

    @property
    def n_documents(self) -> int:
        """How many documents there are."""
        self._ask()
        return sum(self._lengths.values())

    @property
    def n_tokens(self) -> int:
        """How many tokens they have in all."""
        self._ask()
        return sum(length * n for length, n in self._lengths.items())

    @property
    def levels(self) -> Mapping[int, int]:
        """level -> how many documents have weights for it."""
        self._ask()
        return self._levels

    @property
    def width(self) -> int:
        """Columns given out so far."""
        return len(self._names)

    def ids(self, terms: Sequence[str], *, grow: bool = False) -> IntArray:
        """(n,) columns of the terms; every one has one, since only the server knows which stand in a document."""
        columns = self._columns
        for term in terms:
            if term not in columns:
                columns[term] = len(self._names)
                self._names.append(term)
        return np.fromiter(map(columns.__getitem__, terms), np.int64, len(terms))

    def terms(self, columns: IntArray) -> list[str]:
        """The words of the columns."""
        return [self._names[column] for column in columns.tolist()]

    def frequencies(self, ids: IntArray) -> IntArray:
        """(n,) in how many documents each column's term stands; asked for all at a time."""
        self._ask()
        missing = [column for column in dict.fromkeys(ids.tolist()) if column not in self._known]
        if missing:
            words = [self._names[column] for column in missing]
            if self._index.link.in_memory or len(words) == 1:
                found = [self._frequency(word) for word in words]
            else:
                with ThreadPoolExecutor(min(len(words), 8)) as pool:
                    found = list(pool.map(self._frequency, words))
            self._known.update(zip(missing, found, strict=True))
        return np.fromiter(map(self._known.__getitem__, ids.tolist()), np.int64, len(ids))

    def update(self, ids: IntArray, deltas: IntArray, n_documents: int, n_tokens: int) -> None:
        """Nothing: what is stored is what counts."""

    def _frequency(self, word: str) -> int:
        return self._index.count(_matching("terms", word))

    def _ask(self) -> None:
        if self._until == -math.inf:
            self._lengths = {int(length): n for length, n in self._index.facet("length").items()}
            self._levels = {int(level): n for level, n in self._index.facet("level").items()}
            self._until = time.monotonic() + self._index.options.fresh_s


class ClusterBM25:
    """Weighs documents as they come, and finds them by their words."""

    def __init__(self, index: ClusterIndex, bm25: BM25) -> None:
        self._index, self._bm25 = index, bm25
        self.statistics = ClusterStatistics(index)
        bm25.statistics = self.statistics

    def weighed(self, texts: Sequence[str]) -> tuple[SparseRows, list[dict[str, Any]]]:
        """(vectors for finding, payload) of new texts."""
        tokens = tally(self._bm25.analyzer, texts)
        return self.taken(tokens.names, tokens.rows(np.arange(len(tokens.names)), len(tokens.names)), tokens.lengths)

    def taken(
        self, names: Sequence[str], counts: SparseRows, lengths: IntArray
    ) -> tuple[SparseRows, list[dict[str, Any]]]:
        """(vectors for finding, payload) of documents that are counted already; names: of the columns."""
        self.statistics.refresh()
        n_tokens = self.statistics.n_tokens + int(lengths.sum())
        level = level_of(n_tokens / max(self.statistics.n_documents + len(counts), 1))
        payloads = [{"terms": [names[column] for column in columns.tolist()], "counts": row.astype(int).tolist(),
                     "length": length, "level": level}
                    for (columns, row), length in zip(counts, lengths.tolist(), strict=True)]
        return self._hashed(names, counts, lengths, level), payloads

    def search(
        self, queries: Sequence[Mapping[str, float]], k: int, where: Filter | None, keys: Sequence[str] = ()
    ) -> list[list[Found]]:
        """The k best documents for each query's weighted words, best first, equal scores by order.

        keys: of the payload that should come along
        """
        lowest = mean_of(min(self.statistics.levels, default=0))
        growth = max(self._bm25.mean_length / lowest, 1) * ROUNDING     # no weight can have grown by more
        best: list[list[Found]] = [[] for _ in queries]
        waiting = [i for i, query in enumerate(queries) if query and k]
        limit = k + SPARE
        while waiting:
            found = self._index.find([_vector(queries[i]) for i in waiting], "sparse", limit, where,
                                     keys=(*keys, *COUNTS), order="order")
            still = []
            for i, hits in zip(waiting, found, strict=True):
                scores = self.exact(queries[i], [hit.payload for hit in hits]).tolist()
                again = [Found(hit.id, score, hit.payload) for hit, score in zip(hits, scores, strict=True) if score]
                again.sort(key=lambda hit: (-hit.score, hit.payload["order"], hit.id))
                everything = len(hits) < limit
                if everything or (len(again) >= k and hits[-1].score * growth < again[k - 1].score):
                    best[i] = again[:k]
                else:
                    still.append(i)
            waiting, limit = still, 4 * limit
        return best

    def exact(self, query: Mapping[str, float], payloads: Sequence[Mapping[str, Any]]) -> FloatArray:
        """(m,) BM25 of documents by their counts, with the statistics of now."""
        places = {word: i for i, word in enumerate(query)}
        rows = [{places[term]: float(n) for term, n in _words(told).items() if term in places} for told in payloads]
        counts = SparseRows.from_rows(rows, len(places), np.float64)
        weights = self._bm25.weigh(counts, _lengths(payloads))
        asked = np.fromiter(query.values(), np.float64, len(query))
        at = np.repeat(np.arange(len(rows)), np.diff(counts.offsets))
        return np.bincount(at, weights.weights * asked[weights.terms], len(rows)).astype(np.float32)

    def weighed_now(self, payloads: Sequence[Mapping[str, Any]]) -> SparseRows:
        """The documents' weights by the mean length of now, under this client's columns."""
        counts, lengths = self._counted(payloads)
        return self._bm25.weigh(counts, lengths)

    def _counted(self, payloads: Sequence[Mapping[str, Any]]) -> tuple[SparseRows, IntArray]:
        column = self.statistics.ids
        words = [_words(told) for told in payloads]
        rows = [dict(zip(column(list(its)).tolist(), map(float, its.values()), strict=True)) for its in words]
        return SparseRows.from_rows(rows, self.statistics.width), _lengths(payloads)

    def settle(self, far: int = FAR, progress: Progress | None = None) -> int:
        """Writes weights anew that are for a mean length some levels away; returns how many documents'.

        A document that somebody replaces meanwhile is left as they write it. A stop in the middle does no harm: a
        level is never stated higher than the weights are for, and so no candidate is missed.
        """
        self.statistics.forget()
        now = level_of(self._bm25.mean_length)
        off = {level: n for level, n in self.statistics.levels.items() if abs(level - now) >= far}
        done, total = 0, sum(off.values())
        for level in off:
            while records := self._index.page(_matching("level", level), REWEIGHED_AT_ONCE, [*COUNTS, "digest"]):
                self._move(records, level, now)
                done += len(records)
                if progress is not None:
                    progress(done, total)
        self.statistics.forget()
        return done

    def _move(self, records: Sequence[Any], old: int, new: int) -> None:
        from qdrant_client.http import models

        counts, lengths = self._counted([record.payload for record in records])
        present, counts = compact(counts)
        rows = self._hashed(self.statistics.terms(present), counts, lengths, new)
        digests = models.MatchAny(any=[record.payload["digest"] for record in records])
        unchanged = models.FieldCondition(key="digest", match=digests)
        these = models.Filter(must=[models.HasIdCondition(has_id=[record.id for record in records]), unchanged])
        points = [models.PointVectors(id=record.id, vector={"sparse": models.SparseVector(
            indices=terms.tolist(), values=weights.tolist())}) for record, (terms, weights) in
            zip(records, rows, strict=True)]

        def write_level() -> None:
            self._index.link.ask("written", self._index.link.client.set_payload, self._index.name, {"level": new},
                                 models.FilterSelector(filter=these), wait=True)

        if new < old:
            write_level()
        self._index.link.ask("written", self._index.link.client.update_vectors, self._index.name, points, wait=True,
                             update_filter=models.Filter(must=[unchanged]))
        if new > old:
            write_level()

    def _hashed(self, names: Sequence[str], counts: SparseRows, lengths: IntArray, level: int) -> SparseRows:
        """Weights for a level's mean length under the words' hashes; of words that share one, the largest weight."""
        weights = self._bm25.weigh(counts, lengths, mean_of(level)).weights
        columns = np.fromiter(map(column_of, names), np.int64, len(names))[counts.terms]
        row = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
        order = np.lexsort((-weights, columns, row))
        row, columns, weights = row[order], columns[order], weights[order]
        first = np.ones(len(row), bool)
        first[1:] = (row[1:] != row[:-1]) | (columns[1:] != columns[:-1])
        offsets = np.searchsorted(row[first], np.arange(len(counts) + 1))
        return SparseRows(offsets, columns[first], weights[first].astype(np.float32), 2**32)


def _words(told: Mapping[str, Any]) -> dict[str, int]:
    """word -> how often it stands in the document of a payload."""
    try:
        return dict(zip(told["terms"], told["counts"], strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise _not_counted(error) from error


def _lengths(payloads: Sequence[Mapping[str, Any]]) -> IntArray:
    """(m,) tokens of each payload's document."""
    try:
        return np.array([int(told["length"]) for told in payloads], np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise _not_counted(error) from error


def _not_counted(error: Exception) -> CollectionDamaged:
    return CollectionDamaged(f"A point of the collection lacks the counts of its words ({error!r:.80}). Has another "
                             "program written to it? Push the collection again.")


def compact(rows: SparseRows) -> tuple[IntArray, SparseRows]:
    """(the columns that occur, the rows in terms of these)."""
    present, terms = np.unique(rows.terms, return_inverse=True)
    return present, SparseRows(rows.offsets, terms.astype(np.int64), rows.weights, len(present))


def _vector(query: Mapping[str, float]) -> Any:
    """A query by the words' hashes; words that share one add up, so that no document is underrated."""
    from qdrant_client.http import models

    weights: dict[int, float] = {}
    for word, weight in query.items():
        column = column_of(word)
        weights[column] = weights.get(column, 0.0) + weight
    return models.SparseVector(indices=sorted(weights), values=[weights[column] for column in sorted(weights)])


def column_of(word: str) -> int:
    """The column of a word's weights: the same for every client, without asking anybody.

    >>> column_of("黄河")
    2891018654
    """
    return crc32(word.encode())


def level_of(mean_length: float) -> int:
    """The level whose mean length is nearest, as a ratio.

    >>> level_of(100), round(mean_of(level_of(100)), 1)
    (94, 98.1)
    """
    return round(math.log(mean_length) / math.log(STEP)) if mean_length > 0 else 0


def mean_of(level: int) -> float:
    """The mean length that a level's weights are for."""
    return float(STEP**level)


def _matching(key: str, value: str | int) -> Conditions:
    from qdrant_client.http import models

    return models.Filter(must=[models.FieldCondition(key=key, match=models.MatchValue(value=value))])
