"""Citations in an answer, found while it streams in: those that no passage stands behind are marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from unicodedata import normalize

from qianru.text.context import Stretch, letter_pairs
from qianru.text.sentences import sentences

LONGEST = 40           # characters between the brackets
WIDEST = 20            # numbers of a range; a wider one is nobody's reading list
_BRACKETS = re.compile(rf"[\[【［]([^\[\]【】［］\n]{{1,{LONGEST}}})[\]】］]")
_OPEN = re.compile(rf"[\[【［][^\[\]【】［］\n]{{0,{LONGEST}}}\Z")
_BESIDE = re.compile(r"\^|passages?|sources?|citations?|[来來]源|段落|[资資]料|文[献獻]|引用|第|[号號]|†.*|\?",
                     re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)(?:\s*[-–—~至到]\s*(\d+))?")
_NUMBERS = re.compile(rf"{_NUMBER.pattern}(?:(?:\s*[,、;]\s*|\s+){_NUMBER.pattern})*")


@dataclass(frozen=True, slots=True)
class Citation:
    """A citation in an answer: answer[start:end] == "[2]", or "[7?]" where there is no passage 7.

    line: of the passage's file, where the sentence begins that says most of what is cited; None where it is not known
    """

    number: int
    start: int
    end: int
    resolved: bool
    line: int | None = None


@dataclass(slots=True)
class Marker:
    """Passes an answer on, with all citations in one form: [1], [1][2] for [1,2] and 【1-2】, and [7?] if invented.

    What may still become a citation is held back, so that none is torn, however the pieces are cut.

    >>> marker = Marker(n_passages=3)
    >>> marker.feed("七天内【1"), marker.feed("，3】可退，运费自理[9]。"), marker.close()
    ('七天内', '[1][3]可退，运费自理[9?]。', '')
    >>> [(cited.number, cited.resolved) for cited in marker.citations]
    [(1, True), (3, True), (9, False)]
    """

    n_passages: int
    citations: list[Citation] = field(default_factory=list)
    _held: str = ""
    _n_told: int = 0

    def feed(self, text: str) -> str:
        """What can be passed on now that this has come."""
        held = self._held + text
        open_end = _OPEN.search(held)
        safe = len(held) if open_end is None else open_end.start()
        self._held = held[safe:]
        return self._told(held[:safe])

    def quote(self, text: str) -> str:
        """The text as it is, whatever stands in brackets there: for what is not the model's own words."""
        return self.close() + self._pass(text)

    def close(self) -> str:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return self._told(held)

    def _told(self, text: str) -> str:
        parts: list[str] = []
        done = 0
        for found in _BRACKETS.finditer(text):
            numbers = cited_numbers(found[1])
            if numbers:
                parts.append(self._pass(text[done : found.start()]))
                parts += [self._cite(number) for number in numbers]
                done = found.end()
        return "".join([*parts, self._pass(text[done:])])

    def _cite(self, number: int) -> str:
        resolved = 1 <= number <= self.n_passages
        start = self._n_told
        said = self._pass(f"[{number}]" if resolved else f"[{number}?]")
        self.citations.append(Citation(number, start, self._n_told, resolved))
        return said

    def _pass(self, text: str) -> str:
        self._n_told += len(text)
        return text


def cited_numbers(inside: str) -> list[int]:
    """The numbers that stand between a citation's brackets; none if something else stands there.

    >>> cited_numbers("１，3-5"), cited_numbers("来源 2"), cited_numbers("3†说明"), cited_numbers("注")
    ([1, 3, 4, 5], [2], [3], [])
    """
    plain = _BESIDE.sub(" ", normalize("NFKC", inside)).strip()
    if not _NUMBERS.fullmatch(plain):
        return []
    numbers: list[int] = []
    for first, last in _NUMBER.findall(plain):
        low, high = int(first), int(last or first)
        numbers += range(low, high + 1) if low <= high < low + WIDEST else [low, high]
    return list(dict.fromkeys(numbers))


def without_citations(answer: str) -> str:
    """The answer without its citations, whose numbers mean nothing beside other passages.

    >>> without_citations("七天内可退[1][2]，运费自理[9?]。")
    '七天内可退，运费自理。'
    """
    return _BRACKETS.sub(lambda found: "" if cited_numbers(found[1]) else found[0], answer)


def with_lines(citations: Sequence[Citation], answer: str, stretches: Sequence[Stretch]) -> tuple[Citation, ...]:
    """The citations with the line that each of them most likely means.

    The sentence before a citation is what it stands for; of the passage, the sentence is meant that shares the most
    pairs of letters with that.
    """
    placed: list[Citation] = []
    end, claim = 0, frozenset[str]()
    for cited in citations:
        before = answer[end : cited.start]
        if spans := sentences(before):       # not right behind another citation: something new is said
            claim = letter_pairs(before[spans[-1][0] :])
        end = cited.end
        line = None
        if cited.resolved:
            stretch = stretches[cited.number - 1]
            told = [len(claim & letter_pairs(stretch.text[one.start : one.end])) for one in stretch.sentences]
            line = stretch.sentences[told.index(max(told))].line
        placed.append(replace(cited, line=line))
    return tuple(placed)
