"""Pairs with a degree of likeness, of which only the order counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qianru.train.losses.numbers import at_least_float32

SCALE = 20.0   # Su 2022


def cosent(scores: Tensor, degrees: Tensor, scale: float = SCALE) -> Tensor:
    """log(1 + sum over degree_i > degree_j of exp(scale (score_j - score_i))): how badly the scores keep the order.

    scores: (n,) similarities of n pairs;  degrees: (n,) how alike they are, on any scale
    Computed in n log n: sorted by degree, each pair's sum over those above it is one cumulative logsumexp.
    Source: Su 2022 (CoSENT, kexue.fm/archives/8847), eq. 6; Huang et al. 2024, TASLP.

    >>> round(cosent(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])).item(), 4)   # one pair of equals: ln 2
    0.6931
    >>> round(cosent(torch.tensor([0.1, 0.9]), torch.tensor([3.0, 3.0])).item(), 4)   # no order to keep
    0.0
    """
    degrees, order = degrees.sort()
    scaled = at_least_float32(scores)[order] * scale
    # above[i] = log of the sum of exp(-scaled) over places i and after it; nothing comes after the last
    above = torch.logcumsumexp(-scaled.flip(0), dim=0).flip(0)
    above = torch.cat([above, above.new_full((1,), -math.inf)])
    first_above = torch.searchsorted(degrees, degrees, right=True)    # the first place with a larger degree
    terms = scaled + above[first_above]                               # -inf where there is none
    return torch.logsumexp(torch.cat([terms.new_zeros(1), terms]), dim=0)
