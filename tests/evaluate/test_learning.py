"""Learning from sparse rows in the space that they span: the same as learning from them as they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random as random_sparse, vstack
from sklearn.linear_model import LogisticRegression

from qianru.evaluate.learning import Learner


def rows_with_labels(n: int, n_columns: int, n_labels: int) -> tuple[csr_matrix, np.ndarray]:
    """Rows in which the first columns tell the label, among noise."""
    labels = np.arange(n) % n_labels
    noise = random_sparse(n, n_columns, 0.01, "csr", random_state=1)
    marks = csr_matrix((np.full(n, 1.5), (np.arange(n), labels)), (n, n_columns))
    return csr_matrix(noise + marks), labels


@pytest.mark.parametrize("n_labels", [2, 7])
def test_labels_learnt_in_the_span_are_those_learnt_from_the_rows(n_labels: int) -> None:
    matrix, labels = rows_with_labels(400, 2000, n_labels)
    train, test = matrix[:200], matrix[200:]
    rows = list(range(0, 200, 2)) if n_labels == 7 else list(range(150))
    usual = LogisticRegression(max_iter=100, random_state=42).fit(train[rows], labels[rows]).predict(test)
    found = Learner(train).predicted(rows, labels[rows], test)
    assert (found == usual).mean() > 0.99, "the solver may stop a step earlier, no more"
    assert (found == labels[200:]).mean() > 0.9


def test_rows_that_others_span_and_rows_of_nothing_do_no_harm() -> None:
    matrix, labels = rows_with_labels(60, 500, 3)
    train = csr_matrix(vstack([matrix, matrix[:30], csr_matrix((2, 500))]))
    known = np.concatenate([labels, labels[:30], [0, 1]])
    found = Learner(train).predicted(list(range(len(known))), known, matrix)
    assert (found == labels).all()


def test_dense_rows_are_learnt_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(3)
    train, test, labels = rng.standard_normal((40, 8)), rng.standard_normal((20, 8)), np.arange(40) % 4
    usual = LogisticRegression(max_iter=100, random_state=42).fit(train, labels).predict(test)
    assert (Learner(train).predicted(list(range(40)), labels, test) == usual).all()
