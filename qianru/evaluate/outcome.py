"""What a type of task hands back, before it becomes a Result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores by mteb's names, and the rest as Result has it."""

    scores: Mapping[str, float]
    per_item: Mapping[str, float]
    gold: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    repeats: tuple[Mapping[str, float], ...] = ()
    similarities: Mapping[str, float] = field(default_factory=dict)
