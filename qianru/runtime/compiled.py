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


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The function as machine code that leaves Python's lock alone and may regroup sums, but keeps infinities."""
    return shared.machine_code(function, {"contract", "reassoc", "arcp", "nsz", "nnan"})


def spread(kernel: Callable[..., None], arguments: tuple[Any, ...], n: int) -> None:
    """kernel(*arguments, start, stop) over all n rows, on as many threads as torch uses."""
    shared.spread(partial(kernel, *arguments), n, torch.get_num_threads(), ROWS_PER_THREAD)


def bits_of(x: Tensor) -> NDArray[np.uint16]:
    """The memory of a bfloat16 tensor, which NumPy has no type for."""
    return x.view(torch.int16).numpy().view(np.uint16)
