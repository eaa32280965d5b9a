"""Rows of token ids -> batches cut by real tokens -> tokens end to end, without padding.

    rows      [101 7 102]  [101 8 9 102]  [101 6 102]
    packed    101 8 9 102 | 101 7 102 101 6 102        longest first
    groups    (0, 1, 4)     (4, 2, 3)                  from token 0: 1 row of 4; from token 4: 2 rows of 3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qianru.types import IntArray


class Group(NamedTuple):
    """Neighbouring rows of the same length: a view (n, length, …) of the packed tokens needs no copy and no mask."""

    start: int
    n: int
    length: int

    @property
    def tokens(self) -> slice:
        """Where the group stands among the packed tokens."""
        return slice(self.start, self.start + self.n * self.length)


@dataclass(frozen=True, eq=False)
class Packed:
    """A batch of n rows.

    ids: (total,) int64;  offsets: n + 1 numbers, row i is ids[offsets[i]:offsets[i + 1]]
    groups: consecutive rows of equal length, together all rows
    types: (total,) int64, which text of a pair each token belongs to, 0 or 1; None if all are of the first
    """

    ids: Tensor
    offsets: IntArray
    groups: tuple[Group, ...]
    types: Tensor | None = None

    @cached_property
    def positions(self) -> Tensor:
        """(total,) the place of each token in its row, from 0."""
        starts = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        return torch.from_numpy(np.arange(self.offsets[-1]) - starts).to(self.ids.device)

    @cached_property
    def first(self) -> Tensor:
        """(n,) index of each row's first token."""
        return torch.from_numpy(self.offsets[:-1]).to(self.ids.device)

    @cached_property
    def last(self) -> Tensor:
        """(n,) index of each row's last token."""
        return torch.from_numpy(self.offsets[1:] - 1).to(self.ids.device)

    @cached_property
    def boundaries(self) -> Tensor:
        """(n + 1,) the offsets as int32 on the device: what variable-length attention asks for."""
        return torch.from_numpy(self.offsets.astype(np.int32)).to(self.ids.device)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max((group.length for group in self.groups), default=0)

    def grouped(self, states: Tensor) -> list[Tensor]:
        """(total, …) -> views (n, length, …), one for each group.

        Split all at once, since the gradient of a slice is filled with zeros to the size of the whole: with 50 lengths
        in a batch a third of a training step went into that.
        """
        parts = states.split_with_sizes([group.n * group.length for group in self.groups])
        return [part.view(group.n, group.length, *states.shape[1:])
                for part, group in zip(parts, self.groups, strict=True)]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def pack(rows: Sequence[IntArray], device: str = "cpu", types: Sequence[IntArray] | None = None) -> Packed:
    """The rows end to end. Rows of equal length should be neighbours, or there are as many groups as rows.

    types: of the tokens of each row

    >>> batch = pack([np.array([101, 8, 9, 102]), np.array([101, 7, 102]), np.array([101, 6, 102])])
    >>> batch.positions.tolist(), [tuple(group) for group in batch.groups]
    ([0, 1, 2, 3, 0, 1, 2, 0, 1, 2], [(0, 1, 4), (4, 2, 3)])
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    groups = tuple(
        Group(int(offsets[row]), int(n), int(lengths[row]))
        for row, n in zip(starts, np.diff(starts, append=len(lengths)), strict=True)
    )
    return Packed(_joined(rows).to(device), offsets, groups, None if types is None else _joined(types).to(device))


def plan(lengths: IntArray, batch_tokens: int) -> list[IntArray]:
    """Which rows go together: longest first, as many as fit into batch_tokens real tokens, at least one.

    >>> [batch.tolist() for batch in plan(np.array([3, 9, 2, 3]), 6)]
    [[1], [0, 3], [2]]
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[IntArray] = []
    start, total = 0, 0
    for place, row in enumerate(order):
        if place > start and total + lengths[row] > batch_tokens:
            batches.append(order[start:place])
            start, total = place, 0
        total += int(lengths[row])
    if len(order) > start:
        batches.append(order[start:])
    return batches


def _joined(rows: Sequence[IntArray]) -> Tensor:
    return torch.from_numpy(np.concatenate(rows).astype(np.int64) if len(rows) else np.zeros(0, np.int64))
