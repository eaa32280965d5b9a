"""Latent semantic analysis: TF-IDF rows on the main axes of the corpus, where words met together come close."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from qianru.errors import BadInput, NotFitted, require
from qianru.models.base import ModelSpec
from qianru.models.counting import checked
from qianru.models.files import Stored, fingerprint, read_folder, write_folder
from qianru.models.lexical import Norm, TfIdf
from qianru.text.analyze import Analyzer
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, Role, SparseRows


class LSA:
    """Texts as dense vectors: their TF-IDF row times the first right singular vectors of the corpus.

    dim: how many axes; fewer than the corpus has texts and terms
    seed: of the solver's first vector; the result depends on it by rounding only
    The other options are those of TfIdf. Fitting needs SciPy, encoding does not. Vectors are not normalised.
    """

    family: ClassVar[str] = "lsa"

    def __init__(
        self,
        dim: int = 256,
        analyzer: Analyzer = Analyzer(),
        *,
        min_df: float = 1,
        max_df: float = 1.0,
        max_features: int | None = None,
        use_idf: bool = True,
        smooth_idf: bool = True,
        sublinear_tf: bool = False,
        norm: Norm | None = "l2",
        binary: bool = False,
        seed: int = 0,
    ) -> None:
        if dim < 1:
            raise BadInput(f"LSA needs at least 1 dimension, not {dim}.")
        self.dim, self.seed = dim, seed
        self._tfidf = TfIdf(analyzer, min_df=min_df, max_df=max_df, max_features=max_features, use_idf=use_idf,
                            smooth_idf=smooth_idf, sublinear_tf=sublinear_tf, norm=norm, binary=binary)
        self._axes: FloatArray | None = None   # (terms, dim): a term's row is contiguous, as encode wants it
        self._explained: FloatArray = np.zeros(0)
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec:
        """Family "lsa", kind dense."""
        if self._spec is None:
            self._spec = ModelSpec(self.family, self.family, ("dense",), fingerprint(self.stored()), dim=self.dim)
        return self._spec

    @property
    def features(self) -> list[str]:
        """The terms of the TF-IDF underneath; sorted."""
        return self._tfidf.features

    @property
    def explained_variance_ratio(self) -> FloatArray:
        """(dim,) share of the corpus's variance along each axis."""
        self._fitted()
        return self._explained

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Learns terms, idf and axes; BadInput if the corpus is too small for so many dimensions."""
        linalg = require("scipy.sparse.linalg", "classic", "Fitting LSA")
        sparse = require("scipy.sparse", "classic", "Fitting LSA")
        tfidf = TfIdf.from_stored(Stored("tfidf", self._tfidf.stored().settings))   # the old one stays if this fails
        rows, _ = tfidf.learn(texts, progress=progress)
        limit = min(len(rows), rows.width)
        if self.dim >= limit:
            raise BadInput(f"LSA with {self.dim} dimensions needs more than {self.dim} texts and terms; there are "
                           f"{len(rows)} and {rows.width}. Ask for fewer dimensions or give more texts.")
        matrix = sparse.csr_matrix((rows.weights, rows.terms, rows.offsets), (len(rows), rows.width))
        start = np.random.default_rng(self.seed).uniform(-1, 1, limit)   # ARPACK's own would differ from run to run
        left, sizes, right = linalg.svds(matrix, k=self.dim, v0=start)
        order = np.argsort(-sizes)
        left, sizes, right = left[:, order], sizes[order], right[order]
        largest = np.abs(right).argmax(axis=1)
        signs = np.where(right[np.arange(self.dim), largest] < 0, -1.0, 1.0)   # each axis's largest entry is positive
        self._tfidf = tfidf
        self._axes = np.ascontiguousarray((right * signs[:, None]).T, np.float32)
        self._explained = np.var(left * sizes, axis=0) / _variance(rows)
        self._spec = None
        return self

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """(n, dim) float32; a text without known terms is the zero vector."""
        axes = self._fitted()
        listed = checked(self.spec, texts, role, kinds, instruction)
        embedded = self._tfidf.encode(listed, progress=progress)
        assert embedded.sparse is not None
        dense = np.zeros((len(listed), self.dim), np.float32)
        for i, (terms, weights) in enumerate(embedded.sparse):
            dense[i] = weights.astype(np.float32) @ axes[terms]   # row by row: the same alone and in a batch
        return Embeddings(self.spec.name, embedded.n_tokens, dense=dense)

    def save(self, folder: Path) -> None:
        """Writes the model to a folder."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        inner = self._tfidf.stored()
        own = {} if self._axes is None else {"axes": self._axes, "explained": self._explained}
        return Stored(self.family, {**inner.settings, "dim": self.dim, "seed": self.seed}, {**inner.arrays, **own},
                      inner.words)

    @classmethod
    def from_stored(cls, stored: Stored) -> Self:
        """The model that a folder holds."""
        model = cls(stored.setting("dim", int), seed=stored.setting("seed", int))
        model._tfidf = TfIdf.from_stored(stored)
        if stored.words:
            model._axes = stored.array("axes", (len(model.features), model.dim)).astype(np.float32, copy=False)
            model._explained = stored.array("explained", (model.dim,))
        return model

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model saved to the folder."""
        return cls.from_stored(read_folder(folder, cls.family))

    def _fitted(self) -> FloatArray:
        if self._axes is None:
            raise NotFitted("lsa has seen no corpus. Call fit(texts) first, or load a fitted model.")
        return self._axes


def _variance(rows: SparseRows) -> float:
    """Sum over the columns of their variance, zeros included."""
    n = len(rows)
    sums = np.bincount(rows.terms, weights=rows.weights, minlength=rows.width)
    squares: IntArray | FloatArray = np.square(rows.weights).sum()
    return float(squares / n - np.square(sums / n).sum())
