"""Load on a server: clients that ask one after another, or questions that come when they come; what they met with.

Needs nothing but the standard library and NumPy. A closed loop (so many clients, each asks again when it is answered)
tells the capacity; an open loop (so many requests a second, whatever the server does) tells what users wait, since a
slow answer does not keep the next question from being asked (coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote, urlsplit

import numpy as np

from qianru.errors import BadInput, ServerFailed
from qianru.types import FloatArray

TIMEOUT_S = 60.0
FAILED = 0          # the status of a request that got no answer


@dataclass(frozen=True, slots=True)
class Target:
    """A server's route. key: to be let in by"""

    host: str
    port: int
    path: str
    key: str | None = None

    @classmethod
    def parse(cls, url: str, path: str, key: str | None = None) -> Target:
        """The route of a server at http://host:port. Raises BadInput for another address."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise BadInput(f"'{url}' is no address of a server here: http://host:port. Ask it directly, not through a "
                           "proxy that encrypts, which would be measured too.")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/") + path, key)

    def request(self, body: Any = None) -> bytes:
        """The bytes of a POST with that body, or of a GET without one."""
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        key = f"authorization: Bearer {self.key}\r\n" if self.key else ""
        method = "GET" if body is None else "POST"
        head = (f"{method} {quote(self.path)} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
                f"content-type: application/json\r\n{key}content-length: {len(content)}\r\n\r\n")
        return head.encode() + content


@dataclass(slots=True)
class Outcome:
    """What the requests of one run met with.

    started, seconds: when each was due, from the beginning, and how long its answer took from then; status: of each,
    FAILED without an answer;  duration_s: of the run
    """

    started: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    duration_s: float = 0.0

    def add(self, started: float, seconds: float, status: int) -> None:
        """Notes one request."""
        self.started.append(started)
        self.seconds.append(seconds)
        self.status.append(status)

    @property
    def answered_s(self) -> FloatArray:
        """The seconds of requests that were answered with 200."""
        return np.array([s for s, status in zip(self.seconds, self.status, strict=True) if status == 200])

    def report(self) -> dict[str, Any]:
        """Requests a second, quantiles of the latency in milliseconds, and how many had which status."""
        good = self.answered_s
        quantiles = {f"p{str(q).replace('.', '')}_ms": round(float(np.quantile(good, q / 100)) * 1e3, 2)
                     for q in (50, 90, 99, 99.9)} if len(good) else {}
        return {"requests": len(self.status), "requests_per_s": round(len(good) / max(self.duration_s, 1e-9), 2),
                **quantiles, "max_ms": round(float(good.max()) * 1e3, 2) if len(good) else None,
                "status": {str(status or "none"): n for status, n in sorted(Counter(self.status).items())}}


class Connection(asyncio.Protocol):
    """One connection that stays open, one request at a time. Answers need a content-length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = bytearray()
        self._head: tuple[int, int, int, bool] | None = None       # status, where the body begins, ends, stays open

    @classmethod
    async def open(cls, target: Target) -> Connection:
        """A connection to the server. Raises OSError."""
        _, made = await asyncio.get_running_loop().create_connection(cls, target.host, target.port)
        return made

    async def ask(self, request: bytes, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
        """(status, body) of the answer. Raises OSError, TimeoutError."""
        if not self.is_open:
            raise ConnectionResetError("the connection is closed")
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(timeout_s):
            return await self._answer

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self._transport = cast("asyncio.Transport", transport)      # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        self._buffer += data
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = bytes(self._buffer[:end]).lower().split(b"\r\n")
            told = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
            length = int(told.get(b"content-length", b"0"))
            stays = told.get(b"connection") != b"close"
            self._head = int(lines[0].split(b" ")[1]), end + 4, end + 4 + length, stays
        status, begin, end, stays = self._head
        if len(self._buffer) >= end:
            body = bytes(self._buffer[begin:end])
            del self._buffer[:end]
            self._head = None
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((status, body))
            if not stays:
                self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """For asyncio."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up"))


async def closed_loop(
    target: Target, requests: Sequence[bytes], n_clients: int, seconds: float, *, warm_up_s: float = 0.0
) -> Outcome:
    """So many clients, each asking again as soon as it is answered. warm_up_s: before anything counts."""
    outcome, turn = Outcome(), 0
    begun = time.perf_counter() + warm_up_s
    until = begun + seconds

    async def client() -> None:
        nonlocal turn
        connection: Connection | None = None
        while (now := time.perf_counter()) < until:
            turn += 1
            connection, status, _ = await _asked(target, connection, requests[turn % len(requests)])
            done = time.perf_counter()
            if begun <= now and done <= until:
                outcome.add(now - begun, done - now, status)
        if connection is not None:
            connection.close()

    await asyncio.gather(*(client() for _ in range(n_clients)))
    outcome.duration_s = seconds
    return outcome


async def open_loop(
    target: Target, requests: Sequence[bytes], rate: float, seconds: float, *, n_connections: int = 1024, seed: int = 0
) -> Outcome:
    """So many requests a second, at moments drawn by chance (a Poisson process), whatever becomes of those before.

    n_connections: a request that finds none free waits for one, and the wait counts
    """
    outcome, rng = Outcome(), random.Random(seed)
    free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
    for _ in range(n_connections):
        free.put_nowait(None)
    begun = time.perf_counter()

    async def one(due: float, request: bytes) -> None:
        connection = await free.get()
        connection, status, _ = await _asked(target, connection, request)
        free.put_nowait(connection)
        outcome.add(due, time.perf_counter() - begun - due, status)

    due, tasks = 0.0, set[asyncio.Task[None]]()
    while due < seconds:
        wait = begun + due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due, requests[rng.randrange(len(requests))]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += rng.expovariate(rate)
    while tasks:
        await asyncio.wait(tasks)
    outcome.duration_s = max(time.perf_counter() - begun, seconds)
    while not free.empty():
        if (connection := free.get_nowait()) is not None:
            connection.close()
    return outcome


async def _asked(target: Target, connection: Connection | None, request: bytes) -> tuple[Connection | None, int, bytes]:
    """(connection to go on with, status, body)."""
    try:
        if connection is None or not connection.is_open:
            connection = await Connection.open(target)
        status, body = await connection.ask(request)
    except (OSError, TimeoutError):
        if connection is not None:
            connection.close()
        return None, FAILED, b""
    return connection, status, body


async def checked(target: Target, request: bytes) -> Any:
    """The answer to one request. Raises ServerFailed for any but 200, so that no error is measured for an answer."""
    connection, status, body = await _asked(target, None, request)
    if connection is not None:
        connection.close()
    if status != 200:
        said = f"{status}: {body[:200].decode(errors='replace')}" if status else "nothing. Is the server running there?"
        raise ServerFailed(f"{target.host}:{target.port}{target.path} answers {said}")
    return json.loads(body)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """What the work gives, in an event loop of its own; uvloop's where it is installed."""
    async def whole() -> Any:
        return await work()

    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(whole())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole())


def bodies(texts: Sequence[str], model: str, path: str) -> list[Any]:
    """What is sent to a route for each text. Raises BadInput for a route that is not known here.

    >>> bodies(["春"], "m3e-base", "/embed")
    [{'inputs': '春', 'truncate': True}]
    """
    if path == "/v1/embeddings":
        return [{"model": model, "input": text, "truncate": True} for text in texts]
    if path == "/embed":
        return [{"inputs": text, "truncate": True} for text in texts]
    if path.startswith("/collections/") and path.endswith("/search"):
        return [{"query": text} for text in texts]
    raise BadInput(f"Load can be put on /v1/embeddings, /embed and /collections/NAME/search, not on {path}.")
