"""Advice to the system about pages of memory, packed weights on large ones, and freed ones given back.

A short query reads every weight once. A tenth of its time goes into looking up where 80,000 pages of 4 KB lie; pages of
2 MB save that. Linux moves memory there on request; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LARGE = 2 << 20      # bytes
ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MADV_COLLAPSE = 25   # of Linux since 6.1: at once; Python's mmap has no name for it yet
M_ARENA_MAX = -8     # of malloc.h
LONGEST_S = 0.5      # where memory is in pieces the system may take long to find room; the rest then stays where it is


@cache
def madvise() -> Callable[[int, int, int], int] | None:
    """(start, size, advice) -> 0 if the system took it; None if there is no such thing."""
    try:
        function = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return lambda start, size, advice: int(function(start, size, advice))


@cache
def _libc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where there is no such thing."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return function


def give_back() -> None:
    """Gives freed memory back to the system, where the C library can.

    Arrays of another size in every batch leave holes that it keeps for later: 4 GB in place of 1.
    """
    trim = _libc("malloc_trim")
    if trim is not None:
        trim(0)


def keep_few_heaps() -> None:
    """Has the C library keep its memory together, where it can: for processes that run for long with many threads.

    It gives nearly every thread a heap of its own, each with holes of its own: eight for each core, of which a server's
    coming and going threads use all. One for each core is as fast, since Python's threads take turns.
    """
    limit = _libc("mallopt")
    if limit is not None:
        limit(M_ARENA_MAX, max(2, os.cpu_count() or 1))


def use_large_pages(weights: Sequence[Tensor]) -> int:
    """Moves packed weights to large pages, as far as time allows; returns how many bytes were moved.

    weights: as oneDNN laid them out
    """
    advise = madvise()
    if advise is None or not ALLOWED.exists() or "[never]" in ALLOWED.read_text():
        return 0
    end = time.perf_counter() + LONGEST_S
    n_moved = 0
    for start, stop in _stretches(weights):
        for page in range(-(-start // LARGE) * LARGE, stop // LARGE * LARGE, LARGE):
            if time.perf_counter() > end:
                return n_moved
            if advise(page, LARGE, MADV_COLLAPSE) == 0:
                n_moved += LARGE
    return n_moved


def _stretches(weights: Sequence[Tensor]) -> list[tuple[int, int]]:
    """(start, stop) of memory that the weights lie in, in ascending order; gaps of less than a page are part of it."""
    import torch

    try:
        address, size = torch.ops.mkldnn.data_ptr, torch.ops.mkldnn._nbytes
    except AttributeError:     # this build of torch does not tell
        return []
    found: list[tuple[int, int]] = []
    for start, stop in sorted((address(each), address(each) + size(each)) for each in weights):
        if found and start - found[-1][1] < LARGE:
            start = found.pop()[0]
        found.append((start, stop))
    return found
