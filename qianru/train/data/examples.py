"""What one row of training data says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Task: TypeAlias = Literal["ranked", "scored", "labelled", "plain"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A query, texts that answer it, texts that do not.

    scores: a teacher's, of the positives and then the negatives; None if there is none
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """Two texts and how alike they are, on any scale."""

    left: str
    right: str
    score: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its class: texts of one class are alike."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Plain:
    """A text."""

    text: str


Example: TypeAlias = Ranked | Scored | Labelled | Plain
EXAMPLES: dict[Task, type[Example]] = {"ranked": Ranked, "scored": Scored, "labelled": Labelled, "plain": Plain}


def n_chars(example: Example) -> int:
    """Of its query and first positive, of both texts, or of its text: what a batch of like length goes by."""
    if isinstance(example, Ranked):
        return len(example.query) + len(example.positives[0])
    if isinstance(example, Scored):
        return len(example.left) + len(example.right)
    return len(example.text)
