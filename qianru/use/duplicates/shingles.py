"""Texts as sets of hashed runs of characters, rarest first, in memory or in files: what near-duplicates are told by.

Case, width, Traditional script, spaces and punctuation are folded away (qianru.evaluate.grams). A text is the set of
its runs of 2 characters of a script without spaces, and of 4 letters or digits of another; a shorter one is one run.
The last 4 signs are a run as well where no other holds the last: 在1层 and 在10层 begin alike and are not the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.evaluate.grams import characters_of, grams_of, whole_texts
from qianru.types import IntArray, Progress

N_CHARS, N_LETTERS = 2, 4       # of 60,000 real texts, words or longer runs found fewer edited copies at one precision
AT_ONCE = 2048                  # texts
COUNTERS = 1 << 24              # of how many texts hold a run, by part of its hash; 64 MB
GRAMS_AT_ONCE = 1 << 21

Keys = NDArray[np.uint64]
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Shingled(NamedTuple):
    """n texts as sets of runs.

    offsets: (n + 1,);  keys: text i has keys[offsets[i]:offsets[i + 1]], ascending: how many texts hold a run in the
    upper half, its hash in the lower, so that the rarest come first. Runs that only one text holds are left out
    sizes: (n,) how many runs each text has, with those left out; 0 for a text without letters, digits or characters
    wholes: (n,) a hash of all of the text: equal for texts that differ only in what is folded away
    """

    offsets: IntArray
    keys: Keys
    sizes: IntArray
    wholes: Keys

    def __len__(self) -> int:
        return len(self.sizes)


class Shingler:
    """Takes texts in and gives them back as sets.

    folder: where these lie, 12 bytes a run; None for in memory
    Memory with a folder: 250 MB and 40 bytes a text. Hashes have 32 bits: two runs look alike in one of four billion
    cases.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._counts = np.zeros(COUNTERS, np.uint32)
        self._sizes: list[IntArray] = []
        self._wholes: list[Keys] = []
        self._raw = _Pile(np.uint32, folder and folder / "runs.u32")
        self._keys = _Pile(np.uint64, folder and folder / "keys.u64")

    def add(self, texts: Sequence[str]) -> None:
        """Takes in some more texts."""
        hashes, owners, wholes = _runs(texts)
        self._sizes.append(np.bincount(owners, minlength=len(texts)))
        self._wholes.append(wholes)
        np.add.at(self._counts, hashes % np.uint32(COUNTERS), np.uint32(1))
        self._raw.add(hashes)

    def finish(self) -> Shingled:
        """All texts taken in."""
        sizes: IntArray = np.concatenate([np.zeros(0, np.int64), *self._sizes])
        ends = np.cumsum(sizes)
        raw = self._raw.read()
        stored = np.zeros(len(sizes), np.int64)
        first = 0
        while first < len(sizes):
            start = int(ends[first] - sizes[first])
            last = max(first + 1, int(np.searchsorted(ends, start + GRAMS_AT_ONCE, "right")))
            owners = np.repeat(np.arange(last - first), sizes[first:last])
            keys, left = _rarest_first(np.asarray(raw[start : int(ends[last - 1])]), owners, self._counts)
            stored[first:last] = np.bincount(left, minlength=last - first)
            self._keys.add(keys)
            first = last
        del raw
        self._raw.drop()
        offsets = np.concatenate([[0], np.cumsum(stored)]).astype(np.int64)
        return Shingled(offsets, self._keys.read(), sizes, np.concatenate([np.zeros(0, np.uint64), *self._wholes]))


def shingled(texts: Iterable[str], folder: Path | None = None, *, progress: Progress | None = None) -> Shingled:
    """The texts as sets of runs.

    >>> one, two = shingled(["花果山水帘洞", "花果山，水簾洞！"]), shingled(["花果山", "水帘洞"])
    >>> one.sizes.tolist(), one.keys[:5].tolist() == one.keys[5:].tolist(), len(two.keys)
    ([5, 5], True, 0)
    """
    shingler = Shingler(folder)
    remaining, done = iter(texts), 0
    while some := list(islice(remaining, AT_ONCE)):
        shingler.add(some)
        done += len(some)
        if progress is not None:
            progress(done, len(texts) if isinstance(texts, Sequence) else None)
    return shingler.finish()


class _Pile:
    """An array that grows, in memory or in a file."""

    def __init__(self, kind: Any, path: Path | None) -> None:
        self._kind, self._path = kind, path
        self._parts: list[Any] = []
        if path is not None:
            path.write_bytes(b"")

    def add(self, part: Any) -> None:
        """Puts more behind."""
        if self._path is None:
            self._parts.append(part)
            return
        with self._path.open("ab") as file:
            part.tofile(file)

    def read(self) -> Any:
        """All of it; from a file, mapped."""
        if self._path is None:
            self._parts = [np.concatenate([np.zeros(0, self._kind), *self._parts])]
            return self._parts[0]
        return mapped(self._path, self._kind)

    def drop(self) -> None:
        """Forgets it."""
        self._parts = []
        if self._path is not None:
            self._path.unlink()


def mapped(path: Path, kind: Any) -> Any:
    """The numbers of a file, read when they are looked at."""
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)


def _runs(texts: Sequence[str]) -> tuple[NDArray[np.uint32], IntArray, Keys]:
    """The distinct runs of each text, which text each is of, ascending, and the hash of each whole text."""
    characters = characters_of(texts)
    wholes, lengths = whole_texts(characters)
    hashes, owners = [], []
    reached, ends = np.zeros(len(texts), np.int64), np.cumsum(lengths)      # where the last run and the text end
    for n, alone in ((N_CHARS, True), (N_LETTERS, False)):
        grams = grams_of(characters, n)
        m = max(0, len(characters.texts) - n + 1)
        begins = np.flatnonzero(characters.texts[:m] == characters.texts[n - 1 :][:m])
        chosen = characters.chars[begins] == alone
        np.maximum.at(reached, grams.texts[chosen], begins[chosen] + n)
        if n == N_LETTERS:
            chosen |= (begins + n == ends[grams.texts]) & (reached < ends)[grams.texts]
        hashes.append(grams.hashes[chosen])
        owners.append(grams.texts[chosen])
    every = np.concatenate(owners)
    short = np.flatnonzero((np.bincount(every, minlength=len(texts)) == 0) & (lengths > 0))
    both = np.concatenate([every, short]).astype(np.uint64) << _HALF
    both |= np.concatenate([*hashes, wholes[short]]) & _LOW
    both.sort()
    both = both[np.concatenate([np.ones(min(len(both), 1), bool), both[1:] != both[:-1]])]
    return (both & _LOW).astype(np.uint32), (both >> _HALF).astype(np.int64), wholes


def _rarest_first(
    hashes: NDArray[np.uint32], owners: IntArray, counts: NDArray[np.uint32]
) -> tuple[Keys, IntArray]:
    """The keys of the runs that several texts hold, ascending within each text, and the texts that they are of."""
    frequency = counts[hashes % np.uint32(COUNTERS)].astype(np.uint64)
    shared = frequency > 1
    keys, of = frequency[shared] << _HALF | hashes[shared], owners[shared]
    order = np.lexsort((keys, of))
    return keys[order], of[order]
