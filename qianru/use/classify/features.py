"""What a classifier sees of texts: unit rows of the dense vectors, of the sparse ones, or of both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qianru.errors import require
from qianru.models import load
from qianru.models.base import Model
from qianru.models.joined import JoinedModel
from qianru.types import FloatArray, Progress
from qianru.use.cluster.space import as_matrix, unit
from qianru.use.material import kinds_of, word_model

MEANING = 0.5       # what meaning counts beside words: of .3, .5, .7 and 1 the largest that costs none of five sets
                    # half a point where there are many examples; with eight a label it wins 1 to 7 points


def own_model(texts: Sequence[str]) -> JoinedModel:
    """Words and meaning: TF-IDF fitted on these texts, and the model that comes with the package."""
    return JoinedModel([word_model().fit(texts), load()])


def own_scale(model: JoinedModel, width: int) -> FloatArray:
    """(width,) what each number of the model's features counts in learning."""
    scale = np.full(width, 2**0.5, np.float32)          # words as if they were alone
    scale[: model.spec.dim] *= MEANING                  # dense ones come first
    return scale


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
