"""Where sentences end, in Chinese and English."""

from __future__ import annotations

import re

_CLOSERS = "”’」』）】》〉〕〗］｝｣)\\]"
_STOPS = "。！？；…⋯｡"
_HAN = "\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef“‘\U00020000-\U0003ffff"
# Possessive repeats, and a look behind, keep a long run of full stops from being read again from each of its places.
_END = re.compile(
    rf"""
    [{_STOPS}][{_STOPS}{_CLOSERS}!?]*+                                          # 。」  ？！  ……
  | ．(?!(?<=[0-9０-９]．)[0-9０-９])[．{_STOPS}{_CLOSERS}]*+                     # a full stop in older files
  | (?<![.!?])[.!?]++[{_CLOSERS}"']*+(?=\s|\Z|[{_HAN}])                         # ASCII, if a word does not go on
  | [\n\u2028\u2029]
    """,
    re.VERBOSE,
)
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘{\u2e80-\uffff]*\Z")
# Never at a sentence's end, and only where no number follows.
_NEVER = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "mt", "ft", "gen", "sen", "rep", "gov", "capt", "lt", "col", "sgt",
    "rev", "hon", "messrs", "mmes", "vs", "e.g", "i.e", "cf", "viz", "ca", "approx", "eds",
))      # fmt: skip
_BEFORE_NUMBER = frozenset((
    "no", "nos", "fig", "figs", "eq", "eqs", "vol", "vols", "p", "pp", "ch", "sec", "art", "al", "ed", "mar", "jan",
    "feb", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
))      # fmt: skip


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence, without the space around it; together they cover all that is not space.

    A sentence ends after 。！？；…, with the quotes and brackets that close it, at a line's end, and after . ! ? unless
    that belongs to a number, an address, an abbreviation or an initial.

    >>> text = '他说：“走吧。”然后Dr. Li出了门, 花了3.5元.'
    >>> [text[start:end] for start, end in sentences(text)]
    ['他说：“走吧。”', '然后Dr. Li出了门, 花了3.5元.']
    """
    spans: list[tuple[int, int]] = []
    begin = counted = 0
    n_quotes = 0      # straight quotes in this line so far: after an odd number the next one closes
    for match in _END.finditer(text):
        end = match.end()
        first = text[match.start()]
        if first == "\n":
            counted, n_quotes = end, 0
        elif first == "." and not _ends_sentence(text, match.start(), end):
            continue
        if text[end : end + 1] == '"':
            n_quotes += text.count('"', counted, end)
            counted = end
            if n_quotes % 2:
                end += 1
        _add(spans, text, begin, end)
        begin = end
    _add(spans, text, begin, len(text))
    return spans


def _add(spans: list[tuple[int, int]], text: str, begin: int, end: int) -> None:
    piece = text[begin:end]
    bare = piece.lstrip()
    if bare:
        spans.append((end - len(bare), end - len(bare) + len(bare.rstrip())))


def _ends_sentence(text: str, dot: int, end: int) -> bool:
    """Whether the full stop at dot, whose closers end at end, ends a sentence."""
    after = text[end : end + 80].lstrip()[:1]
    if not after:
        return True
    if after.islower() and after.isascii():
        return False
    word = _word_before(text, dot)
    if text[end : end + 1] == after:      # Han follows at once: 1.总则 is a number, NLP.我 is not
        return not word[-1:].isdigit()
    if not word:
        return True
    if len(word) == 1 and word.isalpha() and word.isascii():
        return word == "I"      # J. K. Rowling
    if word.isdigit():
        line = text[max(0, dot - 12) : dot].rpartition("\n")[2]
        return line.strip() != word      # 1. Introduction
    low = word.lower()
    return not (low in _NEVER or (low in _BEFORE_NUMBER and after.isdigit()))


def _word_before(text: str, dot: int) -> str:
    found = _WORD_BEFORE.search(text[max(0, dot - 20) : dot])
    return found.group() if found else ""
