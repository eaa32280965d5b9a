"""Texts as hashed n-grams, many texts at once: what two texts share is told by equal numbers.

A token is a character of a script written without spaces, or a run of letters and digits; case, width, Traditional
script and all punctuation are folded away. So the same sentence is found in whatever typography.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.text.normalize import fold
from qianru.types import IntArray

N_CHARS = 13        # characters of a gram of Chinese; Brown et al. 2020 (GPT-3) took 13 words of English,
N_WORDS = 8         # Chowdhery et al. 2022 (PaLM) 8: test texts here are sentences, not pages

Hashes = NDArray[np.uint64]
_BREAK = "\U0010ffff"                     # a code point that is no character
_STEP = 0x9E3779B97F4A7C15                # odd, so that it has an inverse modulo 2^64
_BACK = pow(_STEP, -1, 1 << 64)
_OTHER, _ALONE, _IN_WORD = 0, 1, 2
_WITHOUT_SPACES = ((0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x2E80, 0x2FE0), (0x3040, 0x3100),
                   (0x3400, 0xA000), (0xAC00, 0xD7B0), (0xF900, 0xFB00), (0x20000, 0x40000))
"""Thai to Khmer, radicals, kana, Han, Hangul, Han again."""


class Tokens(NamedTuple):
    """hashes: (t,) of the tokens of all texts;  texts: (t,) which text each is of;  chars: (t,) whether it is one
    character of a script without spaces;  n_texts: how many texts they are of."""

    hashes: Hashes
    texts: IntArray
    chars: NDArray[np.bool_]
    n_texts: int


class Grams(NamedTuple):
    """hashes: (g,) of the n-grams;  texts: (g,) which text each is of."""

    hashes: Hashes
    texts: IntArray


def tokens_of(texts: Sequence[str]) -> Tokens:
    """The tokens of texts, end to end.

    >>> found = tokens_of(["BERT 很好！", "ｂｅｒｔ很好", ""])
    >>> found.texts.tolist(), bool((found.hashes[:3] == found.hashes[3:]).all())
    ([0, 0, 0, 1, 1, 1], True)
    """
    codes = _codes(texts)
    if not len(codes):
        return Tokens(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.bool_), len(texts))
    kinds = _kinds()[codes]
    begins = kinds != _OTHER
    begins[1:] &= (kinds[1:] == _ALONE) | (kinds[:-1] != _IN_WORD)
    starts = np.flatnonzero(begins)
    last = kinds != _OTHER
    last[:-1] &= (kinds[:-1] == _ALONE) | (kinds[1:] != _IN_WORD)
    ends = np.flatnonzero(last) + 1
    text = np.cumsum(codes == ord(_BREAK))[starts]
    return Tokens(_runs(codes.astype(np.uint64), starts, ends), text, kinds[starts] == _ALONE, len(texts))


def characters_of(texts: Sequence[str]) -> Tokens:
    """Every letter, digit and character of texts as a token of its own, end to end.

    >>> found = characters_of(["AI 好！", "ａｉ好"])
    >>> found.texts.tolist(), found.chars.tolist()[:3], bool((found.hashes[:3] == found.hashes[3:]).all())
    ([0, 0, 0, 1, 1, 1], [False, False, True], True)
    """
    codes = _codes(texts)
    kinds = _kinds()[codes]
    known = kinds != _OTHER
    text = np.cumsum(codes == ord(_BREAK))[known]
    return Tokens(codes[known].astype(np.uint64), text, kinds[known] == _ALONE, len(texts))


def grams_of(tokens: Tokens, n: int, chosen: NDArray[np.bool_] | None = None) -> Grams:
    """The hashes of each n tokens in a row, of the texts that are chosen (all if None); none of a shorter text."""
    m = len(tokens.hashes) - n + 1
    if m <= 0:
        return Grams(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    inside = tokens.texts[:m] == tokens.texts[n - 1 :]
    if chosen is not None:
        inside &= chosen[tokens.texts[:m]]
    starts = np.flatnonzero(inside)
    return Grams(_runs(tokens.hashes, starts, starts + n), tokens.texts[starts])


def _codes(texts: Sequence[str]) -> NDArray[np.uint32]:
    """The code points of the folded texts, with breaks between them."""
    joined = _BREAK.join(text.replace(_BREAK, " ") for text in texts)
    folded = fold(joined, script=True).lower()                # may change the length, never the breaks
    return np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), "<u4")


def whole_texts(tokens: Tokens) -> tuple[Hashes, IntArray]:
    """(n_texts,) a hash of all tokens of each text, and how many there are; the hash of none is 0."""
    lengths = np.bincount(tokens.texts, minlength=tokens.n_texts)
    ends = np.cumsum(lengths)
    hashes = np.zeros(tokens.n_texts, np.uint64)
    some = lengths > 0
    hashes[some] = _runs(tokens.hashes, (ends - lengths)[some], ends[some])
    return hashes, lengths


def mostly_chars(tokens: Tokens) -> NDArray[np.bool_]:
    """(n_texts,) whether at least half of a text's tokens are characters of a script without spaces."""
    lengths = np.bincount(tokens.texts, minlength=tokens.n_texts)
    return np.bincount(tokens.texts, weights=tokens.chars, minlength=tokens.n_texts) * 2 >= lengths


def _runs(values: Hashes, starts: IntArray, ends: IntArray) -> Hashes:
    """The hash of values[start:end] for each run: a polynomial modulo 2^64, from sums that all runs share."""
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(_mixed(values) * _powers(_STEP, len(values)), out=sums[1:])
    shifted = (sums[ends] - sums[starts]) * _powers(_BACK, len(values))[starts]      # as if all began at 0
    return _mixed(shifted ^ (ends - starts).astype(np.uint64))


def _powers(base: int, n: int) -> Hashes:
    powers = np.full(n, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _mixed(values: Hashes) -> Hashes:
    """Each value with all its bits stirred: the finaliser of splitmix64 (Steele et al. 2014)."""
    mixed = values + np.uint64(_STEP)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    stirred: Hashes = mixed ^ (mixed >> np.uint64(31))
    return stirred


@cache
def _kinds() -> NDArray[np.uint8]:
    """(0x110000,) what each code point is; made once."""
    kinds = np.zeros(0x110000, np.uint8)
    kinds[:0x20000] = [_IN_WORD * chr(code).isalnum() for code in range(0x20000)]
    kinds[0x0300:0x0370] = _IN_WORD        # accents that stand by themselves
    for begin, end in _WITHOUT_SPACES:
        block = kinds[begin:end]
        block[block == _IN_WORD] = _ALONE
    kinds[0x20000:0x40000] = _ALONE
    return kinds
