"""BGE-M3's dense, sparse and multi scores, trained together; their sum teaches each of them.

    ensemble     = dense + 0.3 sparse + multi
    loss         = (L(dense) + L(ensemble) + 0.1 L(sparse) + L(multi)) / 4
    distillation = (D(dense) + 0.1 D(sparse) + D(multi)) / 3        D: cross entropy to the ensemble's softmax
    together     = (loss + distillation) / 2

Source: Chen et al. 2024 (arXiv 2402.03216), section 3.3; the divisors from FlagEmbedding 1.4's code.
"""

from __future__ import annotations

from torch import Tensor

from qianru.train.losses.contrastive import info_nce
from qianru.train.losses.distillation import soft_cross_entropy
from qianru.train.losses.numbers import at_least_float32

SPARSE_SHARE = 0.3    # in the ensemble: young term weights are noisy
SPARSE_LOSS = 0.1     # in the losses


def three_heads(
    dense: Tensor, sparse: Tensor, multi: Tensor, target: Tensor, temperature: float = 0.02, *, self_distil: bool = True
) -> Tensor:
    """The loss above of the three similarities, (b, c) each, not yet divided by the temperature.

    target: (b,) column of each query's positive
    self_distil: False while the heads are young; BGE-M3 begins after about 6,000 steps
    """
    ensemble = dense + SPARSE_SHARE * sparse + multi
    right = [info_nce(scores, target, temperature) for scores in (dense, ensemble, sparse, multi)]
    loss = (right[0] + right[1] + SPARSE_LOSS * right[2] + right[3]) / 4
    if not self_distil:
        return loss
    teacher = (at_least_float32(ensemble.detach()) / temperature).softmax(1)
    taught = [soft_cross_entropy(_countable(at_least_float32(scores)) / temperature, teacher)
              for scores in (dense, sparse, multi)]
    return (loss + (taught[0] + SPARSE_LOSS * taught[1] + taught[2]) / 3) / 2


def _countable(scores: Tensor) -> Tensor:
    """A hidden candidate's probability is 0, and 0 times log 0 must be 0: a very small score stands for -inf."""
    return scores.clamp_min(-1e4)
