"""The one loop: rows of token ids -> Outputs in the order of the rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from qianru.runtime.options import Device
from qianru.runtime.packing import Packed, pack, plan
from qianru.types import FloatArray, IntArray, Ragged, SparseRows

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
    parts, order = [blank(len(empty))], [empty]
    if len(empty):
        on_done(len(empty))
    waiting = [full[batch] for batch in reversed(plan(lengths[full], device.batch_tokens))]
    with torch.inference_mode(), _threads(device.threads):
        while waiting:
            batch = waiting.pop()
            try:
                kept = None if types is None else [types[i] for i in batch]
                parts.append(forward(pack([rows[i] for i in batch], device.name, kept)))
            except (MemoryError, RuntimeError) as error:
                if not _is_memory(error) or len(batch) == 1:
                    raise
                waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
                log.warning("Memory ran out at %d tokens; going on with half as many.", int(lengths[batch].sum()))
                continue
            order.append(batch)
            on_done(len(batch))
    places = np.empty(len(rows), np.int64)
    places[np.concatenate(order)] = np.arange(len(rows))
    return Outputs.concat(parts).take(places)


def _is_memory(error: BaseException) -> bool:
    """Whether it is the memory error itself; on a CPU torch has no type of its own for it, only these words."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "DefaultCPUAllocator: can't allocate" in str(error)


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if n is None or n == before:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
