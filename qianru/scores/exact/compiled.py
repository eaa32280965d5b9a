"""How kernels are compiled and spread over threads; numba's own threads must not be entered twice at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, TypeVar, cast

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


@lru_cache
def has_numba() -> bool:
    """Whether numba is installed, without loading it."""
    return find_spec("numba") is not None


def compiled(function: Kernel) -> Kernel:
    """The function compiled at its first call, without the interpreter's lock; kept on disk if there is a place."""
    return machine_code(function, set())


def compiled_sums(function: Kernel) -> Kernel:
    """The same, with sums in an order that suits the processor, but always in that order."""
    return machine_code(function, {"contract", "reassoc", "nsz"})


def compiled_finite(function: Kernel) -> Kernel:
    """The same, and for numbers that are finite: maxima are then looked for in many places at once."""
    return machine_code(function, {"contract", "reassoc", "nsz", "nnan", "ninf"})


def machine_code(function: Kernel, fastmath: set[str]) -> Kernel:
    """The function compiled at its first call, with these liberties of LLVM's in its sums; x / 0 is infinite."""
    import numba

    kernel: Any
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:    # nowhere to keep the compiled code
        kernel = numba.njit(**options)(function)
    return cast(Kernel, kernel)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(work: Callable[[int, int], None], n: int, n_threads: int | None, least: int = 1) -> None:
    """work(start, stop) over 0 to n, in as many threads; None for one a core.

    least: of items that are worth a thread of their own
    """
    n_parts = max(1, min(n_threads or usable_cores(), n // least))
    if n_parts == 1:
        work(0, n)
        return
    edges = [n * i // n_parts for i in range(n_parts + 1)]
    waiting = [_threads(n_parts - 1).submit(work, edges[i], edges[i + 1]) for i in range(1, n_parts)]
    work(0, edges[1])
    for part in waiting:
        part.result()


@lru_cache
def _threads(n: int) -> ThreadPoolExecutor:
    _forget_threads_in_children()
    return ThreadPoolExecutor(n, thread_name_prefix="qianru")


@lru_cache
def _forget_threads_in_children() -> None:
    """A forked process has none of these threads, and would wait for them for ever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_threads.cache_clear)
