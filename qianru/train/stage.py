"""What a step of the loop computes: here the loss of embedded texts; pretraining/stage.py has another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from torch import nn

from qianru.models.transformer import Transformer
from qianru.train.config import TrainConfig
from qianru.train.data.batches import RankedBatch, collect
from qianru.train.data.sampler import Draw
from qianru.train.data.sets import DataSet
from qianru.train.gradients import backward
from qianru.train.objective import loss_of, texts_of
from qianru.train.processes import ALONE, Processes
from qianru.train.vectors import Forward, tokenized


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
    """Texts are embedded, and their similarities are to be as the examples say."""

    def __init__(
        self, config: TrainConfig, model: Transformer, sets: Sequence[DataSet], processes: Processes = ALONE
    ) -> None:
        self.processes = processes
        self.config, self.model, self.sets, self.module = config, model, sets, model.network
        self.forward = Forward(model.network, model.device.name, model.tokenizer.special_ids(),
                               heads=config.loss.ranked == "three_heads", bfloat16=config.precision == "bfloat16")

    def backward(self, draw: Draw, step: int, share: float) -> tuple[float, int]:
        """(loss, tokens) of the draw; adds share times the loss's gradient to the parameters."""
        data = self.sets[draw.source]
        batch = collect(data, draw, self.config.n_negatives)
        prompts = self._prompts(data, isinstance(batch, RankedBatch))
        queries, documents = (tokenized(self.model, texts, prompt)
                              for texts, prompt in zip(texts_of(batch), prompts, strict=True))
        loss = backward(self.forward, queries, documents, partial(loss_of, self.config.loss, batch, step=step),
                        memory_tokens=self.config.memory_tokens, share=share, processes=self.processes)
        return loss, queries.n_tokens + documents.n_tokens

    def _prompts(self, data: DataSet, ranked: bool) -> tuple[str, str]:
        """What stands before queries and documents; pairs of equals are both documents."""
        own = self.model.prompts
        query, document = data.config.query_prompt, data.config.document_prompt
        document = own.before("document") if document is None else document
        if not ranked:
            return document, document
        return own.before("query") if query is None else query, document
