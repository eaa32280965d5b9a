"""Where sentences end, in Chinese and English."""

from __future__ import annotations

import re

_CLOSERS = "”’」』）】》〉〕〗］｝｣)\\]"
_STOPS = "。！？；…⋯｡"
_HAN = "\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef“‘\U00020000-\U0003ffff"
# Possessive repeats, and a look behind, keep a long run of full stops from being read again from each of its places.
_END = re.compile(
    rf"""
    (?: ( [{_STOPS}][{_STOPS}{_CLOSERS}!?]*+                                    # 。」  ？！  ……
        | ．(?!(?<=[0-9０-９]．)[0-9０-９])[．{_STOPS}{_CLOSERS}]*+               # a full stop in older files
        | (?<![.!?])[!?][.!?]*+[{_CLOSERS}"']*+(?=\s|\Z|[{_HAN}]) )
      | ( (?<![.!?])\.[.!?]*+[{_CLOSERS}"']*+(?=\s|\Z|[{_HAN}]) )              # ASCII, if a word does not go on
      | [\n\u2028\u2029]
    )\s*+
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*+")
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘{\u2e80-\uffff]*\Z")
# Never at a sentence's end, and only where no number follows.
_NEVER = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "mt", "ft", "gen", "sen", "rep", "gov", "capt", "lt", "col", "sgt",
    "rev", "hon", "messrs", "mmes", "vs", "e.g", "i.e", "cf", "viz", "ca", "approx", "eds", "fig", "figs", "eq", "eqs",
))      # fmt: skip
_BEFORE_NUMBER = frozenset((
    "no", "nos", "vol", "vols", "p", "pp", "ch", "sec", "art", "al", "ed", "mar", "jan", "feb", "apr", "jun", "jul",
    "aug", "sep", "sept", "oct", "nov", "dec",
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
    begin = after_space(text, 0)
    has_quotes = '"' in text
    counted = n_quotes = 0      # straight quotes in this line so far: after an odd number the next one closes
    for match in _END.finditer(text, begin):
        kind = match.lastindex
        after = match.end()
        if kind is None:
            end = begin + len(text[begin : match.start()].rstrip())
        else:
            end = match.end(kind)
            if kind == 2 and not _ends_sentence(text, match.start(), end):
                continue
            if has_quotes and text[end : end + 1] == '"':
                line = text.rfind("\n", counted, end)
                n_quotes = text.count('"', max(line, counted), end) + (n_quotes if line < 0 else 0)
                counted = end
                if n_quotes % 2:
                    end += 1
                    after = after_space(text, end)
        if end > begin:
            spans.append((begin, end))
        begin = after
    if begin < len(text):
        spans.append((begin, begin + len(text[begin:].rstrip())))
    return spans


def after_space(text: str, at: int) -> int:
    """Where the space that begins there ends."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _ends_sentence(text: str, dot: int, end: int) -> bool:
    """Whether the full stop at dot, whose closers end at end, ends a sentence."""
    at = after_space(text, end)
    after = text[at : at + 1]
    if not after or "\n" in text[end:at]:
        return True
    if after.islower():
        return False
    word = _word_before(text, dot)
    if at == end:      # Han follows at once: 1.总则 is a number, NLP.我 is not
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
