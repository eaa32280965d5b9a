"""What a model makes, checked before it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qianru.errors import BadInput
from qianru.types import Embeddings, Kind


def check(embeddings: Embeddings, texts: Sequence[str], kinds: Sequence[Kind]) -> None:
    """BadInput, naming model and text, for too few rows, a kind that is missing and numbers that are not finite."""
    name = embeddings.model
    if len(embeddings) != len(texts):
        raise BadInput(f"{name} made {len(embeddings)} vectors of {len(texts)} texts. It cannot be evaluated so.")
    for kind in kinds:
        part = getattr(embeddings, kind)
        if part is None:
            raise BadInput(f"{name} says that it makes {kind} vectors, and made none.")
        values = part if kind == "dense" else part.weights if kind == "sparse" else part.data
        if not np.isfinite(values.sum(dtype=np.float64)):     # one pass without a copy; the culprit is sought only then
            row = _not_finite(part, kind)
            if row is not None:
                raise BadInput(f"{name} makes a {kind} vector that holds NaN or infinity of the text "
                               f"'{texts[row][:60]}'. Look at its weights and precision.")


def _not_finite(part: Any, kind: Kind) -> int | None:
    """The first row with a number that is not finite; None if the sum was merely too large."""
    if kind == "dense":
        rows = np.flatnonzero(~np.isfinite(part).all(axis=1))
    else:
        values = part.weights if kind == "sparse" else part.data.sum(axis=1)
        rows = np.searchsorted(part.offsets, np.flatnonzero(~np.isfinite(values)), "right") - 1
    return int(rows[0]) if len(rows) else None
