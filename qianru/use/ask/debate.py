"""For and against a motion: the passages of a collection that support it and those that oppose it.

A chat model judges each passage; without one it is told by words that sound of support or opposition, which finds
passages worth reading but does not understand them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Literal, TypeAlias

from qianru.errors import ServerFailed
from qianru.use.ask.chat import Chat, Message
from qianru.use.ask.events import Passage
from qianru.use.ask.extract import LEAST_WORDS, says_something
from qianru.use.ask.knowledge import KnowledgeBase, Packed, framed, tag_for
from qianru.use.ask.prompts import Language, Prompts, language_of

Side: TypeAlias = Literal["support", "oppose", "neither"]
N_CUES = 8             # words of each side that are searched for beside the motion
NEAR = 6               # characters before a word within which a negation turns it round
_JUDGED = re.compile(r"^\W*(\d+)\W{0,4}\s*(支持|反[对對]|[无無][关關]|support|oppose|neither)",
                     re.IGNORECASE | re.MULTILINE)
_SIDES: Mapping[str, Side] = {"支": "support", "s": "support", "反": "oppose", "o": "oppose"}      # by the first letter


@dataclass(frozen=True, slots=True)
class Debate:
    """Passages on both sides, best first, under numbers of their own.

    by: "chat" where a model has judged them, "words" where it was told by their words alone
    """

    motion: str
    support: tuple[Passage, ...]
    oppose: tuple[Passage, ...]
    by: Literal["chat", "words"]


def debate(base: KnowledgeBase, motion: str) -> Debate:
    """What the collection says for and against a motion.

    It is searched for alone, and with words of either side. Passages that take no side are left out.
    Raises ServerFailed where the chat model fails or does not judge.
    """
    cues = _cues(language_of(motion))
    packed = base.packed(motion, *(" ".join([motion, *cues[side][:N_CUES]]) for side in ("support", "oppose")))
    passages: Sequence[Passage] = packed.passages
    if base.chat is None:
        passages = list(_single(packed))
        sides = [side_by_words(motion, one.text) for one in passages]
    else:
        sides = judged(base.chat, base.prompts(motion), motion, passages) if passages else []
    told = list(zip(passages, sides, strict=True))
    return Debate(motion, tuple(one for one, side in told if side == "support"),
                  tuple(one for one, side in told if side == "oppose"), "words" if base.chat is None else "chat")


def _single(packed: Packed) -> Iterator[Passage]:
    """Each sentence that is about the motion as a passage of its own: words are no measure of a whole stretch."""
    number = 0
    for stretch, passage in zip(packed.stretches, packed.passages, strict=True):
        for one in stretch.sentences:
            text = stretch.text[one.start : one.end]
            if one.words >= LEAST_WORDS and says_something(text, stretch):
                number += 1
                yield replace(passage, number=number, text=text, line=one.line)


def judged(chat: Chat, prompts: Prompts, motion: str, passages: Sequence[Passage]) -> list[Side]:
    """The side of each passage as a chat model sees it; "neither" for those that it passes over.

    Raises ServerFailed if it judges none.
    """
    tag = tag_for(passages)
    asked = prompts.filled("debate", passages=framed(passages, tag), tag=tag, motion=motion)
    answer = chat.complete([Message("user", asked)])
    sides = {int(number): _SIDES.get(word[0].lower(), "neither") for number, word in _JUDGED.findall(answer)}
    if not sides:
        raise ServerFailed(f"{chat.model} was asked which side each passage takes, and answers '{answer[:80]}'. Try "
                           "another model, or leave it out to go by words.")
    return [sides.get(one.number, "neither") for one in passages]


def side_by_words(motion: str, text: str) -> Side:
    """The side that a text takes by its words, turned round by a negation before them or in the motion.

    >>> side_by_words("应该早睡", "早睡有益健康。"), side_by_words("应该早睡", "早睡未必有益，也有风险。")
    ('support', 'oppose')
    >>> side_by_words("不应该早睡", "早睡有益健康。"), side_by_words("应该早睡", "他九点睡。")
    ('oppose', 'neither')
    """
    cues = _cues(language_of(motion))
    leaning = _leaning(text.lower(), cues) * (-1 if _leaning(motion.lower(), cues) < 0 else 1)
    return "support" if leaning > 0 else "oppose" if leaning < 0 else "neither"


def _leaning(text: str, cues: Mapping[str, Sequence[str]]) -> int:
    """How many words of support it has more than of opposition."""
    leaning = 0
    for found in _pattern(tuple(cues["support"]), tuple(cues["oppose"])).finditer(text):
        before = text[max(0, found.start() - NEAR) : found.start()]
        turned = -1 if any(word in before for word in cues["negation"]) else 1
        leaning += turned * (1 if found[0] in cues["support"] else -1)
    return leaning


@cache
def _pattern(support: tuple[str, ...], oppose: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, the longer before those inside of them."""
    return re.compile("|".join(re.escape(word) for word in sorted({*support, *oppose}, key=len, reverse=True)))


@cache
def _cues(language: Language) -> Mapping[str, Sequence[str]]:
    told = tomllib.loads((files("qianru") / "data" / "stance.toml").read_text(encoding="utf-8"))
    return dict(told[language])
