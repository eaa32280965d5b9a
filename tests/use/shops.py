"""A shop with a known truth: groups of things that go together, descriptions that half tell the group, new things."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Shop(NamedTuple):
    """names and texts of n items, their groups, sessions in time; the items in `new` come in the last fifth of them."""

    names: list[str]
    texts: list[str]
    group: NDArray[np.int64]
    sessions: list[list[str]]
    new: set[str]


def shop(seed: int = 0, n_groups: int = 20, size: int = 10, n_sessions: int = 1_000, n_new: int = 40) -> Shop:
    """Sessions of 3 to 7 items, mostly of one group; a few items of each group are popular, most are rarely taken.

    A text has 3 of the 8 words of its group and 10 words that say nothing.
    """
    rng = np.random.default_rng(seed)
    n = n_groups * size
    group = np.repeat(np.arange(n_groups), size)
    popular = np.tile(1 / np.arange(1, size + 1) ** 1.2, n_groups) * rng.lognormal(0, 1, n)
    new = rng.choice(n, n_new, replace=False)
    sessions: list[list[str]] = []
    for number in range(n_sessions):
        there = popular.copy()
        there[new] = 0 if number < 0.8 * n_sessions else popular.mean()
        taken: list[int] = []
        here = rng.choice(n_groups)
        for _ in range(rng.integers(3, 8)):
            if rng.random() < 0.15:                      # looks at something else
                here = rng.choice(n_groups)
            weights = np.where(group == here, there, 0)
            weights[taken] = 0
            if weights.sum() == 0:
                break
            taken.append(int(rng.choice(n, p=weights / weights.sum())))
        sessions.append([f"商品{i}" for i in taken])
    texts = [" ".join([*(f"组{group[i]}词{rng.integers(8)}" for _ in range(3)),
                       *(f"闲词{rng.integers(200)}" for _ in range(10))]) for i in range(n)]
    return Shop([f"商品{i}" for i in range(n)], texts, group, sessions, {f"商品{i}" for i in new})
