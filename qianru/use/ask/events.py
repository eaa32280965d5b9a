"""What an answer is made of, as it comes and as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from qianru.use.ask.citations import Citation


@dataclass(frozen=True, slots=True)
class Passage:
    """What was put before the model under a number; "…" stands where sentences are left out.

    id: of the best document in it;  source, line: the file and the line where it begins, else the id and None
    """

    number: int
    id: str
    text: str
    source: str
    line: int | None = None
    heading: str = ""

    @property
    def place(self) -> str:
        """Where it stands, as editors know it: file:line."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Passages:
    """The first event. query: what was searched for: the question, made to stand alone in a conversation."""

    passages: tuple[Passage, ...]
    query: str


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer; no citation is torn."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The last event.

    citations: all that the answer holds, by their places in it;  extractive: whether it is sentences of the documents,
        put together without a model;  answered: False where it says that the documents do not answer
    """

    citations: tuple[Citation, ...]
    extractive: bool
    answered: bool


Event: TypeAlias = Passages | Text | Done


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; what its parts are, Passages and Done say."""

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    extractive: bool
    answered: bool
    query: str
