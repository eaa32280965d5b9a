"""Follow-up questions made to stand alone, so that a search finds what they are about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qianru.errors import BadInput
from qianru.text.analyze import Analyzer
from qianru.text.stopwords import stop_words
from qianru.use.ask.chat import Chat, Message
from qianru.use.ask.citations import without_citations
from qianru.use.ask.prompts import Prompts

LONGEST = 300           # characters; a rewritten question is no essay
FEW_WORDS = 2           # a question with as many words of content hangs on what was said before
TURNS_TOLD = 6          # messages before a question that a model is shown
CHARS_TOLD = 2000       # of each of them
_WORDS = Analyzer()
_POINTING = re.compile(
    r"[它牠祂]|[他她](?!人)|[该該此](?=[^外时時]|$)|[这這那](?!么做|麼做)|其(?!他|它|实|實|中)|前者|后者|後者|上述|呢[？?]?$"
    r"|\b(?:it|its|they|them|their|he|him|his|she|her|this|that|these|those|former|latter|what about|how about)\b",
    re.IGNORECASE,
)


def as_history(given: Iterable[Message | Mapping[str, Any]]) -> list[Message]:
    """The conversation so far, of messages or of mappings {"role": …, "content": …}. Raises BadInput for others."""
    history: list[Message] = []
    for said in given:
        role, content = (said.get("role"), said.get("content")) if isinstance(said, Mapping) else (said[0], said[1])
        if role not in ("user", "assistant") or not isinstance(content, str):
            raise BadInput("A conversation is of messages with a role (user or assistant) and a text, not "
                           f"{said!r:.80}.")
        history.append(Message("user" if role == "user" else "assistant", content))
    return history


def stands_alone(question: str) -> bool:
    """Whether a question says what it is about: it points at nothing said before, and has enough words of its own.

    >>> stands_alone("电子发票什么时候发送？"), stands_alone("那它什么时候发送？"), stands_alone("为什么？")
    (True, False, False)
    """
    return not _POINTING.search(question) and len(_content(question)) > FEW_WORDS


def with_words_before(question: str, history: Sequence[Message]) -> str:
    """The question, and where it does not stand alone the words of content of the question before it as well.

    >>> with_words_before("那运费呢？", [Message("user", "商品坏了怎么退款？"), Message("assistant", "……")])
    '那运费呢？ 商品 坏 退款'
    """
    before = next((said.content for said in reversed(history) if said.role == "user"), "")
    if not before or stands_alone(question):
        return question
    own = set(_content(question))
    return " ".join([question, *(word for word in _content(before) if word not in own)])


def rewritten(chat: Chat, prompts: Prompts, question: str, history: Sequence[Message]) -> str:
    """The question as a chat model makes it stand alone; the question itself where that gives nothing of use.

    Raises ServerFailed.
    """
    told = "\n".join(f"{said.role}: {said.content}" for said in told_history(history))
    answer = chat.complete([Message("user", prompts.filled("standalone", conversation=told, question=question))])
    line = next((line.strip() for line in answer.splitlines() if line.strip()), "")
    return line if 0 < len(line) <= LONGEST else question


def told_history(history: Sequence[Message]) -> list[Message]:
    """The last messages, without citations, whose numbers mean other passages now, and not at any length."""
    return [Message(said.role, without_citations(said.content)[:CHARS_TOLD]) for said in history[-TURNS_TOLD:]]


def _content(question: str) -> list[str]:
    """Its words but those that say little, each once."""
    common = stop_words("zh") | stop_words("en")
    return list(dict.fromkeys(word for word in _WORDS.tokens(question) if word not in common))
