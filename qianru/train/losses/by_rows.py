"""A mean over queries, a few of them at a time: the table of all similarities never stands in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint

AT_ONCE = 1 << 20   # similarities: 4 MB, of which autograd keeps several; smaller tables gain little


def by_rows(loss: Callable[[slice], Tensor], n_rows: int, n_columns: int) -> Tensor:
    """loss(all rows), of a loss that is the mean over the rows it is given.

    n_columns: similarities of a row
    Larger tables are computed a few rows at a time, and again for the gradient: two products in place of one, which is
    little beside the texts' own; the same loss and gradient up to rounding.
    """
    at_once = max(AT_ONCE // n_columns, 1)
    if n_rows <= at_once:
        return loss(slice(n_rows))
    total: Tensor | None = None
    for start in range(0, n_rows, at_once):
        rows = slice(start, min(start + at_once, n_rows))
        made: Tensor = checkpoint(loss, rows, use_reentrant=False, preserve_rng_state=False)
        part = made * ((rows.stop - start) / n_rows)
        total = part if total is None else total + part
    assert total is not None
    return total
