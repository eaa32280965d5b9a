"""Labels learnt from vectors by logistic regression, as mteb does it; sparse vectors in the space that they span."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qianru.errors import require

SEED = 42                # mteb's
MAX_ITERATIONS = 100
MOST_SPANNING = 4096     # rows: 128 MB of products with each other
NO_LENGTH = 1e-10        # of the longest row: what is left of a row that others span


class Learner:
    """Learns labels from rows of one matrix, for each draw from others of them.

    train: (n, d) array, or sparse matrix, all rows that any draw takes

    The solver, L-BFGS, keeps twenty vectors of as many numbers as there are columns and labels, which costs more than
    all else where sparse rows have 30,000 columns. Its steps are sums of rows, and depend on their products alone. So
    sparse rows are turned into coordinates in the space that they span, learnt from there, and what was learnt is
    turned back. Up to rounding these are the same steps; dense rows are taken as they are.
    """

    def __init__(self, train: Any) -> None:
        self._train = train
        n, d = train.shape
        self._span = None if isinstance(train, np.ndarray) or not n < min(d, MOST_SPANNING) else Span(train)

    def predicted(self, rows: Sequence[int], labels: NDArray[np.int64], test: Any) -> NDArray[np.int64]:
        """(m,) the labels of the rows to test.

        rows: to learn from, with their labels;  test: (m, d)
        """
        linear = require("sklearn.linear_model", "evaluate", "Classification")
        model = linear.LogisticRegression(max_iter=MAX_ITERATIONS, random_state=SEED)
        train = self._train if self._span is None else self._span.coordinates
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")          # that 100 steps did not converge is part of the definition
            model.fit(train[rows], labels)
        if self._span is None:
            predicted: NDArray[np.int64] = model.predict(test)
            return predicted
        scores = test @ self._span.turned_back(model.coef_) + model.intercept_          # (m, labels), or (m, 1) of two
        best = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.int64)
        chosen: NDArray[np.int64] = model.classes_[best]
        return chosen


class Span:
    """Coordinates of sparse rows in the space that they span: the triangle L of train @ train.T = L @ L.T."""

    def __init__(self, train: Any) -> None:
        lapack = require("scipy.linalg.lapack", "evaluate", "Classification of sparse vectors")
        wide = train.astype(np.float64)
        products = (wide @ wide.T).toarray()
        longest = float(products.diagonal().max(initial=0.0))
        triangle, order, rank, _ = lapack.dpstrf(products, lower=1, tol=NO_LENGTH * longest)
        order -= 1                                   # LAPACK counts from 1
        triangle = np.tril(triangle)[:, :rank]       # rows that others span need no coordinate of their own
        self.coordinates = np.empty(triangle.shape, np.float32)      # as dense vectors have
        self.coordinates[order] = triangle
        self._corner, self._spanning = triangle[:rank], wide[order[:rank]]

    def turned_back(self, coefficients: NDArray[np.floating]) -> NDArray[np.float64]:
        """(d, labels) of (labels, r) what was learnt of the coordinates."""
        linalg = require("scipy.linalg", "evaluate", "Classification of sparse vectors")
        shares = linalg.solve_triangular(self._corner, coefficients.astype(np.float64).T, lower=True, trans="T")
        back: NDArray[np.float64] = np.asarray(self._spanning.T @ shares)
        return back
