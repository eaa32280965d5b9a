"""What a classifier sees of texts: unit rows of the dense vectors, of the sparse ones, or of both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qianru.errors import BadInput, require
from qianru.models.base import Model
from qianru.types import Kind, Progress
from qianru.use.cluster.space import as_matrix, unit


def kinds_of(model: Model) -> list[Kind]:
    """The kinds of a model's vectors that a classifier reads; BadInput where it makes none of them."""
    kinds: list[Kind] = [kind for kind in ("dense", "sparse") if kind in model.spec.kinds]
    if not kinds:
        raise BadInput(f"{model.spec.name} makes {' and '.join(model.spec.kinds) or 'no'} vectors; a classifier needs "
                       "dense or sparse ones. Take another model.")
    return kinds


def features(model: Model, texts: Sequence[str], *, progress: Progress | None = None) -> Any:
    """(n, d) array, or a scipy matrix where there are sparse vectors; rows of length 1, or 0 for a text without any.

    Raises BadInput for vectors that are not made of finite numbers.
    """
    kinds = kinds_of(model)
    made = model.encode(texts, kinds=kinds, progress=progress)
    views: list[Any] = []
    if made.dense is not None:
        views.append(unit(as_matrix(made.dense)))
    if made.sparse is not None:
        views.append(as_matrix(made.sparse))
    if len(views) == 1:
        return views[0]
    sparse = require("scipy.sparse", "evaluate", "Classification by sparse vectors")
    return sparse.hstack([sparse.csr_matrix(view) for view in views], format="csr") * np.float32(0.5**0.5)
