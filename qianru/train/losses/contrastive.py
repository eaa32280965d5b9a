"""The right document among its candidates."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from qianru.train.losses.numbers import at_least_float32


def info_nce(scores: Tensor, target: Tensor, temperature: float = 0.02) -> Tensor:
    """Mean negative log-probability of the right document among its candidates.

    scores: (b, c) similarities of b queries with c candidates; -inf for one that does not count
    target: (b,) column of each query's positive
    Source: van den Oord et al. 2018 (arXiv 1807.03748), eq. 4, with scores in place of the density ratio.

    >>> round(info_nce(torch.zeros(2, 4), torch.tensor([0, 1])).item(), 4)   # four equal choices: ln 4
    1.3863
    """
    return cross_entropy(at_least_float32(scores) / temperature, target)


def without(scores: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """The scores with -inf for candidates that are known to be right too, each query's target excepted.

    known: (b, c) bool, e.g. texts equal to one of the query's positives

    >>> without(torch.ones(1, 3), torch.tensor([0]), torch.tensor([[True, True, False]])).tolist()
    [[1.0, -inf, 1.0]]
    """
    hidden = known.scatter(1, target[:, None], False)
    return scores.masked_fill(hidden, -math.inf)   # not 0: that is a similarity like any other


def without_near(scores: Tensor, target: Tensor, margin: float) -> Tensor:
    """The scores with -inf for candidates that beat the positive by more than the margin: likely unlabelled positives.

    Source: the Qwen3-Embedding report (arXiv 2506.05176), eq. 2, where the margin is 0.1.

    >>> without_near(torch.tensor([[0.5, 0.55, 0.7]]), torch.tensor([0]), 0.1).tolist()   # 0.7 is above 0.5 + 0.1
    [[0.5, 0.550000011920929, -inf]]
    """
    limit = scores.detach().gather(1, target[:, None]) + margin
    return scores.masked_fill(scores.detach() > limit, -math.inf)


def four_directions(queries: Tensor, documents: Tensor, n_candidates: int) -> Tensor:
    """(b, c + b + b + c) similarities for GTE's one softmax: of each query with all documents and queries, and of its
    positive with all queries and documents.

    queries: (b, d);  documents: (b * n_candidates, d), each query's positive first, then its negatives; all of length 1
    A query is not compared with itself, nor its positive with the documents of the same query. The positive of query i
    is in column i * n_candidates.
    Source: Li et al. 2023 (GTE, arXiv 2308.03281), eq. 3 and 4; hard negatives as documents of the batch.
    """
    positives = documents[::n_candidates]                                       # (b, d)
    own = torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    return torch.cat([
        queries @ documents.T,
        (queries @ queries.T).masked_fill(own, -math.inf),
        positives @ queries.T,
        (positives @ documents.T).masked_fill(own.repeat_interleave(n_candidates, dim=1), -math.inf),
    ], dim=1)
