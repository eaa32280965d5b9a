"""Chinese words by jieba's dictionary and hidden Markov model, through its Rust form, with offsets and user words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from qianru.errors import BadFile, BadInput
from qianru.text.normalize import clean
from qianru.text.wordlist import listed_words

LONGEST = 100_000     # characters given to jieba at a time: it lists every word of what it is given
_RARE = r"\u3400-\u4dbf\u9fa6-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"     # Han characters that the model never saw
_HAS_RARE = re.compile(f"[{_RARE}]")
_GLUED = re.compile(f"[-._+#&%{_RARE}](?:(?=[A-Za-z0-9])|(?<=[A-Za-z0-9].)|(?<=[{_RARE}]))")
_PART = re.compile(rf"[{_RARE}]|[^\W_{_RARE}]+(?:\.[0-9]+)?%?")     # how jieba cuts what its dictionary does not hold
_USER_WORD = re.compile(r"(\S+)(?:\s+([0-9]+))?(?:\s+([a-z]+[0-9]*))?")
_LARGEST = 10**9      # frequencies are added up in 64 bits, but a sum of them should not get near
_ENDS = "\n。！？；!?;，,、 "

Span = tuple[str, int, int]
"""A word with its start and end in the text."""


class Segmenter:
    """Cuts text into words as jieba does; what holds no letter, digit or Han character is left out.

    user_words: lines of a jieba user dictionary: "word", "word frequency" or "word frequency tag"
    Raises BadInput for a line that is none of these.
    """

    def __init__(self, user_words: tuple[str, ...] = ()) -> None:
        parsed = [parse_user_word(line) for line in user_words]
        from rjieba import Jieba

        self._jieba = Jieba()
        for word, frequency, tag in parsed:
            self._jieba.add_word(word, frequency, tag)
        self._plain = all(word.isalnum() for word, _, _ in parsed)

    def words(self, text: str, *, search: bool = False, hmm: bool = True) -> list[str]:
        """The words in order.

        search: also the shorter words inside a long one, before it, as jieba's cut_for_search
        hmm: guess words that are not in the dictionary

        >>> segmenter().words("小明硕士毕业于中国科学院计算所", search=True)
        ['小明', '硕士', '毕业', '于', '中国', '科学', '学院', '科学院', '中国科学院', '计算', '计算所']
        """
        try:
            if len(text) <= LONGEST:
                return self._cut(text, search, hmm)
            return [word for start, end in _pieces(text) for word in self._cut(text[start:end], search, hmm)]
        except UnicodeEncodeError:      # a lone surrogate
            return self.words(clean(text), search=search, hmm=hmm)

    def spans(self, text: str, *, search: bool = False, hmm: bool = True) -> list[Span]:
        """The same words as of `words`, each with its start and end in the text.

        >>> segmenter().spans("😀我喜欢BGE-M3。")
        [('我', 1, 2), ('喜欢', 2, 4), ('BGE', 4, 7), ('M3', 8, 10)]
        """
        found: list[Span] = []
        try:
            if self._plain and len(text) <= LONGEST and not _GLUED.search(text):    # most texts, at 3 times the speed
                cut = self._jieba.tokenize(text, "search" if search else "default", hmm)
                return [span for span in cut if span[0].isalnum()]
            for start, end in _pieces(text):
                found += [(word, start + a, start + b) for word, a, b in self._placed(text[start:end], search, hmm)]
        except UnicodeEncodeError:
            return self.spans(clean(text), search=search, hmm=hmm)
        return found

    def _cut(self, piece: str, search: bool, hmm: bool) -> list[str]:
        if _GLUED.search(piece) or not self._plain:
            return [word for word, _, _ in self._placed(piece, search, hmm)]
        cut = self._jieba.cut_for_search if search else self._jieba.cut
        return list(filter(str.isalnum, cut(piece, hmm)))      # most texts, at twice the speed

    def _placed(self, piece: str, search: bool, hmm: bool) -> list[Span]:
        """The words of one piece; rjieba leaves BGE-M3, 3.5mm and 𠀀𠀁 whole, jieba cuts them, so they are cut here."""
        found: list[Span] = []
        for word, start, end in self._jieba.tokenize(piece, "search" if search else "default", hmm):
            rare = _HAS_RARE.search(word)
            if (word.isalnum() and not rare) or self._jieba.has_word(word):
                found.append((word, start, end))
                continue
            parts = [(part[0], start + part.start(), start + part.end()) for part in _PART.finditer(word)]
            if len(parts) > 1 and search and not rare:
                while found and found[-1][1] >= start:      # rjieba's own parts, which lack single letters
                    found.pop()
                parts.append((word, start, end))
            found += parts
        return found


@lru_cache(maxsize=8)
def segmenter(user_words: tuple[str, ...] = ()) -> Segmenter:
    """The segmenter with these user words, made once: reading the dictionary takes 60 ms."""
    return Segmenter(user_words)


def read_user_words(path: Path) -> tuple[str, ...]:
    """The lines of a user dictionary in jieba's format: "word", "word frequency" or "word frequency tag", in UTF-8.

    Raises BadFile, naming file and line.
    """
    found: list[str] = []
    for number, line in listed_words(path, "user dictionary"):
        try:
            parse_user_word(line)
        except BadInput as error:
            raise BadFile(f"{path}, line {number}: {error}") from None
        found.append(line)
    return tuple(found)


def parse_user_word(line: str) -> tuple[str, int | None, str | None]:
    """(word, frequency, tag) of a line of a user dictionary; without a frequency it is made large enough to win.

    Raises BadInput if the line is not of that form.

    >>> parse_user_word("云计算 5"), parse_user_word("石墨烯 nz")
    (('云计算', 5, None), ('石墨烯', None, 'nz'))
    """
    found = _USER_WORD.fullmatch(line.strip())
    if found is None:
        raise BadInput(f"'{line}' is no line of a user dictionary: a word, then if need be a frequency and a tag.")
    word, frequency, tag = found.groups()
    if frequency is not None and int(frequency) > _LARGEST:
        raise BadInput(f"The frequency {frequency} of '{word}' is too large; at most {_LARGEST}.")
    return word, None if frequency is None else int(frequency), tag


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of parts of at most LONGEST characters, cut behind punctuation if there is any."""
    start = 0
    while len(text) - start > LONGEST:
        end = max(text.rfind(mark, start, start + LONGEST) for mark in _ENDS) + 1
        end = end if end > start else start + LONGEST
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)
