"""Loops compiled by numba at their first use, over rows that are shared out to as many threads as torch uses.

The compiled code is kept on disk beside its file or in numba's own cache. See scores/exact/compiled.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qianru.scores.exact import compiled as shared

ROWS_PER_THREAD = 64   # fewer are not worth handing over


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code that leaves Python's lock alone and may regroup sums, but keeps infinities."""
    return shared.machine_code(function, {"contract", "reassoc", "arcp", "nsz", "nnan"})


def spread(kernel: Callable[..., None], arguments: tuple[Any, ...], n: int) -> None:
    """kernel(*arguments, start, stop) over all n rows, on as many threads as torch uses."""
    if n < 2 * ROWS_PER_THREAD:
        kernel(*arguments, 0, n)
        return
    shared.spread(partial(kernel, *arguments), n, torch.get_num_threads(), ROWS_PER_THREAD)


def numbers_of(x: Tensor) -> tuple[NDArray[Any], int]:
    """The bits of float32 as uint32, or of bfloat16 as uint16, and how far to shift those to the left for float32's."""
    if x.dtype == torch.bfloat16:
        return bits_of(x), 16
    if x.dtype != torch.float32:
        x = x.float()
    return x.numpy().view(np.uint32), 0


def bits_of(x: Tensor) -> NDArray[np.uint16]:
    """The memory of a bfloat16 tensor, which NumPy has no type for."""
    return x.view(torch.uint16).numpy()
