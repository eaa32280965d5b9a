"""What a step of the loop computes: here the loss of embedded texts; pretraining/stage.py has another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from qianru.models.transformer import Transformer
from qianru.train.config import TrainConfig
from qianru.train.data.batches import Batch, PlainBatch, RankedBatch, collect
from qianru.train.data.sampler import Draw
from qianru.train.data.sets import DataSet
from qianru.train.distil import Distiller, Student, find_teacher
from qianru.train.gradients import backward
from qianru.train.objective import loss_of, texts_of
from qianru.train.processes import ALONE, Processes
from qianru.train.vectors import Forward, Vectors, tokenized


class Stage(Protocol):
    """Gradients of one draw after the other."""

    @property
    def module(self) -> nn.Module:
        """Everything that learns."""
        ...

    def backward(self, draw: Draw, step: int, share: float) -> tuple[float, int]:
        """(loss, tokens) of the draw; adds share times the loss's gradient to the parameters."""
        ...


class EmbedStage:
    """Texts are embedded, and their similarities are to be as the examples say, their vectors as a teacher says."""

    def __init__(
        self, config: TrainConfig, model: Transformer, sets: Sequence[DataSet], processes: Processes = ALONE
    ) -> None:
        self.processes = processes
        self.config, self.model, self.sets = config, model, sets
        self.module: nn.Module = model.network
        self.distiller: Distiller | None = None
        if config.distil:
            device = model.device.name
            self.distiller = Distiller(config.distil, find_teacher(config.distil, sets, device), model.network.dim,
                                       seed=config.seed, processes=processes, device=device)
            if self.distiller.projection is not None:
                self.module = Student(model.network, self.distiller.projection)
        self.forward = Forward(model.network, model.device.name, model.tokenizer.special_ids(),
                               heads=config.loss.ranked == "three_heads", bfloat16=config.precision == "bfloat16")

    def backward(self, draw: Draw, step: int, share: float) -> tuple[float, int]:
        """(loss, tokens) of the draw; adds share times the loss's gradient to the parameters."""
        data = self.sets[draw.source]
        batch = collect(data, draw, self.config.n_negatives)
        prompts = self._prompts(data, isinstance(batch, RankedBatch))
        texts = texts_of(batch)
        if self.distiller and isinstance(batch, PlainBatch):       # each once: the teacher tells them apart
            texts = batch.texts[::2], batch.texts[1::2] or batch.texts
        queries, documents = (tokenized(self.model, some, prompt) for some, prompt in zip(texts, prompts, strict=True))
        loss = backward(self.forward, queries, documents, partial(self._loss, batch, texts, step=step),
                        memory_tokens=self.config.memory_tokens, share=share, processes=self.processes)
        return loss, queries.n_tokens + documents.n_tokens

    def _loss(
        self, batch: Batch, texts: tuple[list[str], list[str]], queries: Vectors, documents: Vectors, *, step: int
    ) -> Tensor:
        if self.distiller is None:
            return loss_of(self.config.loss, batch, queries, documents, step)
        sides = queries.dense(), documents.dense()
        distance = self.distiller.loss(sides, texts, alike=not isinstance(batch, RankedBatch))
        if isinstance(batch, PlainBatch):
            return distance
        return (loss_of(self.config.loss, batch, queries, documents, step)
                + self.distiller.config.weight * distance)

    def _prompts(self, data: DataSet, ranked: bool) -> tuple[str, str]:
        """What stands before queries and documents; pairs of equals are both documents."""
        own = self.model.prompts
        query, document = data.config.query_prompt, data.config.document_prompt
        document = own.before("document") if document is None else document
        if not ranked:
            return document, document
        return own.before("query") if query is None else query, document
