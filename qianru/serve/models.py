"""The models that are served, by their names."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from qianru.errors import BadInput, RequestRefused, UnknownName
from qianru.models.base import ModelSpec
from qianru.serve.lanes import Ask, Embedder, PairScorer, TransformerEmbedder, lane_of
from qianru.serve.line import Line
from qianru.serve.options import Limits
from qianru.serve.worker import Worker

WARM_UP = "床前明月光，疑是地上霜。"


class Given(NamedTuple):
    """A model or collection as the command line names it.

    name: that requests use;  place: for qianru.load or Collection.open;  named_by_place: it was given no other name
    """

    name: str
    place: str
    named_by_place: bool = False

    @classmethod
    def parse(cls, text: str) -> Given:
        """NAME=PLACE, or a place that names itself.

        >>> Given.parse("text-embedding-3-small=models/m3e-base"), Given.parse("BAAI/bge-m3").name
        (Given(name='text-embedding-3-small', place='models/m3e-base', named_by_place=False), 'BAAI/bge-m3')
        """
        name, equals, place = text.partition("=")
        if equals and name and place and "/" not in name and not Path(text).exists():
            return cls(name, place)
        return cls(Path(text).absolute().name if Path(text).exists() else text, text, True)


class Served(NamedTuple):
    """A model under its name. created: when it was loaded, in seconds of Unix;  place: what qianru.load knows it by"""

    name: str
    lane: Embedder | PairScorer
    worker: Worker
    created: int
    place: str | None = None

    @property
    def spec(self) -> ModelSpec:
        """What it is and can do."""
        return self.lane.spec

    @property
    def role(self) -> Literal["embedder", "reranker"]:
        """What it can be asked for."""
        return "reranker" if isinstance(self.lane, PairScorer) else "embedder"


class Models:
    """All that are served. Those that compute here share one worker."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.local = Worker(limits)
        self.workers = [self.local]
        self._served: dict[str, Served] = {}

    def add(self, name: str, model: Any, place: str | None = None) -> Served:
        """Serves a model that is loaded, from that place if it was. Raises BadInput for a name that is taken."""
        if name in self._served:
            raise BadInput(f"Two models are called {name}. Give one of them another name: NAME={name}.")
        worker = self.local
        lane = lane_of(model)
        if lane.spec.family == "remote":
            worker = Worker(self.limits, f"qianru-{name}")
            self.workers.append(worker)
        served = Served(name, lane, worker, int(time.time()), place)
        self._served[name] = served
        return served

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._served)

    def get(self, name: str) -> Served:
        """The model by that name. Raises UnknownName."""
        if name not in self._served:
            raise UnknownName("model", name[:80], self._served)
        return self._served[name]

    def embedder(self, name: str | None) -> tuple[Served, Embedder]:
        """A model that makes vectors: by its name, or the first."""
        served = self.get(name) if name is not None else self._first("embedder", "makes vectors")
        if not isinstance(served.lane, Embedder):
            raise BadInput(f"{served.name} is a reranker: it scores pairs of texts and makes no vectors. Ask it by "
                           "/v1/rerank or /v1/score.")
        return served, served.lane

    def reranker(self, name: str | None) -> tuple[Served, PairScorer]:
        """A model that reads pairs: by its name, or the first."""
        served = self.get(name) if name is not None else self._first("reranker", "reads pairs")
        if not isinstance(served.lane, PairScorer):
            raise BadInput(f"{served.name} makes vectors; it is no reranker. Ask one, or compare by /v1/score.")
        return served, served.lane

    def _first(self, role: str, what: str) -> Served:
        for served in self:
            if served.role == role:
                return served
        raise RequestRefused(f"This server has no model that {what}. It serves {', '.join(self._served) or 'none'}.",
                             424)

    def start(self) -> None:
        """Starts the workers. Each transformer computes a full step twice: to warm up, and to tell its rate."""
        for worker in self.workers:
            worker.start()
        for served in self:
            lane = served.lane
            if isinstance(lane, TransformerEmbedder):
                texts = [WARM_UP] * max(1, lane.budget // len(lane.model.tokenizer.rows([WARM_UP]).rows[0]))
                for _ in range(2):
                    served.worker.line.rates.pop(lane, None)
                    served.worker.compute(lane, lane.read(texts, lane.ask(usual_ask(lane))))

    def stop(self, timeout_s: float) -> bool:
        """Computes what waits and ends; whether all of it could be done in time."""
        until = time.monotonic() + timeout_s
        for worker in self.workers:
            worker.line.stop()
        ended = [worker.stop(max(0.0, until - time.monotonic())) for worker in self.workers]
        return all(ended)

    @property
    def lines(self) -> Sequence[Line]:
        """The lines of all workers."""
        return [worker.line for worker in self.workers]


def usual_ask(lane: Embedder) -> Ask:
    """For what a request gets that says nothing: dense vectors, or all of a model that makes none."""
    return Ask(kinds=("dense",) if "dense" in lane.spec.kinds else lane.spec.kinds)
