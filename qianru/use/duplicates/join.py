"""All pairs of sets that are alike enough, found exactly: no pair is missed, and none is only likely.

Alike are sets that share much of the smaller one and not too little of the larger one, so that a text cut short still
counts:

    similarity = shared / (W * smaller + (1 - W) * larger)

With W = 1/2 this is Dice's coefficient, with W = 1 the share of the smaller set (Tversky 1977). Sets of a few grams
are left out: 好吃 and 不好吃 share all of the smaller one and say the opposite.

Two sets that share at least s of their grams have one in common among all but the s - 1 most frequent ones of each, in
whatever fixed order of frequency (Chaudhuri et al. 2006, Bayardo et al. 2007). So only these, the rarest grams, are
looked up, and only sets that share one of them are compared in full.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qianru.scores.exact.compiled import has_numba, spread
from qianru.types import FloatArray, IntArray, Progress
from qianru.use.duplicates.shingles import Shingled, mapped

W = 0.75                         # of the smaller set
FEWEST = 5                       # grams of a set that is compared
INDEXED_AT_ONCE = 1 << 24        # grams of one block of the index: 256 MB while it is sorted
PROBED_AT_ONCE = 1 << 13         # sets
PAIRS_AT_ONCE = 1 << 20          # without numba: 100 MB
COMPARED_AT_ONCE = 1 << 14       # pairs
RECORD = np.dtype([("left", "<i4"), ("right", "<i4"), ("similarity", "<f4")])
SLACK = 1e-9                     # so that rounding loses no pair


class Pairs(NamedTuple):
    """left < right: (p,) each;  similarities: (p,) from 0 to 1."""

    left: IntArray
    right: IntArray
    similarities: FloatArray


def similar_pairs(
    sets: Shingled, threshold: float, rows: IntArray | None = None, *, log: Log | None = None,
    progress: Progress | None = None,
) -> Pairs:
    """All pairs at least as similar as the threshold, in no order.

    rows: the sets to compare, all of them by default;  log: where pairs are kept, so that a stopped join goes on
    progress: counts sets looked up, once for each block of the index
    Memory beside the sets: 500 MB whatever their number, and 12 bytes a pair.
    """
    order = np.argsort(sets.sizes, kind="stable") if rows is None else rows[np.argsort(sets.sizes[rows], kind="stable")]
    order = order[sets.sizes[order] >= FEWEST]                    # by size, so that the smaller is always indexed
    log = log or Log(None)
    blocks = list(_blocks(sets, order, threshold))
    total, done = sum(len(order) - start for start, _ in blocks), 0
    for first, last in blocks:
        spans = [(start, min(start + PROBED_AT_ONCE, len(order))) for start in range(first, len(order), PROBED_AT_ONCE)]
        block: _Block | None = None
        for start, stop in spans:
            if done >= log.done:
                block = block or _Block(sets, order, first, last, threshold)
                log.add(block.probed(start, stop), done + stop - start)
            done += stop - start
            if progress is not None:
                progress(done, total)
    return log.read()


class Log:
    """Pairs found so far, in memory or in a file beside which stands how far the join has come.

    done: sets looked up when the last pairs were noted
    """

    def __init__(self, folder: Path | None) -> None:
        self.done = 0
        self._parts: list[Any] = []
        self._path = folder and folder / "pairs.bin"
        if self._path is None:
            return
        self._mark = self._path.with_name("pairs.json")
        n = 0
        if self._mark.exists() and self._path.exists():
            self.done, n = json.loads(self._mark.read_text())
        with self._path.open("ab") as file:
            file.truncate(n * RECORD.itemsize)

    def add(self, found: Sequence[Pairs], done: int) -> None:
        """Notes pairs, and that so many sets have been looked up."""
        records = np.concatenate([_records(pairs) for pairs in found]) if found else np.zeros(0, RECORD)
        self.done = done
        if self._path is None:
            self._parts.append(records)
            return
        with self._path.open("ab") as file:
            records.tofile(file)
            size = file.tell()
        new = self._mark.with_suffix(".new")
        new.write_text(json.dumps([done, size // RECORD.itemsize]))
        new.replace(self._mark)

    def read(self) -> Pairs:
        """All of them."""
        records = np.concatenate([np.zeros(0, RECORD), *self._parts]) if self._path is None else \
            mapped(self._path, RECORD)
        return Pairs(records["left"], records["right"], records["similarity"])


def _records(pairs: Pairs) -> Any:
    records = np.empty(len(pairs.left), RECORD)
    records["left"], records["right"] = np.minimum(pairs.left, pairs.right), np.maximum(pairs.left, pairs.right)
    records["similarity"] = pairs.similarities
    return records


def compared(sets: Shingled, left: IntArray, right: IntArray) -> FloatArray:
    """(p,) how similar the sets of each pair are; 0 where one is too small to be compared."""
    parts: list[FloatArray] = [np.zeros(0)]
    for start in range(0, len(left), COMPARED_AT_ONCE):
        one, other = left[start : start + COMPARED_AT_ONCE], right[start : start + COMPARED_AT_ONCE]
        parts.append(_similarity(_shared(sets, one, other), sets.sizes[one], sets.sizes[other]))
    similarities = np.concatenate(parts)
    similarities[np.minimum(sets.sizes[left], sets.sizes[right]) < FEWEST] = 0
    return similarities


def needed(threshold: float, smaller: IntArray, larger: IntArray) -> IntArray:
    """How many grams two sets of these sizes must share.

    >>> needed(0.8, np.array([50]), np.array([100])).tolist()
    [50]
    """
    wanted = threshold * (W * smaller + (1 - W) * larger)
    return np.ceil(wanted - SLACK).astype(np.int64)


def smallest_share(threshold: float) -> float:
    """How much of a set another must have at least to be alike: so many of its grams if all of them are shared.

    >>> round(smallest_share(0.8), 6)
    0.5
    """
    return threshold * (1 - W) / (1 - threshold * W)


def _prefixes(sets: Shingled, rows: IntArray, needed: IntArray) -> IntArray:
    """(n,) how many of the stored grams of each set are looked up; those that no other set holds come before them."""
    stored = sets.offsets[rows + 1] - sets.offsets[rows]
    alone = sets.sizes[rows] - stored
    return np.clip(sets.sizes[rows] - np.maximum(needed, 1) + 1 - alone, 0, stored)


def _as_smaller(sets: Shingled, rows: IntArray, threshold: float) -> IntArray:
    sizes = sets.sizes[rows]
    return _prefixes(sets, rows, needed(threshold, sizes, sizes))


def _as_larger(sets: Shingled, rows: IntArray, threshold: float) -> IntArray:
    least = np.ceil(sets.sizes[rows] * smallest_share(threshold) - SLACK).astype(np.int64)
    return _prefixes(sets, rows, least)


def _blocks(sets: Shingled, order: IntArray, threshold: float) -> Iterator[tuple[int, int]]:
    """Spans of the order whose looked up grams fit one index."""
    ends = np.cumsum(_as_smaller(sets, order, threshold))
    start = 0
    while start < len(order):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + INDEXED_AT_ONCE, "right")))
        yield start, stop
        start = stop


class _Block:
    """The rarest grams of sets first to last of the order, ready to be looked up."""

    def __init__(self, sets: Shingled, order: IntArray, first: int, last: int, threshold: float) -> None:
        self._sets, self._order, self._first, self._last, self._threshold = sets, order, first, last, threshold
        rows = order[first:last]
        where, of = _spans(sets.offsets[rows], _as_smaller(sets, rows, threshold))
        keys = np.asarray(sets.keys[where])
        by_key = np.argsort(keys, kind="stable")            # so that the places of a key ascend
        self._places = of[by_key].astype(np.int32)
        self._keys, starts = np.unique(keys[by_key], return_index=True)
        self._starts = np.append(starts, len(keys)).astype(np.int64)

    def probed(self, start: int, stop: int) -> list[Pairs]:
        """The pairs of sets start to stop of the order with smaller ones of this block."""
        rows = self._order[start:stop]
        lengths = _as_larger(self._sets, rows, self._threshold)
        if has_numba():
            from qianru.use.duplicates.join_numba import probe

            found: list[Pairs] = []

            def part(low: int, high: int) -> None:
                found.append(Pairs(*probe(
                    self._sets.offsets, self._sets.keys, self._sets.sizes, self._order, self._first, self._last,
                    self._keys, self._starts, self._places, lengths, start, start + low, start + high,
                    self._threshold, W, SLACK)))

            spread(part, stop - start, None, 512)
            return found
        return list(self._probed_slowly(rows, lengths, start))

    def _probed_slowly(self, rows: IntArray, lengths: IntArray, start: int) -> Iterator[Pairs]:
        where, of = _spans(self._sets.offsets[rows], lengths)
        keys = np.asarray(self._sets.keys[where])
        at = np.searchsorted(self._keys, keys)
        at[at == len(self._keys)] = 0
        known = self._keys[at] == keys if len(self._keys) else np.zeros(len(keys), bool)
        at, of = at[known], of[known]
        counts = self._starts[at + 1] - self._starts[at]
        ends = np.cumsum(counts)
        begin = 0
        while begin < len(at):
            before = int(ends[begin - 1]) if begin else 0
            # whole probes only, so that no pair is met twice
            end = int(np.searchsorted(ends, before + PAIRS_AT_ONCE, "right"))
            end = int(np.searchsorted(of, of[min(max(end, begin), len(of) - 1)], "right")) if end < len(at) else end
            span = slice(begin, max(end, begin + 1))
            hits, probe = _spans(self._starts[at[span]], counts[span])
            smaller, larger = self._places[hits].astype(np.int64), of[span][probe]
            pairs = np.unique(smaller << 32 | larger)
            smaller, larger = (pairs >> 32) + self._first, (pairs & 0xFFFFFFFF) + start
            before_it = smaller < larger
            yield from self._compared(self._order[smaller[before_it]], self._order[larger[before_it]])
            begin = span.stop

    def _compared(self, left: IntArray, right: IntArray) -> Iterator[Pairs]:
        """Those of the pairs that are alike."""
        sets = self._sets
        want = needed(self._threshold, sets.sizes[left], sets.sizes[right])
        can = (np.minimum(sets.sizes[left], sets.sizes[right]) >= want)
        left, right, want = left[can], right[can], want[can]
        costs = np.cumsum(sets.offsets[left + 1] - sets.offsets[left] + sets.offsets[right + 1] - sets.offsets[right])
        start = 0
        while start < len(left):
            before = int(costs[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(costs, before + PAIRS_AT_ONCE, "right")))
            one, other = left[start:stop], right[start:stop]
            shared = _shared(sets, one, other)
            good = shared >= want[start:stop]
            similarities = _similarity(shared, sets.sizes[one], sets.sizes[other])
            yield Pairs(one[good].astype(np.int32), other[good].astype(np.int32), similarities[good].astype(np.float32))
            start = stop


def _similarity(shared: IntArray, one: IntArray, other: IntArray) -> FloatArray:
    whole = W * np.minimum(one, other) + (1 - W) * np.maximum(one, other)
    similarity: FloatArray = shared / np.maximum(whole, 1)
    return similarity


def _shared(sets: Shingled, left: IntArray, right: IntArray) -> IntArray:
    """(p,) how many grams the two of each pair share."""
    keys, owners = [], []
    for rows in (left, right):
        where, of = _spans(sets.offsets[rows], sets.offsets[rows + 1] - sets.offsets[rows])
        keys.append(np.asarray(sets.keys[where]))
        owners.append(of)
    every, of = np.concatenate(keys), np.concatenate(owners)
    order = np.lexsort((every, of))
    every, of = every[order], of[order]
    twice = (every[1:] == every[:-1]) & (of[1:] == of[:-1])
    return np.bincount(of[1:][twice], minlength=len(left))


def _spans(starts: IntArray, lengths: IntArray) -> tuple[IntArray, IntArray]:
    """Every place of spans end to end, and which span it is of."""
    of = np.repeat(np.arange(len(starts)), lengths)
    begins = np.cumsum(lengths) - lengths
    return np.arange(len(of)) - begins[of] + starts[of], of
