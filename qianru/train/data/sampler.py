"""Which rows make the next batch: a seed and a few counters, so that a checkpoint can say exactly where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qianru.errors import BadInput, SpecMismatch
from qianru.types import IntArray

WINDOW = 64   # batches sorted by length together: long enough to tell lengths apart, short enough to stay random


@dataclass(frozen=True, slots=True)
class Draw:
    """The rows of one batch.

    source: number of the data set;  seed: for what is drawn within the batch
    """

    source: int
    rows: IntArray
    seed: int


class Sampler:
    """Batches of one data set each, every row once in each pass over its set.

    sizes: rows of each set;  weights: how much more often than its size says
    temperature: 1 draws sets in proportion to their sizes, larger ones more evenly
    lengths: letters of each row of each set, for batches of like length; None for batches of any
    What is left of a pass and does not fill a batch is left out of it; a set smaller than a batch is a batch.
    """

    def __init__(
        self, sizes: Sequence[int], batch_size: int, seed: int, *, weights: Sequence[float] | None = None,
        temperature: float = 1.0, lengths: Sequence[IntArray] | None = None,
    ) -> None:
        if batch_size < 1 or temperature <= 0:
            raise BadInput(f"batch_size must be at least 1 and the sampling temperature above 0; they are {batch_size} "
                           f"and {temperature}.")
        self._sizes, self._batch, self._seed, self._lengths = list(sizes), batch_size, seed, lengths
        shares = np.array(weights or [1.0] * len(sizes)) * np.array(sizes, float) ** (1 / temperature)
        self._shares = shares / shares.sum()
        self._step = 0
        self._passes = [0] * len(sizes)
        self._places = [0] * len(sizes)    # batches taken of this pass
        self._orders: list[list[IntArray] | None] = [None] * len(sizes)

    @property
    def batches_per_pass(self) -> int:
        """Of all sets together."""
        return sum(max(size // self._batch, 1) for size in self._sizes)

    def draw(self) -> Draw:
        """The next batch."""
        rng = np.random.default_rng([self._seed, 1, self._step])
        source = int(rng.choice(len(self._sizes), p=self._shares)) if len(self._sizes) > 1 else 0
        self._step += 1
        batches = self._ordered(source)
        if self._places[source] == len(batches):
            self._passes[source] += 1
            self._places[source], self._orders[source] = 0, None
            batches = self._ordered(source)
        rows = batches[self._places[source]]
        self._places[source] += 1
        return Draw(source, rows, int(rng.integers(1 << 62)))

    def state(self) -> dict[str, Any]:
        """Where it is, as JSON can say it."""
        return {"step": self._step, "passes": list(self._passes), "places": list(self._places)}

    def go_to(self, state: Mapping[str, Any]) -> None:
        """Continues where another with the same sets and seed was; SpecMismatch for a state of other sets."""
        passes, places, step = state.get("passes"), state.get("places"), state.get("step")
        if not isinstance(passes, list) or not isinstance(places, list) or type(step) is not int \
                or not len(passes) == len(places) == len(self._sizes):
            raise SpecMismatch(f"The checkpoint was made with other data sets: it knows the places {places!r:.60} of "
                               f"{len(self._sizes)} sets.")
        self._step, self._passes, self._places = step, list(passes), list(places)
        self._orders = [None] * len(self._sizes)

    def _ordered(self, source: int) -> list[IntArray]:
        """The batches of this pass over a set."""
        held = self._orders[source]
        if held is not None:
            return held
        rng = np.random.default_rng([self._seed, 2, source, self._passes[source]])
        order = rng.permutation(self._sizes[source])
        n = max(len(order) // self._batch, 1)
        batches: list[IntArray] = []
        if self._lengths is None:
            batches += [order[i * self._batch : (i + 1) * self._batch] for i in range(n)]
        else:
            lengths = self._lengths[source]
            for at in range(0, n, WINDOW):
                near = order[at * self._batch : min(at + WINDOW, n) * self._batch]
                near = near[np.argsort(lengths[near], kind="stable")]
                batches += [near[i : i + self._batch] for i in range(0, len(near), self._batch)]
            batches = [batches[i] for i in rng.permutation(len(batches))]
        self._orders[source] = batches
        return batches
