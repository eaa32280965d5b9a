"""What a classifier sees of texts: unit rows of the dense vectors, of the sparse ones, or of both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qianru.errors import require
from qianru.models.base import Model
from qianru.types import Progress
from qianru.use.cluster.space import as_matrix, unit
from qianru.use.material import kinds_of


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
