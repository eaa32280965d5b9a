"""A mean over queries, a few of them at a time: the table of all similarities never stands in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qianru.runtime.pages import give_back

AT_ONCE = 1 << 20   # similarities: 4 MB, of which autograd keeps several
Loss = Callable[[slice, Tensor, Tensor], Tensor]


def by_rows(loss: Loss, queries: Tensor, documents: Tensor) -> Tensor:
    """loss(all rows, queries, documents), of a loss that is the mean over the rows of queries it is given.

    queries: (b, d);  documents: (c, d)
    Where b x c is large, each few rows' gradient is taken as soon as their loss is known; the same up to rounding.
    """
    n_rows, at_once = len(queries), max(AT_ONCE // len(documents), 1)
    if n_rows <= at_once:
        return loss(slice(n_rows), queries, documents)
    made: Tensor = _ByRows.apply(loss, at_once, queries, documents)   # type: ignore[no-untyped-call]
    return made


class _ByRows(torch.autograd.Function):
    """The loss, and its gradient by both sides kept for the way back."""

    @staticmethod
    def forward(ctx: Any, loss: Loss, at_once: int, queries: Tensor, documents: Tensor) -> Tensor:
        sides = [side.detach().requires_grad_() for side in (queries, documents)]
        total = queries.new_zeros(())
        for start in range(0, len(queries), at_once):
            rows = slice(start, min(start + at_once, len(queries)))
            with torch.enable_grad():
                part = loss(rows, *sides) * ((rows.stop - start) / len(queries))
                part.backward()   # type: ignore[no-untyped-call]
            total += part.detach()
            give_back()
        ctx.save_for_backward(*(side.grad for side in sides))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, share: Tensor) -> tuple[None, None, Tensor, Tensor]:
        by_queries, by_documents = ctx.saved_tensors
        return None, None, share * by_queries, share * by_documents
