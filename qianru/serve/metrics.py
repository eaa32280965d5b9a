"""What Prometheus is told. Names and labels never hold a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from qianru.serve.line import Line

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self, lines: Callable[[], Sequence[Line]], n_in_house: Callable[[], int]) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter("qianru_requests", "Requests answered", ["route", "status"], registry=own)
        self.seconds = Histogram("qianru_request_seconds", "From the first byte of a request to the last of its answer",
                                 ["route"], buckets=SECONDS, registry=own)
        self.texts = Counter("qianru_texts", "Texts and pairs computed for requests", ["model"], registry=own)
        self.tokens = Counter("qianru_tokens", "Tokens computed for requests", ["model"], registry=own)
        self.truncated = Counter("qianru_truncated_texts", "Texts that were cut", ["model"], registry=own)
        self.refused = Counter("qianru_refused", "Requests not answered", ["reason"], registry=own)
        self.steps_texts = Histogram("qianru_batch_texts", "Texts computed in one pass", buckets=COUNTS, registry=own)
        self.steps_jobs = Histogram("qianru_batch_requests", "Requests in one pass", buckets=COUNTS, registry=own)
        self.steps_tokens = Histogram("qianru_batch_tokens", "Tokens in one pass", buckets=TOKENS, registry=own)
        self.steps_seconds = Histogram("qianru_batch_seconds", "Of one pass", buckets=SECONDS, registry=own)
        self.waits = Histogram("qianru_queue_seconds", "That a request waited for its first pass", buckets=SECONDS,
                               registry=own)
        for name, what, read in (
            ("qianru_queue_requests", "Requests that wait or are being computed", lambda line: len(line)),
            ("qianru_queue_tokens", "Tokens that wait", lambda line: line.n_tokens),
        ):
            Gauge(name, what, registry=own).set_function(_sum(lines, read))
        Gauge("qianru_requests_in_house", "Requests not answered yet", registry=own).set_function(n_in_house)

    def step(self, n_jobs: int, n_texts: int, n_tokens: int, seconds: float, waits_s: list[float]) -> None:
        """Counts one pass of the worker."""
        self.steps_jobs.observe(n_jobs)
        self.steps_texts.observe(n_texts)
        self.steps_tokens.observe(n_tokens)
        self.steps_seconds.observe(seconds)
        for wait in waits_s:
            self.waits.observe(wait)

    def text(self) -> bytes:
        """In Prometheus' own words."""
        return generate_latest(self.registry)


def _sum(lines: Callable[[], Sequence[Line]], read: Callable[[Line], float]) -> Callable[[], float]:
    return lambda: float(sum(map(read, lines())))
