"""The one loop: rows of token ids -> Outputs in the order of the rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from qianru.runtime.options import Device
from qianru.runtime.packing import Packed, pack, plan
from qianru.types import FloatArray, IntArray, Ragged, SparseRows

LEAST_BATCH = 256    # tokens that a thread computes at once, where the texts are few
log = logging.getLogger("qianru")


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a forward pass makes of n rows: whichever kinds were asked for."""

    dense: FloatArray | None = None
    sparse: SparseRows | None = None
    multi: Ragged | None = None
    tokens: Ragged | None = None

    @classmethod
    def concat(cls, parts: Sequence[Outputs]) -> Outputs:
        """The rows of all parts, in order; at least one part."""
        dense = [part.dense for part in parts if part.dense is not None]
        sparse = [part.sparse for part in parts if part.sparse is not None]
        multi = [part.multi for part in parts if part.multi is not None]
        tokens = [part.tokens for part in parts if part.tokens is not None]
        return cls(
            np.concatenate(dense) if dense else None,
            SparseRows.concat(sparse) if sparse else None,
            Ragged.concat(multi) if multi else None,
            Ragged.concat(tokens) if tokens else None,
        )

    def take(self, rows: IntArray) -> Outputs:
        """The named rows, in that order."""
        return Outputs(
            None if self.dense is None else self.dense[rows],
            None if self.sparse is None else self.sparse.take(rows),
            None if self.multi is None else self.multi.take(rows),
            None if self.tokens is None else self.tokens.take(rows),
        )


def run(
    rows: Sequence[IntArray],
    forward: Callable[[Packed], Outputs],
    blank: Callable[[int], Outputs],
    device: Device,
    on_done: Callable[[int], None] = lambda n: None,
    types: Sequence[IntArray] | None = None,
) -> Outputs:
    """What forward makes of every row, in the order of the rows, computed in batches of about equal length.

    rows: token ids; an empty row is not computed, blank(n) is what n of them come to
    forward: a Packed with rows sorted by length -> Outputs in that order
    on_done: told how many more rows are ready
    types: of the tokens of each row, where rows are pairs of texts
    When memory runs out, and only then, the batch is halved and tried again.
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    empty, full = np.flatnonzero(lengths == 0), np.flatnonzero(lengths)
    if len(empty):
        on_done(len(empty))
    with _threads(device.threads) as n_threads:
        n_workers = n_threads if device.name == "cpu" else 1
        batch_tokens = min(device.batch_tokens, max(LEAST_BATCH, -(-int(lengths.sum()) // n_workers)))
        batches: list[IntArray] = [full[batch] for batch in plan(lengths[full], batch_tokens)]
        work = _Work(batches[::-1], lambda batch: forward(
            pack([rows[i] for i in batch], device.name, None if types is None else [types[i] for i in batch])))
        work.share(min(n_workers, len(batches)), on_done)
    if len(rows) == len(work.parts) == 1:
        return work.parts[0]
    places = np.empty(len(rows), np.int64)
    places[np.concatenate([empty, *work.order])] = np.arange(len(rows))
    return Outputs.concat([blank(len(empty)), *work.parts]).take(places)


class _Work:
    """Batches that one thread or several compute, each thread one batch at a time by itself.

    Threads that share every product wait for one another hundreds of times a batch, and for the loops between products.
    waiting: batches of rows, the next one last;  parts, order: what has been made of which batch
    """

    def __init__(self, waiting: list[IntArray], compute: Callable[[IntArray], Outputs]) -> None:
        self.parts: list[Outputs] = []
        self.order: list[IntArray] = []
        self._waiting = waiting
        self._compute = compute
        self._lock = threading.Lock()

    def share(self, n_workers: int, on_done: Callable[[int], None]) -> None:
        """Computes all batches by so many threads, this one among them; on_done is called by this one only."""
        if n_workers < 2:
            return self._go_on(on_done)
        n_told = 0

        def tell(n: int) -> None:
            nonlocal n_told
            n_done = sum(map(len, self.order.copy()))
            on_done(n_done - n_told)
            n_told = n_done

        with ThreadPoolExecutor(n_workers - 1, "qianru-batches") as others, _threads(1):
            helping = [others.submit(self._help) for _ in range(n_workers - 1)]
            self._go_on(tell)
            for help in helping:
                help.result()
        if sum(map(len, self.order)) > n_told:
            tell(0)
        return None

    def _help(self) -> None:
        torch.set_num_threads(1)    # of this thread
        self._go_on(lambda n: None)

    def _go_on(self, on_done: Callable[[int], None]) -> None:
        try:
            with torch.inference_mode():
                while batch := self._next():
                    if self._finish(batch[0]):
                        on_done(len(batch[0]))
        except BaseException:
            with self._lock:
                self._waiting.clear()       # the other threads stop after their batch
            raise

    def _next(self) -> list[IntArray]:
        with self._lock:
            return [self._waiting.pop()] if self._waiting else []

    def _finish(self, batch: IntArray) -> bool:
        """Whether the batch is computed, or is to be in halves."""
        try:
            made = self._compute(batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_memory(error) or len(batch) == 1:
                raise
            with self._lock:
                self._waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
            log.warning("Memory ran out with %d texts at once; going on with half as many.", len(batch))
            return False
        with self._lock:
            self.parts.append(made)
            self.order.append(batch)
        return True


def _is_memory(error: BaseException) -> bool:
    """Whether it is the memory error itself; on a CPU torch has no type of its own for it, only these words."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "DefaultCPUAllocator: can't allocate" in str(error)


@contextmanager
def _threads(n: int | None) -> Iterator[int]:
    """Has torch use n threads, None for as many as it does, and gives their number."""
    before = torch.get_num_threads()
    if n is None or n == before:
        yield before
        return
    torch.set_num_threads(n)
    try:
        yield n
    finally:
        torch.set_num_threads(before)
