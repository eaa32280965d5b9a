"""Passages into a context of bounded size: the sentences that are worth most, where they stand in their documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log

from qianru.errors import BadInput
from qianru.text.analyze import SEARCH, Analyzer
from qianru.text.normalize import fold
from qianru.text.sentences import sentences
from qianru.text.stopwords import stop_words

Count = Callable[[str], int]
"""How many tokens a text has."""

# Chosen on a third of DRCD's questions, with BM25 and LSA; the optimum is flat.
PLACE, FALL = 1.0, 2.0       # a passage's place counts PLACE x FALL / (FALL + places before it), best words count 1
LENT = 0.2                   # of a sentence's words to its neighbours: an answer stands beside its heading or question
K1, B = 1.2, 0.3             # Robertson's, over sentences
FEWEST = 50                  # passages that rarity is counted over at least: of two it would tell nothing
ALIKE = 0.9                  # Jaccard of pairs of characters, from which on two sentences say the same
GAP = " … "
_SPOKEN = re.compile(r"\w")
_NUMERALS = re.compile("[0-9零〇一二两三四五六七八九十百千万]")      # who differs in one says something else


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that a search found.

    document, number: which passage of which document; those with following numbers are neighbours
    line: of the file, where the text begins;  runs_on: whether the lines after it are the file's next ones
    """

    text: str
    document: str
    number: int = 0
    line: int | None = None
    heading: str = ""
    runs_on: bool = True


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a stretch: stretch.text[start:end].

    worth: by words and place;  words: the share of the query's words that it holds, weighted by how rare they are
    line: of the file, where the sentence begins
    """

    start: int
    end: int
    worth: float
    words: float
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sentences of one document in their order; "…" stands where some are left out.

    line: of the first;  place: of the best passage in it among those found, from 0;  found: that passage
    """

    text: str
    line: int | None
    place: int
    found: Found
    sentences: tuple[Sentence, ...]


@dataclass(slots=True)
class _Unit:
    """A sentence on its way: where it stands, after what space, what it costs and is worth."""

    found: Found
    place: int
    start: int
    end: int
    order: int = 0
    cost: int = 0
    worth: float = 0.0
    words: float = 0.0

    @property
    def text(self) -> str:
        return self.found.text[self.start : self.end]

    @property
    def line(self) -> int | None:
        line = self.found.line
        if line is None or not self.found.runs_on:
            return line
        return line + self.found.text.count("\n", 0, self.start)


def pack(
    query: str, found: Sequence[Found], budget: int, *, count: Count, analyzer: Analyzer = SEARCH
) -> list[Stretch]:
    """Stretches of the passages' documents, best first, whose texts have at most `budget` tokens together.

    Passages are cut into sentences. A sentence is worth what its words tell of the query and what the place of its
    passage does; the most worthy are taken until the budget is full. What neighbouring passages share counts once, what
    says the same as a sentence that is taken is left out, and neighbours become one stretch. Nothing where no sentence
    fits.
    found: best first;  count: of a text's tokens

    >>> found = [Found("运费自理。七天内可以退货。", "说明", 1), Found("七天内可以退货。发票随货。", "说明", 2)]
    >>> [stretch.text for stretch in pack("几天内可以退货", found, 14, count=len)]
    ['运费自理。七天内可以退货。']
    """
    return next(pack_each(query, found, [budget], count=count, analyzer=analyzer))


def pack_each(
    query: str, found: Sequence[Found], budgets: Iterable[int], *, count: Count, analyzer: Analyzer = SEARCH
) -> Iterator[list[Stretch]]:
    """As pack, for several budgets: the sentences are judged once."""
    units = _units(found)
    for unit in units:
        unit.cost = count(unit.text)
    _judge(query, units, len(found), analyzer)
    for budget in budgets:
        if budget < 1:
            raise BadInput(f"A context has room for at least one token, not {budget}.")
        yield _packed(units, budget, count)


def _packed(units: Sequence[_Unit], budget: int, count: Count) -> list[Stretch]:
    chosen = _chosen(units, budget)
    while chosen:
        stretches = [_stretch(run) for run in _runs(chosen)]
        if sum(count(stretch.text) for stretch in stretches) <= budget:
            return sorted(stretches, key=lambda stretch: -max(one.worth for one in stretch.sentences))
        chosen.pop()
    return []


def whole(found: Sequence[Found], budget: int, *, count: Count, cut: bool = False) -> list[Stretch]:
    """What is packed usually: whole passages, best first, until the next has no room; cut: a part of that one too."""
    stretches: list[Stretch] = []
    for place, one in enumerate(found):
        cost = count(one.text)
        text = one.text
        if cost > budget:
            if not cut:
                break
            text = _fitting(text, budget, count)
        if text:
            stretches.append(Stretch(text, one.line, place, one, (Sentence(0, len(text), 0.0, 0.0),)))
        budget -= cost
        if budget <= 0:
            break
    return stretches


def _units(found: Sequence[Found]) -> list[_Unit]:
    """Every sentence once, in the order of documents, passages and texts."""
    named: dict[str, int] = {}
    rows = [(named.setdefault(one.document, len(named)), one.number, place, one) for place, one in enumerate(found)]
    units: list[_Unit] = []
    order, last = 0, (-1, 0)
    before: list[str] = []
    for document, number, place, one in sorted(rows, key=lambda row: row[:3]):
        own = [_Unit(one, place, start, end) for start, end in sentences(one.text)]
        texts = [unit.text for unit in own]
        near = document == last[0] and number - last[1] <= 1
        shared = _shared(before, texts) if near else 0
        for unit, again in zip(units[len(units) - shared :], own[:shared], strict=True):
            unit.place = min(unit.place, again.place)
        order += 0 if near else 2          # a gap that nothing joins
        for unit in own[shared:]:
            unit.order = order
            order += 1
            units.append(unit)
        last, before = (document, number), texts
    return units


def _shared(before: Sequence[str], after: Sequence[str]) -> int:
    """How many sentences at the end of the one passage begin the other."""
    return next((n for n in range(min(len(before), len(after)), 0, -1) if before[-n:] == after[:n]), 0)


def _judge(query: str, units: Sequence[_Unit], n_found: int, analyzer: Analyzer) -> None:
    """Says what each sentence is worth. How rare a word is, is counted over the passages."""
    asked = list(dict.fromkeys(analyzer.tokens(query)))
    common = stop_words("zh") | stop_words("en")
    said = [word for word in asked if word not in common] or asked
    wanted = set(asked)
    shared = [Counter(word for word in analyzer.tokens(unit.text) if word in wanted) for unit in units]
    n_found = max(n_found, FEWEST)
    holding = Counter(word for word, _ in {(word, id(unit.found)) for unit, counts in zip(units, shared, strict=True)
                                           for word in counts})
    rare = {word: log(1 + (n_found - holding[word] + 0.5) / (holding[word] + 0.5)) for word in asked}
    in_all = sum(rare[word] for word in said) or 1.0
    mean = sum(len(unit.text) for unit in units) / max(len(units), 1)
    told: list[float] = []
    for unit, counts in zip(units, shared, strict=True):
        unit.words = sum(rare[word] for word in said if word in counts) / in_all
        damped = K1 * (1 - B + B * len(unit.text) / mean)
        told.append(sum(rare[word] * n * (K1 + 1) / (n + damped) for word, n in counts.items()))
    best = max(told, default=0.0) or 1.0
    for i, unit in enumerate(units):
        beside = [told[j] for j in (i - 1, i + 1) if 0 <= j < len(units) and abs(units[j].order - unit.order) == 1]
        unit.worth = (told[i] + LENT * sum(beside)) / best + PLACE * FALL / (FALL + unit.place)


def _chosen(units: Sequence[_Unit], budget: int) -> list[_Unit]:
    """The most worthy that fit, in that order, none that says what another one does."""
    chosen: list[_Unit] = []
    said: list[tuple[str, frozenset[str]]] = []
    for unit in sorted(units, key=lambda unit: -unit.worth):
        if unit.cost > budget:
            continue
        pairs, numbers = letter_pairs(unit.text), "".join(_NUMERALS.findall(unit.text))
        if pairs and any(numbers == others and _alike(pairs, other) for others, other in said):
            continue
        chosen.append(unit)
        said.append((numbers, pairs))
        budget -= unit.cost
    return chosen


def letter_pairs(text: str) -> frozenset[str]:
    """The pairs of letters of a text, whatever case, width, script and punctuation.

    >>> sorted(letter_pairs("退貨，OK"))
    ['ok', '货o', '退货']
    """
    plain = "".join(_SPOKEN.findall(fold(text, width=True, script=True).lower()))
    return frozenset(plain[i : i + 2] for i in range(max(len(plain) - 1, 1)) if plain)


def _alike(pairs: frozenset[str], other: frozenset[str]) -> bool:
    if min(len(pairs), len(other)) < ALIKE * max(len(pairs), len(other)):
        return False
    return len(pairs & other) >= ALIKE * len(pairs | other)


def _runs(chosen: Sequence[_Unit]) -> Iterator[list[_Unit]]:
    """The sentences of one document and of neighbouring passages, in their order."""
    run: list[_Unit] = []
    for unit in sorted(chosen, key=lambda unit: unit.order):
        if run and not _together(run[-1], unit):
            yield run
            run = []
        run.append(unit)
    if run:
        yield run


def _together(left: _Unit, right: _Unit) -> bool:
    same = left.found.document == right.found.document
    return same and right.found.number - left.found.number <= 1


def _stretch(run: Sequence[_Unit]) -> Stretch:
    text, placed = "", list[Sentence]()
    for i, unit in enumerate(run):
        text += _joint(run[i - 1], unit) if i else ""
        placed.append(Sentence(len(text), len(text) + len(unit.text), unit.worth, unit.words, unit.line))
        text += unit.text
    best = min(run, key=lambda unit: unit.place)
    return Stretch(text, run[0].line, best.place, best.found, tuple(placed))


def _joint(left: _Unit, right: _Unit) -> str:
    if right.order - left.order > 1:
        return GAP
    if left.found is right.found:
        return left.found.text[left.end : right.start]
    return "\n"


def _fitting(text: str, budget: int, count: Count) -> str:
    """The longest beginning of at most so many tokens, found by halving."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle]) <= budget else (low, middle - 1)
    return text[:low]
