"""Loops compiled by numba at their first use, over rows that are shared out to threads.

The compiled code is kept on disk beside its file or in numba's own cache. Rows are split over threads here, because
numba's own threads must not be entered twice at once, and a server does that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS_PER_THREAD = 64   # fewer are not worth handing over


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The function as machine code that leaves Python's lock alone and may regroup sums, but keeps infinities."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "reassoc", "arcp", "nsz", "nnan"}}
    try:
        return numba.njit(cache=True, **options)(function)   # type: ignore[no-any-return]
    except RuntimeError:   # nowhere to keep the compiled code
        return numba.njit(**options)(function)   # type: ignore[no-any-return]


def spread(kernel: Callable[..., None], arguments: tuple[Any, ...], n: int) -> None:
    """kernel(*arguments, start, stop) over all n rows, on as many threads as torch uses."""
    n_parts = min(torch.get_num_threads(), max(n // ROWS_PER_THREAD, 1))
    if n_parts == 1:
        kernel(*arguments, 0, n)
        return
    edges = [n * i // n_parts for i in range(n_parts + 1)]
    waiting = [_threads(n_parts - 1).submit(kernel, *arguments, edges[i], edges[i + 1]) for i in range(1, n_parts)]
    kernel(*arguments, 0, edges[1])
    for part in waiting:
        part.result()


def bits_of(x: Tensor) -> NDArray[np.uint16]:
    """The memory of a bfloat16 tensor, which NumPy has no type for."""
    return x.view(torch.int16).numpy().view(np.uint16)


@lru_cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="qianru-rows")
