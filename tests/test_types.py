"""Embeddings are taken apart and put together again, whatever their kinds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qianru.types import Embeddings, FloatArray, Ragged, SparseRows

WHOLE = Embeddings(
    "诗", np.array([3, 0, 2]), 1, np.eye(3, dtype=np.float32),
    SparseRows.from_rows([{5: 1.0, 2: 2.0}, {}, {0: 3.0}], 9),
    Ragged(np.arange(10, dtype=np.float32).reshape(5, 2), np.array([0, 3, 3, 5])),
    Ragged(np.arange(5, dtype=np.float32).reshape(5, 1), np.array([0, 3, 3, 5])),
)


def told(made: Embeddings) -> list[list[object]]:
    """Each text's vectors of all kinds, as lists."""
    def listed(array: FloatArray | None) -> object:
        return None if array is None else array.tolist()

    sparse = made.sparse
    return [[made.n_tokens[i], listed(None if made.dense is None else made.dense[i]),
             None if sparse is None else listed(sparse.to_dense()[i]),
             *(listed(None if part is None else part.row(i)) for part in (made.multi, made.tokens))]
            for i in range(len(made))]


@pytest.mark.parametrize("rows", [[], [1], [2, 0], [0, 0, 2, 1]])
def test_rows_are_taken_in_any_order(rows: list[int]) -> None:
    every = told(WHOLE)
    assert told(WHOLE.take(rows)) == [every[row] for row in rows]
    assert WHOLE.take(rows).kinds == WHOLE.kinds
    assert (WHOLE.take(rows).n_truncated, WHOLE.take(rows, 1).n_truncated) == (0, 1)


def test_parts_are_put_together_in_order() -> None:
    parts = [WHOLE.take([0], 1), WHOLE.take([]), WHOLE.take([1, 2], 2)]
    together = Embeddings.concat(parts)
    assert told(together) == told(WHOLE)
    assert (together.model, together.n_truncated, together.kinds) == ("诗", 3, WHOLE.kinds)
    assert Embeddings.concat(parts[:1]) is parts[0]


def test_kinds_that_are_not_there_stay_so() -> None:
    plain = Embeddings("诗", np.array([1, 2]), dense=np.ones((2, 3)))
    assert Embeddings.concat([plain, plain.take([1])]).kinds == ("dense",)
    assert_array_equal(Embeddings.concat([plain, plain.take([1])]).n_tokens, [1, 2, 2])
