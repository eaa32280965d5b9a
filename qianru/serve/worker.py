"""The one thread that computes: takes what waits, computes it in one packed pass, gives each request its part."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Protocol

from qianru.errors import QianruError
from qianru.runtime.pages import give_back
from qianru.serve.lanes import Lane, Read
from qianru.serve.line import Job, Line, Piece
from qianru.serve.options import Limits

TIDY_S = 5.0        # freed memory goes back to the system so often; the C library would keep more and more of it
log = logging.getLogger("qianru.serve")


class Watch(Protocol):
    """Told of each step that was computed."""

    def __call__(self, n_jobs: int, n_texts: int, n_tokens: int, seconds: float, waits_s: list[float]) -> None:
        """waits_s: of the jobs whose first step it was."""
        ...


class Worker:
    """A line and the thread that serves it. One for all models that compute on this machine, so that no two of them
    share its cores, and one for each remote model, which only waits."""

    def __init__(self, limits: Limits, name: str = "qianru-worker") -> None:
        self.line = Line(limits)
        self.watch: Watch = lambda n_jobs, n_texts, n_tokens, seconds, waits_s: None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Computes what waits and ends; whether it has."""
        self.line.stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def compute(self, lane: Lane, read: Read) -> Any:
        """What the lane makes of the texts, for a thread that waits for it; not for the event loop's."""
        ready = threading.Event()
        job = Job(lane, read, lambda job: ready.set())
        self.line.put(job, force=True)
        ready.wait()
        if job.error is not None:
            raise job.error
        return job.result

    def _work(self) -> None:
        tidied = time.monotonic()
        while pieces := self.line.take():
            try:
                self._step(pieces)
            except Exception as error:      # of ours: the jobs must hear of it, and the next ones be served
                log.exception("The worker failed.")
                for piece in pieces:
                    self._fail(piece.job, error)
            if time.monotonic() > tidied + TIDY_S:
                give_back()
                tidied = time.monotonic()

    def _step(self, pieces: list[Piece]) -> None:
        lane, group = pieces[0].job.key
        begun = time.perf_counter()
        items = [item for job, start, end in pieces for item in job.read.items[start:end]]
        try:
            made = lane.compute(group, items)
        except Exception as error:
            if len(pieces) == 1:
                if not isinstance(error, QianruError):
                    log.error("Computing failed: %s", type(error).__name__, exc_info=error)
                self._fail(pieces[0].job, error)
            else:                           # one of them is to blame; the others must not suffer
                for piece in pieces:
                    self._step([piece])
            return
        seconds = time.perf_counter() - begun
        n_tokens = sum(int(piece.job.read.sizes[piece.start : piece.end].sum()) for piece in pieces)
        self.line.measured(lane, n_tokens, seconds)
        self.watch(len(pieces), len(items), n_tokens, seconds,
                   [(job.begun or begun) - job.queued for job, start, _ in pieces if start == 0])
        at = 0
        for job, start, end in pieces:
            job.parts.append(lane.part(made, at, at + end - start))
            at += end - start
            if end == len(job.ends):
                job.result = job.parts[0] if len(job.parts) == 1 else lane.join(job.parts)
                self.line.done(job)
                job.on_done(job)

    def _fail(self, job: Job, error: Exception) -> None:
        if job.error is None and job.result is None:
            job.error = error
            self.line.done(job)
            job.on_done(job)
