"""From vectors to one number to be made smaller: which loss a batch gets, and on which similarities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import normalize

from qianru.errors import BadInput, UnknownName
from qianru.train.data.batches import Batch, PlainBatch, RankedBatch, ScoredBatch
from qianru.train.losses.by_rows import by_rows
from qianru.train.losses.contrastive import four_directions, info_nce, without, without_near
from qianru.train.losses.distillation import margin_mse, ranked_distillation, soft_cross_entropy
from qianru.train.losses.nested import nested
from qianru.train.losses.scored import SCALE, cosent
from qianru.train.losses.three_heads import three_heads
from qianru.train.similarity import multi_similarities, sparse_similarities
from qianru.train.vectors import Vectors

RankedLoss: TypeAlias = Literal["info_nce", "four_directions", "three_heads"]
TeacherLoss: TypeAlias = Literal["kl", "ranked", "margin"]
RANKED = ("info_nce", "four_directions", "three_heads")
TEACHER = ("kl", "ranked", "margin")


@dataclass(frozen=True, slots=True)
class LossConfig:
    """What is minimised.

    ranked: for queries with documents: "info_nce", GTE's "four_directions", or BGE-M3's "three_heads"
    temperature: similarities are divided by it; small ones care for the hardest negatives only
    near_margin: candidates that beat the positive by more than this do not count; None to count all
    teacher: where a row has a teacher's scores, they are matched: "kl" beside the ranked loss as
        FlagEmbedding does it, or by "ranked" or "margin" alone
    teacher_temperature: of the teacher's scores
    cosent_scale: for scored pairs
    nested_dims: Matryoshka sizes, with the full one among them; none for the full one alone
    self_distil_after: steps after which three heads begin to teach themselves
    """

    ranked: RankedLoss = "info_nce"
    temperature: float = 0.02
    near_margin: float | None = None
    teacher: TeacherLoss = "kl"
    teacher_temperature: float = 1.0
    cosent_scale: float = SCALE
    nested_dims: tuple[int, ...] = ()
    self_distil_after: int = 0

    def __post_init__(self) -> None:
        if self.ranked not in RANKED:
            raise UnknownName("ranked loss", self.ranked, RANKED)
        if self.teacher not in TEACHER:
            raise UnknownName("teacher's loss", self.teacher, TEACHER)
        for name in ("temperature", "teacher_temperature", "cosent_scale"):
            if not getattr(self, name) > 0:
                raise BadInput(f"The loss's {name} must be above 0; it is {getattr(self, name)}.")
        if self.ranked == "three_heads" and self.nested_dims:
            raise BadInput("Nested dimensions are for dense vectors; three heads have others beside. Leave one out.")


def texts_of(batch: Batch) -> tuple[list[str], list[str]]:
    """What is embedded as queries and what as documents. Plain texts stand on both sides: dropout tells them apart."""
    if isinstance(batch, RankedBatch):
        return batch.queries, batch.documents
    if isinstance(batch, ScoredBatch):
        return batch.left, batch.right
    return batch.texts, batch.texts


def loss_of(config: LossConfig, batch: Batch, queries: Vectors, documents: Vectors, step: int) -> Tensor:
    """The loss of a batch from the vectors of its two sides."""
    if isinstance(batch, RankedBatch) and config.ranked == "three_heads":
        return _three_heads(config, batch, queries, documents, step)
    return dense_loss(config, batch, queries.dense(), documents.dense())


def dense_loss(config: LossConfig, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
    """The loss of a batch from the dense vectors of its two sides, of any length; (n, d) each."""
    inner = _inner(config, batch)
    sides = queries, documents
    if config.nested_dims:
        return nested(inner, sides, config.nested_dims)
    return inner(*(normalize(side, dim=-1) for side in sides))


def _inner(config: LossConfig, batch: Batch) -> Callable[[Tensor, Tensor], Tensor]:
    """(queries, documents), of length 1 -> the loss."""
    if isinstance(batch, ScoredBatch):
        return _scored(config, batch)
    return _each_its_own(config) if isinstance(batch, PlainBatch) else _ranked(config, batch)


def _scored(config: LossConfig, batch: ScoredBatch) -> Callable[[Tensor, Tensor], Tensor]:
    degrees = torch.from_numpy(batch.scores)

    def inner(left: Tensor, right: Tensor) -> Tensor:
        return cosent((left * right).sum(1), degrees.to(left.device), config.cosent_scale)

    return inner


def _ranked(config: LossConfig, batch: RankedBatch) -> Callable[[Tensor, Tensor], Tensor]:
    def inner(all_queries: Tensor, all_documents: Tensor) -> Tensor:
        target, own, known, alike = (torch.from_numpy(table).to(all_queries.device)
                                     for table in (batch.target, batch.own, batch.known, batch.alike))
        group = None if batch.group is None else torch.from_numpy(batch.group).to(all_queries.device)
        teacher = None if batch.teacher is None else torch.from_numpy(batch.teacher).to(all_queries.device)

        def loss(rows: slice, queries: Tensor, documents: Tensor) -> Tensor:
            aim, plain = target[rows], queries[rows] @ documents.T                          # (rows, c)
            if group is not None and teacher is not None and config.teacher != "kl":
                taught = teacher[rows] / config.teacher_temperature
                if config.teacher == "ranked":
                    return ranked_distillation(plain, group[rows], taught, config.temperature)
                return margin_mse(plain.gather(1, group[rows]), taught)
            if config.ranked == "four_directions":
                scores = four_directions(queries, documents, target, own, known, alike, rows)
            else:
                scores = without(plain, aim, known[rows])
            if config.near_margin is not None:
                scores = without_near(scores, aim, config.near_margin)
            right = info_nce(scores, aim, config.temperature)
            if group is None or teacher is None or group.shape[1] < 2:
                return right
            taught = (teacher[rows] / config.teacher_temperature).softmax(1).float()
            return right + soft_cross_entropy(plain.gather(1, group[rows]) / config.temperature, taught)

        return by_rows(loss, all_queries, all_documents)

    return inner


def _three_heads(config: LossConfig, batch: RankedBatch, queries: Vectors, documents: Vectors, step: int) -> Tensor:
    dense = normalize(queries.dense(), dim=-1) @ normalize(documents.dense(), dim=-1).T
    target, known = (torch.from_numpy(a).to(dense.device) for a in (batch.target, batch.known))
    sparse, multi = sparse_similarities(queries, documents), multi_similarities(queries, documents)
    return three_heads(
        without(dense, target, known), without(sparse, target, known), without(multi, target, known), target,
        config.temperature, self_distil=step >= config.self_distil_after,
    )


def _each_its_own(config: LossConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """SimCSE (Gao et al. 2021, arXiv 2104.08821): a text's positive is itself under another dropout."""

    def loss(rows: slice, queries: Tensor, documents: Tensor) -> Tensor:
        itself = torch.arange(len(queries), device=queries.device)[rows]
        return info_nce(queries[rows] @ documents.T, itself, config.temperature)

    return partial(by_rows, loss)
