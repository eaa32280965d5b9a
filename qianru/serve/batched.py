"""Models of collections, computed by the server's worker, so that nobody else uses the processor beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from qianru.models.base import Model, ModelSpec, as_texts
from qianru.models.joined import JoinedModel
from qianru.serve.lanes import Ask, PairScorer, Read, TransformerEmbedder
from qianru.serve.models import Models
from qianru.serve.worker import Worker
from qianru.types import Embeddings, FloatArray, Kind, Progress, Role


class Batched:
    """A transformer whose texts go through the worker's line; in all else it is the model itself."""

    def __init__(self, lane: TransformerEmbedder, worker: Worker) -> None:
        self.lane, self.worker = lane, worker

    @property
    def spec(self) -> ModelSpec:
        """The model's."""
        return self.lane.spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lane.model, name)

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """As the model's own, in the worker's turn."""
        listed = as_texts(texts)
        if not listed:
            return self.lane.model.encode(listed, role=role, kinds=kinds, instruction=instruction)
        ask = self.lane.ask(Ask(role, tuple(kinds or self.spec.kinds), instruction))
        read = self.lane.read(listed, ask)
        made: Embeddings = self.worker.compute(self.lane, read)
        if progress is not None:
            progress(len(listed), len(listed))
        assert read.n_tokens is not None
        return replace(made, n_tokens=read.n_tokens, n_truncated=read.n_cut)


class BatchedReranker:
    """A cross-encoder whose pairs go through the worker's line."""

    def __init__(self, lane: PairScorer, worker: Worker) -> None:
        self.lane, self.worker = lane, worker

    @property
    def spec(self) -> ModelSpec:
        """The model's."""
        return self.lane.spec

    def score(self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> FloatArray:
        """(n,) scores of the pairs."""
        read: Read = self.lane.read(pairs)
        made: FloatArray = self.worker.compute(self.lane, read)
        return made


def batched(model: Model, models: Models) -> Model:
    """The model, its transformers by the worker; one that is served already is not kept twice in memory."""
    if isinstance(model, JoinedModel):
        return JoinedModel([batched(part, models) for part in model.parts])
    if model.spec.family != "transformer" or isinstance(model, Batched):
        return model
    for served in models:
        if isinstance(served.lane, TransformerEmbedder) and served.spec.fingerprint == model.spec.fingerprint:
            return Batched(served.lane, served.worker)
    return Batched(TransformerEmbedder(model), models.local)  # type: ignore[arg-type]   # as its family says
