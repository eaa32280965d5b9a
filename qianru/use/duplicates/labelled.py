"""From which similarity on two texts are near-duplicates, learnt from pairs that a person has judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qianru.errors import BadInput
from qianru.use.calibrate import Threshold, check_precision, threshold_for
from qianru.use.duplicates.finding import similarities
from qianru.use.labels import numbered_lines

LOWEST = 0.51     # that a join goes by


def learnt_threshold(file: Path, precision: float) -> Threshold:
    """The threshold that finds most of the right pairs while at least this share of those found is right.

    file: JSON lines with "left" and "right", two texts, and "same", true or false; draw the pairs as they come, since
        precision depends on how many of them are right
    Raises BadFile where it cannot be read, BadInput for other lines, no pair that is right, or a precision that no
    threshold above 0.5 reaches.
    """
    check_precision(precision)
    pairs = [_pair(place, line) for place, line in numbered_lines(file)]
    if not pairs:
        raise BadInput(f'{file} holds no pair. Write lines such as {{"left": "…", "right": "…", "same": true}}.')
    found = similarities([left for left, _, _ in pairs], [right for _, right, _ in pairs])
    able = found >= LOWEST
    same = [same for _, _, same in pairs]
    if not any(right for right, good in zip(same, able.tolist(), strict=True) if good):
        raise BadInput(f"No pair of {file} with a similarity above 0.5 is right, so no threshold can be found.")
    learnt = threshold_for(found[able], [right for right, good in zip(same, able.tolist(), strict=True) if good],
                           precision)
    n_right = sum(same)
    n_found = sum(right for right, value in zip(same, found.tolist(), strict=True) if value >= learnt.min_score)
    return learnt._replace(recall=n_found / n_right)


def _pair(place: str, line: str) -> tuple[str, str, bool]:
    try:
        read: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{place} is no JSON: {error}.") from None
    found = tuple(read.get(name) for name in ("left", "right", "same")) if isinstance(read, dict) else ()
    if tuple(map(type, found)) != (str, str, bool):
        raise BadInput(f'{place} needs "left" and "right", two texts, and "same", true or false: {line!r:.80}.')
    return found      # type: ignore[return-value]   # checked above
