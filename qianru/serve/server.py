"""What all routes share: models, limits, keys, counts."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from starlette.requests import Request

from qianru.serve.keys import Keys
from qianru.serve.metrics import Metrics
from qianru.serve.models import Models
from qianru.serve.options import Limits, Options
from qianru.serve.shelf import Shelf
from qianru.use.ask.chat import Chat
from qianru.use.map import Maps

log = logging.getLogger("qianru.serve")
READERS = 2         # the tokenizer gives Python's lock back


@dataclass(eq=False)
class Note:
    """What is known of a request for the log and the metrics: no text."""

    id: str
    key: str | None = None
    model: str | None = None
    n_texts: int = 0
    n_tokens: int = 0
    n_truncated: int = 0


@dataclass(eq=False)
class Server:
    """One running server.

    chat: the model that writes answers;  shelf: its collections;  maps: of them
    readers: threads that read and write what is large;  changes: the one that makes and deletes collections
    ready: whether it takes requests;  held_bytes: of bodies;  n_requests, n_answers: in the house, being written
    """

    options: Options
    keys: Keys
    models: Models
    chat: Chat | None = None
    shelf: Shelf = field(init=False)
    ready: bool = False
    held_bytes: int = 0
    n_requests: int = 0
    n_answers: int = 0
    maps: Maps = field(default_factory=Maps)
    metrics: Metrics = field(init=False)
    readers: ThreadPoolExecutor = field(init=False)
    changes: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.models, self.options.collections)
        self.metrics = Metrics(lambda: self.models.lines, lambda: self.n_requests)
        self.readers = ThreadPoolExecutor(READERS, "qianru-reader")
        self.changes = ThreadPoolExecutor(1, "qianru-shelf")

    def start(self) -> None:
        """Starts the workers; from now on it takes requests."""
        for worker in self.models.workers:
            worker.watch = self.metrics.step
        self.models.start()
        self.shelf.prepare()
        self.ready = True

    def stop(self) -> None:
        """Finishes what it has taken, and gives everything back."""
        self.ready = False
        self.maps.close()
        self.changes.shutdown()
        self.shelf.close()
        if not self.models.stop(self.options.stop_s):
            log.error("Not all that was taken could be finished within %g seconds.", self.options.stop_s)
        self.readers.shutdown(wait=False, cancel_futures=True)

    @property
    def limits(self) -> Limits:
        """What is refused."""
        return self.options.limits


def server_of(request: Request) -> Server:
    """The server that a request has come to."""
    server: Server = request.app.state.server
    return server


def note_of(request: Request) -> Note:
    """What is noted of a request."""
    note: Note = request.scope["qianru.note"]
    return note
