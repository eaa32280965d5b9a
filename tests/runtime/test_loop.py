"""The loop gives every row's output in the order of the rows, and halves the batch only when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_array_equal

torch = pytest.importorskip("torch", reason="the runtime needs torch: pip install 'qianru[torch]'")

from qianru.runtime.loop import Outputs, run  # noqa: E402
from qianru.runtime.options import Device  # noqa: E402
from qianru.runtime.packing import Packed  # noqa: E402
from qianru.types import Ragged, SparseRows  # noqa: E402


def summed(batch: Packed) -> Outputs:
    """For each row: (sum, length) as dense, its ids as sparse terms, its ids as multi."""
    ids = batch.ids.numpy()
    rows = [ids[a:b] for a, b in pairwise(batch.offsets)]
    return Outputs(
        np.array([[row.sum(), len(row)] for row in rows], np.float32),
        SparseRows.from_rows([dict.fromkeys(row.tolist(), 1.0) for row in rows], 1000),
        Ragged(ids[:, None].astype(np.float32), batch.offsets),
    )


def blank(n: int) -> Outputs:
    return Outputs(np.zeros((n, 2), np.float32), SparseRows.from_rows([{}] * n, 1000),
                   Ragged(np.zeros((0, 1), np.float32), np.zeros(n + 1, np.int64)))


def device(batch_tokens: int = 10) -> Device:
    return Device("cpu", "float32", batch_tokens, None)


@given(rows=st.lists(st.lists(st.integers(0, 99), max_size=8, unique=True), max_size=20), budget=st.integers(1, 30))
def test_outputs_stand_in_the_order_of_the_rows(rows: list[list[int]], budget: int) -> None:
    done: list[int] = []
    made = run([np.array(row, np.int64) for row in rows], summed, blank, device(budget), done.append)
    assert made.dense is not None
    assert made.sparse is not None
    assert made.multi is not None
    assert made.dense.tolist() == [[sum(row), len(row)] for row in rows]
    assert [terms.tolist() for terms, _ in made.sparse] == [sorted(row) for row in rows]
    assert [made.multi.row(i)[:, 0].tolist() for i in range(len(rows))] == rows
    assert sum(done) == len(rows)


def failing(error: Exception, above: int) -> Callable[[Packed], Outputs]:
    def forward(batch: Packed) -> Outputs:
        if len(batch.ids) > above:
            raise error
        return summed(batch)
    return forward


OUT_OF_MEMORY = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(),
                 RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to")]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_that_memory_does_not_hold_is_halved(error: Exception) -> None:
    rows = [np.arange(length) for length in (3, 1, 2, 4, 3, 2)]
    made = run(rows, failing(error, above=4), blank, device(100))
    assert_array_equal(made.dense, run(rows, summed, blank, device(100)).dense)
    with pytest.raises(type(error)):
        run(rows, failing(error, above=3), blank, device(100))


def test_any_other_error_is_not_taken_for_a_lack_of_memory() -> None:
    wrong = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run([np.arange(3)] * 4, failing(wrong, above=4), blank, device(100))


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def forward(batch: Packed) -> Outputs:
        seen.append(torch.get_num_threads())
        return summed(batch)

    run([np.arange(3)], forward, blank, Device("cpu", "float32", 10, before + 1))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
