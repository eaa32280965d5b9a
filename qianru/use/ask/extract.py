"""An answer without a chat model: the sentences that fit the question best, each with its citation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qianru.text.context import Stretch

MOST = 3               # sentences
SHARE = 0.7            # of the best one's score that each must have
# Of 400 questions of DRCD and as many of CMRC put to DRCD's documents, which cannot answer them: 97 % of the ones have
# an answer by this limit, 82 % of the others have none.
LEAST_WORDS = 0.35     # of the question's words, by their rarity, that the best sentence must hold
PLACE, FALL = 0.3, 2.0       # as in qianru.text.context, beside words that count 1 together
INHERITED = 0.7        # of what a heading or question fits, by the sentence after it
_HEADING = re.compile(r"\s*#{1,6}\s")
_PICTURE = re.compile(r"!?\[[^\]]*\]\([^)]*\)")
_SPOKEN = re.compile(r"\w")


class Extract(NamedTuple):
    """A sentence, the number of the passage that it stands in, from 1, and its line in the file."""

    number: int
    text: str
    line: int | None


def best_sentences(stretches: Sequence[Stretch]) -> list[Extract]:
    """At most MOST sentences, best first; none where no sentence holds enough of the question's words.

    Headings, questions and pictures are no answers, but what follows a heading or a question that fits may be one.
    """
    scored = [row for number, stretch in enumerate(stretches, 1) for row in _scored(number, stretch)]
    if max((one.words for stretch in stretches for one in stretch.sentences), default=0.0) < LEAST_WORDS or not scored:
        return []
    scored.sort(key=lambda row: -row[0])
    return [extract for score, extract in scored[:MOST] if score >= SHARE * scored[0][0]]


def _scored(number: int, stretch: Stretch) -> Iterator[tuple[float, Extract]]:
    before = 0.0
    for one in stretch.sentences:
        text = stretch.text[one.start : one.end]
        if _leads_on(text, stretch):
            before = one.words
        elif says_something(text, stretch):
            words = max(one.words, INHERITED * before)
            yield words + PLACE * FALL / (FALL + stretch.place), Extract(number, " ".join(text.split()), one.line)
            before = 0.0


def _leads_on(text: str, stretch: Stretch) -> bool:
    """Whether it is a heading or a question, which what follows may answer."""
    plain = text.strip(" #\t")
    heading = _HEADING.match(text) or plain in stretch.found.heading.split(" > ")
    return bool(heading) or plain.endswith(("？", "?", "：", ":"))


def says_something(text: str, stretch: Stretch) -> bool:
    """Whether a sentence of the stretch is one, and no heading, question, picture or scrap."""
    return not _leads_on(text, stretch) and len(_SPOKEN.findall(_PICTURE.sub("", text))) > 3
