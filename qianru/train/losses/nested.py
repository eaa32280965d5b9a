"""Matryoshka: a loss on the first dimensions as well, so that vectors can be cut short later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.functional import normalize

from qianru.errors import BadInput


def nested(
    loss: Callable[..., Tensor], vectors: Sequence[Tensor], dims: Sequence[int], weights: Sequence[float] | None = None
) -> Tensor:
    """Weighted sum of the loss of the vectors' first so many dimensions, cut first and brought to length 1 after.

    loss: (*vectors) -> scalar;  vectors: (n, d) each;  dims: none above d;  weights: None for equal ones that sum to 1
    Raises BadInput for dimensions that are not there.
    Source: Kusupati et al. 2022 (arXiv 2205.13147), eq. 1.
    """
    most = min(v.shape[-1] for v in vectors)
    if not dims or not all(1 <= dim <= most for dim in dims):
        raise BadInput(f"Nested dimensions must lie between 1 and the model's {most}; they are {list(dims)}.")
    if weights is not None and len(weights) != len(dims):
        raise BadInput(f"{len(dims)} nested dimensions need as many weights; there are {len(weights)}.")
    shares = weights or [1 / len(dims)] * len(dims)
    parts = [share * loss(*(normalize(v[..., :dim], dim=-1) for v in vectors))
             for dim, share in zip(dims, shares, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
