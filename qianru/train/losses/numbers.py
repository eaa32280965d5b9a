"""In what precision losses are computed."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(scores: Tensor) -> Tensor:
    """The same in float32 if it is half as wide: sums of exponentials lose too much there."""
    return scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores
