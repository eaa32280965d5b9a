"""Sets looked up and compared by compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np

from qianru.scores.exact.compiled import compiled


@compiled
def probe(
    offsets: Any, keys: Any, sizes: Any, order: Any, first: int, last: int,
    indexed: Any, starts: Any, places: Any, lengths: Any, origin: int, begin: int, end: int,
    threshold: float, w: float, slack: float,
) -> Any:
    """left, right, similarities of the sets begin to end of the order with smaller ones among first to last of it.

    offsets (n + 1,), keys, sizes (n,): the sets
    indexed (t,) ascending keys; starts (t + 1,), places: their sets, counted from first, ascending, so by size
    lengths: how many keys of each set from origin on are looked up
    """
    seen = np.full(last - first, -1, np.int32)
    left, right = np.empty(1024, np.int32), np.empty(1024, np.int32)
    similarities = np.empty(1024, np.float32)
    n = 0
    for at in range(begin, end):
        row = order[at]
        size, start, stop = sizes[row], offsets[row], offsets[row + 1]
        least = size * threshold * (1 - w) / (1 - threshold * w) - slack
        for i in range(start, start + lengths[at - origin]):
            t = np.searchsorted(indexed, keys[i])
            if t == len(indexed) or indexed[t] != keys[i]:
                continue
            low, high = starts[t], starts[t + 1]
            while low < high:                       # past those that are too small
                middle = (low + high) // 2
                if sizes[order[places[middle] + first]] < least:
                    low = middle + 1
                else:
                    high = middle
            for j in range(low, starts[t + 1]):
                place = places[j]
                if place + first >= at:
                    break
                if seen[place] == at:
                    continue
                seen[place] = at
                other = order[place + first]
                whole = w * sizes[other] + (1 - w) * size
                want = np.int64(np.ceil(threshold * whole - slack))
                a, b, a_end, b_end = offsets[other], start, offsets[other + 1], stop
                shared = 0
                while a < a_end and b < b_end and shared + min(a_end - a, b_end - b) >= want:
                    if keys[a] == keys[b]:
                        shared += 1
                        a += 1
                        b += 1
                    elif keys[a] < keys[b]:
                        a += 1
                    else:
                        b += 1
                if shared < want:
                    continue
                if n == len(left):
                    left, right = np.concatenate((left, left)), np.concatenate((right, right))
                    similarities = np.concatenate((similarities, similarities))
                left[n], right[n], similarities[n] = other, row, shared / whole
                n += 1
    return left[:n], right[:n], similarities[:n]
