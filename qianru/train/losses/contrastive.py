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


def four_directions(
    queries: Tensor, documents: Tensor, target: Tensor, own: Tensor, known: Tensor | None = None,
    alike: Tensor | None = None, rows: slice = slice(None),
) -> Tensor:
    """(b, c + b + b + c) similarities for GTE's one softmax: of each query with all documents and queries, and of its
    positive with all queries and documents.

    queries: (b, d);  documents: (c, d);  all of length 1
    target: (b,) column of each query's positive, in the result as in the documents
    own: (b, c) bool, the documents that came with a query; they are not compared with its positive
    known: (b, c) bool, documents that are right too;  alike: (b, b) bool, queries that ask the same; both do not count
    rows: of the result, to compute these alone
    Source: Li et al. 2023 (GTE, arXiv 2308.03281), eq. 3 and 4; hard negatives as documents of the batch.
    """
    aim, known = target[rows], torch.zeros_like(own) if known is None else known
    positives = documents[aim]                                                   # (b, d)
    places = torch.arange(len(queries), device=queries.device)
    itself = places[rows, None] == places                                        # (b, b)
    asked_alike = itself if alike is None else itself | alike[rows]
    answers_too = known[:, aim].T & ~itself                                      # query j that positive i answers
    return torch.cat([
        without(queries[rows] @ documents.T, aim, known[rows]),
        (queries[rows] @ queries.T).masked_fill(asked_alike, -math.inf),
        (positives @ queries.T).masked_fill(answers_too, -math.inf),
        (positives @ documents.T).masked_fill(own[rows] | known[rows], -math.inf),
    ], dim=1)
