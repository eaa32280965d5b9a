"""The jobs that wait for the worker: how many there may be, and whose turn it is.

Every step takes texts of many requests, up to a budget of tokens. Each request gives at most a quarter of the budget
in its turn and then stands behind the others, so that one of two thousand long texts does not hold up a short query;
what the others leave free the first ones get as well. A request waits for its first turn about as long as the turns
before it take, which is what is bounded in seconds; what the line holds in memory is bounded in tokens and numbers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from qianru.errors import RequestRefused
from qianru.serve.lanes import Lane, Read
from qianru.serve.options import Limits

TURNS = 4           # requests at least that share a step
LOOK_AGAIN_S = 0.005
SMOOTHING = 0.3     # of the newest step in the rate


class Job:
    """The texts of one request on their way.

    taken: items that a step has taken, or more;  parts: what was made of them, in order
    dropped: nobody waits for it any more
    result, error: one of them once on_done is called, by the worker's thread
    """

    __slots__ = ("begun", "dropped", "ends", "error", "lane", "on_done", "parts", "queued", "read", "result", "taken")

    def __init__(self, lane: Lane, read: Read, on_done: Callable[[Job], None]) -> None:
        self.lane, self.read, self.on_done = lane, read, on_done
        self.ends = np.cumsum(read.sizes)
        self.taken = 0
        self.parts: list[Any] = []
        self.dropped = False
        self.result: Any = None
        self.error: Exception | None = None
        self.queued = time.perf_counter()
        self.begun: float | None = None

    @property
    def key(self) -> tuple[Lane, Hashable]:
        """Jobs of one key are computed together."""
        return self.lane, self.read.group

    @property
    def n_tokens(self) -> int:
        """In all."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def left(self) -> int:
        """Tokens that no step has taken."""
        return self.n_tokens - (int(self.ends[self.taken - 1]) if self.taken else 0)

    def fitting(self, budget: int) -> int:
        """How many of its next items have at most so many tokens together."""
        before = int(self.ends[self.taken - 1]) if self.taken else 0
        return int(np.searchsorted(self.ends, before + budget, "right")) - self.taken


class Piece(NamedTuple):
    """Items start to end of a job."""

    job: Job
    start: int
    end: int


class Line:
    """Jobs in the order of their turns. put from any thread, take from the worker's."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rates: dict[Lane, float] = {}  # tokens a second of full steps, by whose model
        self.n_tokens = 0                   # that wait
        self.numbers = 0                    # that waiting and computed answers will hold
        self.n_dropped = 0
        self._jobs: list[Job] = []
        self._ready = threading.Condition()
        self._stopping = False
        self._looked, self._too_late = 0.0, False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job, *, force: bool = False) -> None:
        """Lets a job wait for its turn. Raises RequestRefused: 413 for one too large, 429 where too much waits.

        force: for work that the server itself has begun, which waits however long the line is
        """
        with self._ready:
            if self._stopping:
                raise RequestRefused("The server is stopping. Ask another one, or again in a while.", 503, 5)
            if not force:
                self._check(job)
            self._jobs.append(job)
            self.n_tokens += job.n_tokens
            self.numbers += job.read.numbers
            self._ready.notify()

    def _check(self, job: Job) -> None:
        limits = self.limits
        if job.n_tokens > limits.queue_tokens:
            raise RequestRefused(f"This request has {job.n_tokens:,} tokens; the server takes {limits.queue_tokens:,} "
                                 "at once (--limit queue_tokens=N). Send fewer texts.", 413)
        if job.read.numbers > limits.answer_numbers:
            raise RequestRefused(f"The answer would hold {job.read.numbers:,} numbers; the server gives "
                                 f"{limits.answer_numbers:,} at once (--limit answer_numbers=N). Send fewer texts or "
                                 "ask for fewer kinds.", 413)
        full = (self.n_tokens + job.n_tokens > limits.queue_tokens
                or self.numbers + job.read.numbers > limits.queue_numbers)
        if full or self.wait_s() > limits.queue_s:
            raise self.refusal()

    def refuse_if_full(self) -> None:
        """Raises RequestRefused where any request would be refused now: looked at before a body is even read."""
        now = time.perf_counter()
        if now > self._looked + LOOK_AGAIN_S:
            self._looked, self._too_late = now, self.wait_s() > self.limits.queue_s
        if self._too_late:
            raise self.refusal()

    def refusal(self) -> RequestRefused:
        """What a request is told that finds the line full."""
        return RequestRefused(f"{len(self._jobs):,} requests with {self.n_tokens:,} tokens wait already. Ask again in "
                              "a while.", 429, max(1, ceil(self.wait_s())))

    def wait_s(self) -> float:
        """About how long a request of now would wait for its first turn; models of unknown rate count as none."""
        return sum(min(job.left, job.lane.budget // TURNS) / self.rates[job.lane]
                   for job in tuple(self._jobs) if job.lane in self.rates)

    def take(self) -> list[Piece]:
        """What the next step computes, all of one key; waits for it. Empty once the line has stopped and is done."""
        with self._ready:
            while True:
                self._jobs = [job for job in self._jobs if not self._is_dropped(job)]
                if self._jobs:
                    return self._next()
                if self._stopping:
                    return []
                self._ready.wait()

    def _is_dropped(self, job: Job) -> bool:
        if job.dropped:
            self.n_tokens -= job.left
            self.numbers -= job.read.numbers
            self.n_dropped += 1
        return job.dropped

    def _next(self) -> list[Piece]:
        key = self._jobs[0].key
        mine = [job for job in self._jobs if job.key == key]
        budget = self._jobs[0].lane.budget
        starts = [job.taken for job in mine]
        now = time.perf_counter()
        for share in (budget // TURNS, budget):
            for job, start in zip(mine, starts, strict=True):
                n = job.fitting(min(share, budget)) if budget > 0 else 0
                if n == 0 and job is mine[0] and job.taken == start:
                    n = 1                       # one text may be larger than a share
                before = job.left
                job.taken += n
                budget -= before - job.left
                self.n_tokens -= before - job.left
        pieces = [Piece(job, start, job.taken) for job, start in zip(mine, starts, strict=True) if job.taken > start]
        for piece in pieces:
            piece.job.begun = piece.job.begun or now
        served = {id(piece.job) for piece in pieces}
        waiting = [job for job in self._jobs if id(job) not in served]
        again = [piece.job for piece in pieces if piece.job.taken < len(piece.job.ends)]
        self._jobs = waiting + again[1:] + again[:1]       # what others left free goes to another one next time
        return pieces

    def done(self, job: Job) -> None:
        """The job's answer is made, or never will be."""
        with self._ready:
            self.numbers -= job.read.numbers
            if job in self._jobs:               # it failed half-way
                self._jobs.remove(job)
                self.n_tokens -= job.left

    def measured(self, lane: Lane, n_tokens: int, seconds: float) -> None:
        """Learns from a step how fast a model is; only full steps tell."""
        if n_tokens >= lane.budget // 2 and seconds > 0:
            new = n_tokens / seconds
            old = self.rates.get(lane, new)
            self.rates[lane] = old + SMOOTHING * (new - old)

    def stop(self) -> None:
        """Takes no more jobs; those that wait are computed."""
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
