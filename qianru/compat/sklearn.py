"""A scikit-learn transformer: texts in, vectors out, in pipelines, grids and column transformers.

    from qianru.compat.sklearn import QianruEmbedder

    make_pipeline(QianruEmbedder("m3e-base"), LogisticRegression()).fit(texts, labels)
    ColumnTransformer([("said", QianruEmbedder(TfIdf()), "review"), ("rest", "passthrough", ["stars"])])
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np

from qianru.compat.loading import has_learnt_nothing
from qianru.errors import BadInput, require
from qianru.index.writer import unit
from qianru.models import load
from qianru.models.base import Model, as_texts
from qianru.types import Kind, Role

require("sklearn", "evaluate", "Qianru's transformer for scikit-learn")

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402


class QianruEmbedder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator      # type: ignore[misc]
):
    """The vectors of texts: (n, d) dense, or a sparse CSR matrix of words.

    model: one that is loaded, or what qianru.load takes. One that has learnt nothing yet, such as TfIdf(), learns from
        the texts of each fit, in a copy; any other is used as it is. Clones share it: a grid loads no weights twice
    kind: "dense" or "sparse", by default what the model makes, dense before sparse
    role, instruction: as for Model.encode;  normalize: to length 1

    Texts are a list, an array or a column (pandas, polars, Arrow), or a table with one column.
    """

    def __init__(
        self, model: Model | str | Path = "bm25", *, kind: Kind | None = None, role: Role = "document",
        instruction: str | None = None, normalize: bool = False,
    ) -> None:
        self.model = model
        self.kind = kind
        self.role = role
        self.instruction = instruction
        self.normalize = normalize

    def fit(self, X: Any, y: Any = None) -> Self:
        """Loads the model, or lets it learn from the texts; y is not looked at."""
        texts = texts_of(X)
        model = load(self.model) if isinstance(self.model, str | Path) else self.model
        if not isinstance(model, Model):
            raise BadInput(f"A model is needed, or a name for qianru.load, not {model!r:.60}.")
        if has_learnt_nothing(model):
            model = deepcopy(model).fit(texts)     # type: ignore[attr-defined]
        kinds = [kind for kind in ("dense", "sparse") if kind in model.spec.kinds]
        if not kinds or self.kind not in (None, *kinds):
            raise BadInput(f"{model.spec.name} makes {' and '.join(model.spec.kinds)} vectors, "
                           f"not {self.kind or 'dense or sparse ones'}.")
        self.kind_ = self.kind or kinds[0]
        self.model_ = model
        self._n_features_out = self._matrix(texts[:1] or ["x"]).shape[1]
        return self

    def transform(self, X: Any) -> Any:
        """(n, d) vectors, row i for text i: an array, or a CSR matrix where they are sparse."""
        check_is_fitted(self)
        return self._matrix(texts_of(X))

    def _matrix(self, texts: list[str]) -> Any:
        made = self.model_.encode(texts, role=self.role, kinds=[self.kind_], instruction=self.instruction)
        if made.sparse is None:
            assert made.dense is not None
            return unit(made.dense) if self.normalize else made.dense
        from scipy.sparse import csr_matrix
        from sklearn.preprocessing import normalize

        rows = made.sparse
        matrix = csr_matrix((rows.weights, rows.terms, rows.offsets), shape=(len(rows), rows.width))
        return normalize(matrix) if self.normalize else matrix

    def __sklearn_clone__(self) -> Self:
        """Another with the same options and the very same model: nothing here changes it."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        """One column of strings in, which have no precision to keep."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags


def texts_of(X: Any) -> list[str]:
    """The texts of a list, an array, a column or a table of one column. Raises BadInput for anything else.

    >>> texts_of(np.array([["春眠不觉晓"], ["处处闻啼鸟"]], object))
    ['春眠不觉晓', '处处闻啼鸟']
    """
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and len(shape) == 2:
        if shape[1] != 1:
            raise BadInput(f"One column of texts is needed, and this table has {shape[1]}. Name one of them.")
        X = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X, object)
        X = X[:, 0]
    if hasattr(X, "to_pylist"):
        X = X.to_pylist()
    if not isinstance(X, Iterable):
        raise BadInput(f"A list of texts is needed, not {type(X).__name__}.")
    return [str(text) if isinstance(text, np.str_) else text for text in as_texts(X)]
