"""A teacher's scores or vectors, to be matched."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from qianru.train.losses.numbers import at_least_float32

Distance = Literal["cosine", "mse", "l2"]


def kl_divergence(
    scores: Tensor, teacher: Tensor, temperature: float = 1.0, teacher_temperature: float | None = None
) -> Tensor:
    """temperature^2 times the mean divergence of the student's distribution over the candidates from the teacher's.

    scores, teacher: (b, c) of each query with its own candidates
    teacher_temperature: None for the student's; a cross-encoder's logits want another than cosines do
    The factor keeps gradients comparable between temperatures (Hinton et al. 2015, section 2).

    >>> kl_divergence(torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 6.0]])).item()   # the same up to a constant
    0.0
    """
    student = (at_least_float32(scores) / temperature).log_softmax(1)
    aim = (at_least_float32(teacher) / (teacher_temperature or temperature)).softmax(1)
    return functional.kl_div(student, aim, reduction="batchmean") * temperature**2


def soft_cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Mean over rows of -sum p log softmax(logits): the divergence plus a constant, so with the same gradient."""
    return -(probabilities * logits.log_softmax(1)).sum(1).mean()


def ranked_distillation(scores: Tensor, own: Tensor, teacher: Tensor, temperature: float = 0.02) -> Tensor:
    """Each of a query's own candidates among all of the batch, weighted by the teacher's probability of it.

    scores: (b, c);  own: (b, g) columns of each query's own candidates, in the data's order;  teacher: (b, g)
    Candidate i competes with all but the own candidates before it, which are as good or better.
    Source: FlagEmbedding 1.4, "m3_kd_loss"; Chen et al. 2024 (BGE-M3).
    """
    weights = at_least_float32(teacher).softmax(1)
    logits = at_least_float32(scores) / temperature
    total = logits.new_zeros(())
    for i in range(own.shape[1]):
        chosen = own[:, i]
        total = total + (weights[:, i] * functional.cross_entropy(logits, chosen, reduction="none")).mean()
        logits = logits.scatter(1, chosen[:, None], -math.inf)
    return total


def margin_mse(scores: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the margins of the first candidate over each other one, student's and teacher's.

    scores, teacher: (b, c), the positive in column 0
    Source: Hofstätter et al. 2020 (arXiv 2010.02666), eq. 3.

    >>> margin_mse(torch.tensor([[3.0, 1.0]]), torch.tensor([[9.0, 8.0]])).item()   # (2 - 1) squared
    1.0
    """
    return functional.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])


def embedding_distance(vectors: Tensor, teacher: Tensor, distance: Distance = "cosine") -> Tensor:
    """Mean distance of the student's vectors from the teacher's, both (n, d).

    >>> embedding_distance(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0]]), "l2").item()
    5.0
    """
    if distance == "cosine":
        return (1 - functional.cosine_similarity(vectors, teacher, dim=-1)).mean()
    if distance == "l2":
        lengths: Tensor = torch.linalg.vector_norm(vectors - teacher, dim=-1)
        return lengths.mean()
    return functional.mse_loss(vectors, teacher)


def similarity_distance(vectors: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the similarities of each two texts, student's and teacher's; widths may differ.

    vectors: (n, d);  teacher: (n, e);  all of length 1
    Source: Zhang et al. 2024 (Jasper and Stella, arXiv 2412.19048), eq. 2.

    >>> both = torch.eye(2)
    >>> similarity_distance(both, torch.tensor([[1.0], [1.0]])).item()     # 0 in place of 1 twice, of four
    0.5
    """
    return functional.mse_loss(vectors @ vectors.T, teacher @ teacher.T)
