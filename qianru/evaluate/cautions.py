"""What to know before believing a score: texts that were cut, a prompt that was forgotten, too few items."""

from __future__ import annotations

from collections.abc import Sequence

from qianru.evaluate.result import Result
from qianru.evaluate.task import ASYMMETRIC
from qianru.models.catalogue import known

CUT_FROM = 0.01         # share of the texts that were too long
FEW_ITEMS = 100


def cautions(results: Sequence[Result]) -> list[str]:
    """A line for each thing that a reader of these results should know."""
    told: list[str] = []
    for result in results:
        told += [f"{result.model} on {result.task}: {line}" for line in _of_one(result)]
    return told


def _of_one(result: Result) -> list[str]:
    told = []
    if result.n_texts and (share := result.n_truncated / result.n_texts) >= CUT_FROM:
        told.append(f"{share:.0%} of the texts were too long and were cut; a model with a longer window may do better")
    card = known(result.model)
    if card is not None and result.task_type in ASYMMETRIC and "query" not in result.prompts:
        if card.query:
            told.append(f"queries had no prompt, and the model was trained with {card.query!r}; a forgotten prompt can "
                        "cost many points")
        elif card.instruction:
            told.append("queries had no instruction, and the model was trained with one; give the task a prompt")
    if 1 < len(result.per_item) < FEW_ITEMS and result.task_type not in ("Clustering",):
        told.append(f"{len(result.per_item)} items alone; look at the interval")
    return told
