"""A real server in a thread of the tests' process, and lanes that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import uvicorn

from qianru.serve.app import build
from qianru.serve.keys import Keys
from qianru.serve.lanes import Ask, Embedder, Read
from qianru.serve.models import Models
from qianru.serve.options import Limits, Options
from qianru.serve.run import settings
from qianru.serve.server import Server
from qianru.types import Embeddings


def make_server(models: dict[str, Any], keys: Keys | None = None, **options: Any) -> Server:
    """A server of models that are loaded."""
    made = Options(port=0, **options)
    shelf = Models(made.limits)
    for name, model in models.items():
        shelf.add(name, model)
    return Server(made, keys or Keys(), shelf)


TEXTS = ["床前明月光", "疑是地上霜", "举头望明月，低头思故乡", "月", "我爱吃蔬菜", "t ex t", ""]
TOO_LONG = "月" * 100       # the small models read 64 tokens


@contextmanager
def live(server: Server) -> Iterator[httpx.Client]:
    """A client of the server while it runs."""
    with running(server) as (url, _), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


@contextmanager
def running(server: Server) -> Iterator[tuple[str, uvicorn.Server]]:
    """The address of the server while it runs, and what runs it."""
    runner = uvicorn.Server(settings(build(server), server.options))
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not runner.started and time.monotonic() < until and thread.is_alive():
            time.sleep(0.005)
        assert runner.started
        port = runner.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", runner
    finally:
        runner.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


class Puppet(Embedder):
    """A lane whose texts have as many tokens as letters and become [number of letters, 1].

    It computes when its gate is open; a text with ☃ in it fails.
    steps: the texts of each step
    """

    def __init__(self, budget: int = 64) -> None:
        from qianru.models.base import ModelSpec

        self.model: Any = None
        self.spec = ModelSpec("puppet", "puppet", ("dense",), "f" * 64, dim=2, max_tokens=1000)
        self.budget = budget
        self.gate = threading.Event()
        self.gate.set()
        self.steps: list[list[str]] = []

    def read(self, texts: Sequence[str], ask: Ask) -> Read:
        sizes = np.array([max(len(text), 1) for text in texts])
        return Read(ask, list(texts), sizes, sizes, 0, 2 * len(texts))

    def compute(self, group: Any, items: list[Any]) -> Embeddings:
        self.steps.append(list(items))
        assert self.gate.wait(20)
        if any("☃" in text for text in items):
            raise ValueError("a snowman")
        dense = np.array([[len(text), 1] for text in items], np.float32)
        return Embeddings("puppet", np.array([len(text) for text in items]), dense=dense)


def puppet_server(lane: Puppet, limits: Limits | None = None, **options: Any) -> Server:
    """A server whose only model is the puppet."""
    from qianru.serve.models import Served

    server = make_server({}, limits=limits or Limits(), **options)
    server.models._served["puppet"] = Served("puppet", lane, server.models.local, 0)
    return server


def until(true: Any, seconds: float = 10) -> None:
    """Waits until it is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
