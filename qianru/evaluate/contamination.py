"""Which texts of a test stand in training files: whole, or by the n-grams they share.

Of the test a table of hashed n-grams is kept, however large the training files are; these stream past once. Where the
table would grow too large, only grams whose hash ends in so many zeros are kept, the same on both sides, so that shares
stay unbiased.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput
from qianru.evaluate.grams import N_CHARS, N_WORDS, Hashes, Tokens, grams_of, mostly_chars, tokens_of, whole_texts
from qianru.types import FloatArray, IntArray, Progress

OVERLAPS_FROM = 0.5        # share of a text's grams from which it counts as seen
MAX_GRAMS = 1 << 24        # of the test that are kept: some 500 MB with all that belongs to them
BATCH_CHARS = 1 << 20
BATCH_TEXTS = 1 << 16
MAX_EXCERPTS = 10_000
EXCERPT = 300              # characters of a training text that are kept as evidence
_BITS = 24                 # of a hash: the filter that most grams of other texts stop at
_NOWHERE = -1


class TrainText(NamedTuple):
    """A training text and where it stands."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Leak:
    """A test text that the training files hold.

    share: of its n-grams that stand there;  exact: it stands there whole, as a text of its own
    place, train_text: where, and the beginning of it; empty if that was not kept
    """

    text: str
    share: float
    exact: bool
    place: str
    train_text: str


@dataclass(frozen=True, slots=True, eq=False)
class Contamination:
    """What of n test texts was found in the training files.

    exact: (n,) whether a training text is the same but for case, width, script and punctuation
    share: (n,) of the text's n-grams, 0 where it has fewer words than an n-gram
    kept: the share of all n-grams that was looked at;  n_train: training texts;  leaks: the worst, worst first
    """

    exact: NDArray[np.bool_]
    share: FloatArray
    n_train: int
    kept: float
    leaks: tuple[Leak, ...]

    @property
    def n_texts(self) -> int:
        """How many test texts were looked for."""
        return len(self.exact)

    @property
    def n_exact(self) -> int:
        """How many stand there whole."""
        return int(self.exact.sum())

    @property
    def n_overlapping(self) -> int:
        """How many stand there whole or share at least half of their n-grams."""
        return int((self.exact | (self.share >= OVERLAPS_FROM)).sum())


def find_contamination(
    test: Sequence[str], train: Iterable[TrainText], *, n_chars: int = N_CHARS, n_words: int = N_WORDS,
    n_leaks: int = 10, max_grams: int = MAX_GRAMS,
) -> Contamination:
    """Looks for each test text among the training texts, which are read once.

    n_chars, n_words: tokens of an n-gram, for texts mostly of characters without spaces and for others
    max_grams: of the test that are kept at most; bounds the memory
    """
    if min(n_chars, n_words) < 2:
        raise BadInput(f"An n-gram has two tokens or more, not {min(n_chars, n_words)}.")
    table = _Table.of(test, (n_chars, n_words), max_grams)
    return table.found(test, slice(0, len(test)), table.read(train, None), n_leaks)


def find_contaminations(
    tests: Mapping[str, Sequence[str]], train: Iterable[TrainText], *, n_leaks: int = 10,
    progress: Progress | None = None,
) -> dict[str, Contamination]:
    """The same for several tests, by their names, reading the training texts once for all of them.

    progress: counts training texts
    """
    every = list(chain.from_iterable(tests.values()))
    table = _Table.of(every, (N_CHARS, N_WORDS), MAX_GRAMS)
    n_train = table.read(train, progress)
    found: dict[str, Contamination] = {}
    start = 0
    for name, texts in tests.items():
        found[name] = table.found(every, slice(start, start + len(texts)), n_train, n_leaks)
        start += len(texts)
    return found


def train_texts(files: Iterable[Path]) -> Iterator[TrainText]:
    """Every text of training files: values of JSON lines, Parquet, CSV and TSV, however nested; lines of .txt, at tabs.

    Also packed as .gz. Raises BadFile for a file that cannot be read.
    """
    from qianru.evaluate.tables import rows
    from qianru.text.read.source import Source
    from qianru.text.read.stream import stream_file

    for file in files:
        if file.name.lower().removesuffix(".gz").endswith(".txt"):
            for source in stream_file(file):
                if isinstance(source, Source):
                    yield from (TrainText(f"{file}:{source.line}", part) for part in source.text.split("\t"))
            continue
        for number, row in enumerate(rows(file, header=False), 1):
            yield from (TrainText(f"{file}, row {number}", text) for text in _texts_in(row))


def batches(train: Iterable[TrainText]) -> Iterator[list[TrainText]]:
    """The texts in lists of about a million characters."""
    batch: list[TrainText] = []
    size = 0
    for text in train:
        batch.append(text)
        size += len(text.text)
        if size >= BATCH_CHARS or len(batch) >= BATCH_TEXTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Table:
    """The n-grams of the test, each with whether and where it was seen.

    sizes: n of the n-grams that there are;  mask: a hash is kept if these bits are 0
    grams: (u,) ascending;  seen_at: (u,) the training text where it was first seen
    gram, text: (p,) which gram stands in which text;  whole: (n,) hash of each text;  whole_at: (n,) as seen_at
    """

    def __init__(self, sizes: tuple[int, ...], mask: int, grams: Hashes, pairs: tuple[IntArray, IntArray],
                 whole: Hashes, lengths: IntArray) -> None:
        self.sizes, self.mask, self.grams, self.lengths = sizes, np.uint64(mask), grams, lengths
        self.gram, self.text = pairs
        self.seen_at = np.full(len(grams), _NOWHERE, np.int64)
        self.order = np.argsort(whole, kind="stable")
        self.whole = whole[self.order]
        self.whole_at = np.full(len(whole), _NOWHERE, np.int64)
        self.excerpts: dict[int, TrainText] = {}
        self.filter = np.zeros(1 << _BITS, np.bool_)
        self.filter[grams >> np.uint64(64 - _BITS)] = True

    @classmethod
    def of(cls, test: Sequence[str], sizes: tuple[int, int], max_grams: int) -> _Table:
        """The table of the test texts; sizes: n for texts of characters, and of words."""
        mask = 0
        hashes: list[Hashes] = [np.zeros(0, np.uint64)]
        texts: list[IntArray] = [np.zeros(0, np.int64)]
        whole: list[Hashes] = [np.zeros(0, np.uint64)]
        lengths: list[IntArray] = [np.zeros(0, np.int64)]
        n_before = n_grams = 0
        for batch in batches(TrainText("", text) for text in test):
            tokens = tokens_of([text.text for text in batch])
            of_chars = mostly_chars(tokens)
            for n, chosen in zip(sizes, (of_chars, ~of_chars), strict=True):
                found = grams_of(tokens, n, chosen)
                kept = found.hashes & np.uint64(mask) == 0
                hashes.append(found.hashes[kept])
                texts.append(found.texts[kept] + n_before)
                n_grams += int(kept.sum())
            while n_grams > max_grams:                    # half of the hashes end in one more zero
                mask = mask * 2 + 1
                keep = [part & np.uint64(mask) == 0 for part in hashes]
                hashes = [part[one] for part, one in zip(hashes, keep, strict=True)]
                texts = [part[one] for part, one in zip(texts, keep, strict=True)]
                n_grams = sum(map(len, hashes))
            text_hashes, n_tokens = whole_texts(tokens)
            whole.append(text_hashes)
            lengths.append(n_tokens)
            n_before += len(batch)
        grams, gram = np.unique(np.concatenate(hashes), return_inverse=True)
        return cls(tuple(dict.fromkeys(sizes)), mask, grams, (gram, np.concatenate(texts)), np.concatenate(whole),
                   np.concatenate(lengths))

    def read(self, train: Iterable[TrainText], progress: Progress | None) -> int:
        """Notes what of the test stands in the training texts; returns how many these are."""
        n_train = 0
        for batch in batches(train):
            self.look_for(batch, n_train)
            n_train += len(batch)
            if progress is not None:
                progress(n_train, None)
        return n_train

    def look_for(self, batch: Sequence[TrainText], n_before: int) -> None:
        """Notes what of the test stands in these training texts; n_before: how many came before them."""
        tokens = tokens_of([text.text for text in batch])
        for n in self.sizes:
            self._look_for_grams(tokens, n, batch, n_before)
        hashes, n_tokens = whole_texts(tokens)
        hashes, first = np.unique(hashes, return_index=True)
        left, right = (np.searchsorted(self.whole, hashes, side) for side in ("left", "right"))
        for at in np.flatnonzero((right > left) & (n_tokens[first] > 0)):
            same = self.order[left[at] : right[at]]
            new = same[self.whole_at[same] == _NOWHERE]
            if len(new):
                self.whole_at[new] = n_before + first[at]
                self._keep(int(first[at]), batch, n_before)

    def _look_for_grams(self, tokens: Tokens, n: int, batch: Sequence[TrainText], n_before: int) -> None:
        if not len(self.grams):
            return
        found = grams_of(tokens, n)
        likely = np.flatnonzero(self.filter[found.hashes >> np.uint64(64 - _BITS)])
        if self.mask:
            likely = likely[found.hashes[likely] & self.mask == 0]
        hashes, texts = found.hashes[likely], found.texts[likely]
        at = np.minimum(np.searchsorted(self.grams, hashes), len(self.grams) - 1)
        new = (self.grams[at] == hashes) & (self.seen_at[at] == _NOWHERE)
        at, texts = at[new][::-1], texts[new][::-1]        # of several places the first is written last
        self.seen_at[at] = texts + n_before
        for text in np.unique(texts):
            self._keep(int(text), batch, n_before)

    def _keep(self, text: int, batch: Sequence[TrainText], n_before: int) -> None:
        if len(self.excerpts) < MAX_EXCERPTS:
            self.excerpts.setdefault(n_before + text, batch[text]._replace(text=batch[text].text[:EXCERPT]))

    def found(self, test: Sequence[str], span: slice, n_train: int, n_leaks: int) -> Contamination:
        """What was noted of the test texts of that span, and the worst of it."""
        n = len(test)
        n_grams = np.bincount(self.text, minlength=n)
        n_seen = np.bincount(self.text, weights=self.seen_at[self.gram] != _NOWHERE, minlength=n)
        share: FloatArray = np.divide(n_seen, n_grams, out=np.zeros(n), where=n_grams > 0)[span]
        exact = self.whole_at[span] != _NOWHERE
        worst = np.lexsort((-self.lengths[span], -share, ~exact))[:n_leaks]     # of the exact ones the longest
        leaks = [self._leak(span.start + int(i), test[span.start + i], float(share[i]), bool(exact[i]))
                 for i in worst if exact[i] or share[i]]
        return Contamination(exact, share, n_train, 1 / (int(self.mask) + 1), tuple(leaks))

    def _leak(self, i: int, text: str, share: float, exact: bool) -> Leak:
        at = int(self.whole_at[i])
        if not exact:
            seen = self.seen_at[self.gram[self.text == i]]
            places, counts = np.unique(seen[seen != _NOWHERE], return_counts=True)
            at = int(places[counts.argmax()])
        train = self.excerpts.get(at, TrainText("", ""))
        return Leak(text, share, exact, train.place, train.text)


def _texts_in(value: Any) -> Iterator[str]:
    """The texts of a row, from lists and objects inside too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts_in(part)
