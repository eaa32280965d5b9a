"""An answer without a chat model: the sentences that fit the question best, each with its citation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qianru.text.context import Sentence, Stretch

MOST = 3               # sentences
SHARE = 0.6            # of the best one's worth that each must have
LEAST_WORDS = 0.25     # of the question's words, by their rarity, that the best one must hold
_HEADING = re.compile(r"\s*#{1,6}\s")
_SPOKEN = re.compile(r"\w")


class Extract(NamedTuple):
    """A sentence and the number of the passage that it stands in, from 1."""

    number: int
    text: str


def best_sentences(stretches: Sequence[Stretch]) -> list[Extract]:
    """At most MOST sentences, best first; none where no sentence holds enough of the question's words.

    Headings and questions are no answers; what stands beside one that fits is (its neighbours lend it their worth).
    """
    told = list(_sentences(stretches))
    if max((one.words for _, _, one in told), default=0.0) < LEAST_WORDS:
        return []
    able = [row for row in told if _may_answer(row[1], stretches[row[0] - 1])]
    able.sort(key=lambda row: -row[2].worth)
    least = SHARE * able[0][2].worth if able else 0.0
    return [Extract(number, text) for number, text, one in able[:MOST] if one.worth >= least]


def _sentences(stretches: Sequence[Stretch]) -> Iterator[tuple[int, str, Sentence]]:
    for number, stretch in enumerate(stretches, 1):
        for one in stretch.sentences:
            yield number, stretch.text[one.start : one.end], one


def _may_answer(text: str, stretch: Stretch) -> bool:
    plain = text.strip(" #\t")
    if _HEADING.match(text) or plain in stretch.found.heading.split(" > "):
        return False
    return not plain.endswith(("？", "?")) and len(_SPOKEN.findall(plain)) > 1
