"""Memory of mapped files: pages whose numbers are laid out elsewhere are given back, and read again if asked for.

The weights of a model stay mapped from their file, for its fingerprint and for saving it. Once they are packed, nobody
looks at those pages, yet they count as this process's memory until the system is short of it.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.models.array_file import Array
from qianru.runtime.pages import madvise

if TYPE_CHECKING:
    from torch import Tensor

MAPS = Path("/proc/self/maps")
WORTH_RELEASING = 64 << 20       # bytes


class LazyArrays(Mapping[str, Array]):
    """name -> float32 array of a tensor, made when it is asked for, so that a large model never stands there twice.

    unchanged: nobody writes to the tensors, so that the pages that were read can be given back on the way
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, unchanged: bool) -> None:
        self._tensors, self._unchanged = tensors, unchanged
        self._read: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Array:
        if self._unchanged:
            if sum(tensor.nbytes for tensor in self._read.values()) > WORTH_RELEASING:
                release(self._read)
                self._read.clear()
            self._read[name] = self._tensors[name]
        array: Array = self._tensors[name].detach().float().cpu().numpy()
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def release(tensors: Mapping[str, Tensor]) -> None:
    """Gives back the pages of those tensors that lie in a file. Not for tensors that were written to: it would be lost.

    Where the system does not say what lies in a file (it is no Linux), nothing happens.
    """
    advise, dont_need, regions = madvise(), getattr(mmap, "MADV_DONTNEED", None), _file_regions()
    if advise is None or dont_need is None or not regions:
        return
    starts = [start for start, _ in regions]
    for tensor in tensors.values():
        if tensor.device.type != "cpu" or tensor.numel() == 0:
            continue
        start = tensor.data_ptr()
        end = start + tensor.numel() * tensor.element_size()
        at = bisect_right(starts, start) - 1
        if at < 0 or end > regions[at][1]:
            continue                                           # it lies in memory of its own
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE     # whole pages only: the others hold parts of neighbours
        size = end // mmap.PAGESIZE * mmap.PAGESIZE - first
        if size > 0:
            advise(first, size, dont_need)


def _file_regions() -> list[tuple[int, int]]:
    """(start, end) of the memory that the system says is a file's, in ascending order."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return []
    regions: list[tuple[int, int]] = []
    for line in lines:
        span, _, _, _, inode, *_ = line.split(maxsplit=5)
        if inode != "0":
            start, _, end = span.partition("-")
            regions.append((int(start, 16), int(end, 16)))
    return regions
