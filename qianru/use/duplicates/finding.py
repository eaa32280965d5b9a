"""Near-duplicates among texts in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qianru.errors import BadInput, ShapeMismatch
from qianru.models.base import as_texts
from qianru.types import FloatArray, Progress, Value
from qianru.use.duplicates.grouping import Duplicates, Keep, alike_as_a_whole, grouped, preference
from qianru.use.duplicates.join import compared, similar_pairs
from qianru.use.duplicates.shingles import shingled

THRESHOLD = 0.8      # of 5,000 planted copies among 200,000 texts 98 % and more are found (bench/dedup.py)


def find_duplicates(
    texts: Sequence[str],
    *,
    threshold: float = THRESHOLD,
    keep: Keep = "first",
    values: Sequence[Value | None] | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Which texts are near-duplicates of which: edited, reordered, cut short, or written in other signs.

    threshold: from which similarity on, above 0.5 and at most 1; texts that differ in case, width, script, spaces and
        punctuation alone have 1
    keep: which text of a group stays: the first, the last, the longest, or the one with the largest of the values
    progress: counts texts, then sets looked up
    Exact: every pair at least as similar is found. Texts of fewer than 6 characters (or 8 letters) are duplicates only
    of those with similarity 1, since one character more can say the opposite; texts without any are never duplicates.

    >>> find_duplicates(["今天天气真好，我们去公园吧", "明天开会", "今天天气真好!我們去公園吧。"]).groups
    [[0, 2]]
    """
    texts = as_texts(texts)
    check_threshold(threshold)
    if values is not None and len(values) != len(texts):
        raise ShapeMismatch(f"{len(values)} values do not fit {len(texts)} texts one to one.")
    sets = shingled(texts, progress=progress)
    preferred = preference(keep, sets.sizes, values)
    same = alike_as_a_whole(sets)
    pairs = similar_pairs(sets, threshold, np.unique(same), progress=progress)
    return grouped(pairs, same, preferred)


def similarities(left: Sequence[str], right: Sequence[str]) -> FloatArray:
    """(n,) how alike the two texts of each pair are, as find_duplicates counts it.

    >>> similarities(["花果山水帘洞", "花果山"], ["花果山水簾洞。", "高老庄"]).tolist()
    [1.0, 0.0]
    """
    if len(left) != len(right):
        raise ShapeMismatch(f"{len(left)} texts do not fit {len(right)} others one to one.")
    n = len(left)
    sets = shingled([*left, *right])
    same = alike_as_a_whole(sets)
    return np.where(same[:n] == same[n:], 1.0, compared(sets, np.arange(n), np.arange(n, 2 * n)))


def check_threshold(threshold: float) -> None:
    """BadInput unless it is one that a join can go by."""
    if not 0.5 < threshold <= 1:
        raise BadInput(f"The similarity of near-duplicates lies above 0.5 and at most at 1, not at {threshold}: texts "
                       "that share half are no duplicates.")
