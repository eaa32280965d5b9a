"""Evens out the directions along which a table's texts lie: what all share weighs less, what tells them apart more.

Along each main direction of the texts' vectors the table is multiplied with the texts' mean square there to the power
of -even. At 0.5 all directions come to weigh alike: whitening (Su et al. 2021); less keeps a part of what was learnt
about which of them matter. No mean is taken away, since a sum of rows knows none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qianru.models.pooling import weighted_sums
from qianru.models.static import StaticModel
from qianru.train.data.sets import DataSet
from qianru.train.data.texts import texts_of
from qianru.types import FloatArray, SparseRows

OF_EACH = 2_000    # rows of a set whose texts are looked at: small sets count as much as large ones
LEAST = 1e-6       # of the largest mean square: directions without texts are not blown up


@dataclass(frozen=True, slots=True)
class Evening:
    """How a table is evened out. counts: the tokens of the texts that are looked at"""

    even: float
    counts: SparseRows

    @classmethod
    def of(cls, sets: Sequence[DataSet], model: StaticModel, even: float) -> Evening | None:
        """Over texts of all sets, from rows evenly apart; None where nothing is to be evened out."""
        if not even:
            return None
        places = [np.linspace(0, len(data) - 1, min(len(data), OF_EACH)).astype(int) for data in sets]
        texts = [text for data, some in zip(sets, places, strict=True) for i in some for text in texts_of(data[i])]
        return cls(even, model.counts(texts)[0])

    def __call__(self, table: FloatArray) -> FloatArray:
        """(v, d) the table evened out, its axes as they were, so that the first ones still hold most of a text."""
        turn, squares = _directions(torch.from_numpy(weighted_sums(self.counts, table)).double())
        sizes = (squares / squares.max().clamp_min(1e-30)).clamp_min(LEAST) ** -self.even
        evened: FloatArray = (torch.from_numpy(table).double() @ (turn * sizes @ turn.T)).float().numpy()
        return evened


def _directions(sums: Tensor) -> tuple[Tensor, Tensor]:
    """((d, d) main directions of the rows as columns, (d,) mean squares along them) of the rows brought to length 1."""
    lengths = sums.norm(dim=1, keepdim=True)
    unit = sums / torch.where(lengths > 0, lengths, torch.ones(()).double())
    squares, turn = torch.linalg.eigh(unit.T @ unit / len(unit))
    return turn, squares
