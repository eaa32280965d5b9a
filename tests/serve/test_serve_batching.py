"""Many requests in one pass: what is computed together, whose turn it is, what is refused, dropped and finished."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from live_server import Puppet, live, make_server, puppet_server, running, until
from numpy.testing import assert_allclose

from qianru.errors import BadInput, RequestRefused
from qianru.serve.desk import MOST_AT_ONCE, Desk
from qianru.serve.lanes import Ask, PairScorer, lane_of
from qianru.serve.line import Job, Line
from qianru.serve.options import Limits
from qianru.serve.worker import Worker


def job(lane: Puppet, *texts: str, done: Any = lambda job: None) -> Job:
    return Job(lane, lane.read(texts, Ask()), done)


def taken(line: Line) -> list[list[str]]:
    """The texts that each request gives to the next step."""
    return [list(piece.job.read.items[piece.start : piece.end]) for piece in line.take()]


def test_a_step_takes_texts_of_many_requests_up_to_the_budget() -> None:
    line, lane = Line(Limits()), Puppet(budget=16)
    for _ in range(6):
        line.put(job(lane, "四个字的"))
    assert [len(taken(line)), len(taken(line))] == [4, 2]


def test_a_long_request_does_not_hold_up_a_short_one() -> None:
    line, lane = Line(Limits()), Puppet(budget=16)
    line.put(job(lane, *["四个字的"] * 100))
    assert taken(line) == [["四个字的"] * 4]            # alone it has the whole budget
    line.put(job(lane, "短"))
    assert taken(line) == [["四个字的"] * 3, ["短"]]      # with others it gives way
    line.put(job(lane, *["另四个字"] * 100))
    assert [len(texts) for texts in taken(line)] == [3, 1]
    assert [texts[:1] for texts in taken(line)] == [["另四个字"], ["四个字的"]]      # now the other is the first


def test_a_text_larger_than_the_budget_is_computed_alone() -> None:
    line, lane = Line(Limits()), Puppet(budget=16)
    line.put(job(lane, "长" * 100, "短"))
    assert taken(line) == [["长" * 100]]
    assert taken(line) == [["短"]]


def test_requests_of_another_group_wait_for_their_own_step() -> None:
    line, lane = Line(Limits()), Puppet(budget=16)
    line.put(job(lane, "文"))
    line.put(Job(lane, lane.read(["问"], Ask("query")), lambda job: None))
    line.put(job(lane, "章"))
    assert taken(line) == [["文"], ["章"]]
    assert taken(line) == [["问"]]


def test_every_text_is_computed_exactly_once_whatever_waits() -> None:
    line, lane, rng = Line(Limits()), Puppet(budget=32), np.random.default_rng(3)
    jobs = [job(lane, *["字" * int(n) for n in rng.integers(1, 40, rng.integers(1, 30))]) for _ in range(40)]
    for one in jobs:
        line.put(one)
    given: dict[int, list[str]] = {id(one): [] for one in jobs}
    while len(line):
        pieces = line.take()
        assert sum(int(piece.job.read.sizes[piece.start : piece.end].sum()) for piece in pieces) <= 32 or \
            sum(piece.end - piece.start for piece in pieces) == 1
        for piece in pieces:
            given[id(piece.job)] += piece.job.read.items[piece.start : piece.end]
    assert all(given[id(one)] == list(one.read.items) for one in jobs)
    assert line.n_tokens == 0


def test_the_line_is_bounded_in_tokens() -> None:
    line, lane = Line(Limits(queue_tokens=10)), Puppet()
    line.put(job(lane, "六个字的文本"))
    with pytest.raises(RequestRefused, match="1 requests with 6 tokens wait already") as refused:
        line.put(job(lane, "六个字的文本"))
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    with pytest.raises(RequestRefused, match="has 11 tokens; the server takes 10") as refused:
        line.put(job(lane, "十一" * 5 + "个"))
    assert refused.value.status == 413


def test_the_line_is_bounded_in_seconds_once_the_rate_is_known() -> None:
    line, lane = Line(Limits(queue_s=5)), Puppet(budget=64)
    line.measured(lane, 64, 16.0)
    assert line.rates == {lane: 4}                  # tokens a second
    for _ in range(3):
        line.put(job(lane, "四个字的"))
    line.put(job(lane, *["四个字的"] * 100))           # counts as one turn, a quarter of the budget: 16 tokens
    assert line.wait_s() == (3 * 4 + 16) / 4
    with pytest.raises(RequestRefused) as refused:
        line.put(job(lane, "短"))
    assert (refused.value.status, refused.value.retry_after_s) == (429, 7)


def test_a_dropped_request_is_not_computed() -> None:
    line, lane = Line(Limits()), Puppet()
    gone, stays = job(lane, "走了"), job(lane, "还在")
    line.put(gone)
    line.put(stays)
    gone.dropped = True
    assert taken(line) == [["还在"]]
    assert (line.n_dropped, line.n_tokens) == (1, 0)


@contextmanager
def waiting(limits: Limits | None = None, n: int = 40, **options: Any) -> Iterator[Any]:
    """(puppet, client, ask): its gate is shut and one request is behind it, which holds the worker."""
    lane = Puppet(budget=1024)
    with live(puppet_server(lane, limits, **options)) as client, ThreadPoolExecutor(n) as pool:
        def ask(text: Any, **more: Any) -> Future[httpx.Response]:
            return pool.submit(client.post, "/v1/embeddings", json={"model": "puppet", "input": text}, **more)

        lane.gate.clear()
        try:
            first = ask("第一")
            until(lambda: lane.steps)
            yield lane, client, ask
        finally:
            lane.gate.set()
        assert first.result().status_code in (200, 504)


def queued(client: httpx.Client, n: int) -> Any:
    return lambda: f"qianru_queue_requests {float(n)}" in client.get("/metrics").text


def test_requests_that_wait_are_computed_in_one_pass() -> None:
    with waiting() as (lane, client, ask):
        answers = [ask("字" * n) for n in range(1, 33)]
        until(queued(client, 32))
        lane.gate.set()
        assert [answer.result().json()["data"][0]["embedding"] for answer in answers] == [
            [n, 1] for n in range(1, 33)]
    assert [len(step) for step in lane.steps] == [1, 32]


def test_a_text_that_fails_harms_no_other_request() -> None:
    with waiting() as (lane, client, ask):
        bad, good = ask("雪人☃"), ask("好")
        until(queued(client, 2))
        lane.gate.set()
        assert good.result().json()["data"][0]["embedding"] == [1, 1]
        assert bad.result().status_code == 500
        assert "雪人" not in bad.result().text


@pytest.mark.parametrize("name", ["tiny", "reranker", "puppet"])
def test_of_every_lane_only_the_request_that_fails_hears_of_it(models: Any, name: str) -> None:
    lane = lane_of(models[name]) if name in models else Puppet()
    worker, done = Worker(Limits()), []
    compute, bad = lane.compute, "春眠☃"
    bad_item: list[Any] = []

    def fails(group: Any, items: list[Any]) -> Any:
        if any(item is bad_item[0] for item in items):
            raise ValueError("a snowman")
        return compute(group, items)

    lane.compute = fails  # type: ignore[method-assign]
    jobs = []
    for text in ("床前明月光", bad, "疑是地上霜"):
        read = lane.read([("月", text)]) if isinstance(lane, PairScorer) else lane.read([text], Ask())
        bad_item += [read.items[0]] if text == bad else []
        jobs.append(Job(lane, read, done.append))
        worker.line.put(jobs[-1])
    worker.start()                                  # all three wait already, and are taken in one pass
    assert worker.stop(20)
    assert sorted(map(id, done)) == sorted(map(id, jobs))
    assert [type(job.error) for job in jobs] == [type(None), ValueError, type(None)]
    assert [job.result is None for job in jobs] == [False, True, False]
    assert (worker.line.n_tokens, worker.line.numbers) == (0, 0)


def test_a_search_that_fails_harms_no_other_one_of_the_collection() -> None:
    desk, calls, gate = Desk("诗"), [], threading.Event()

    def work(items: list[str]) -> list[str]:
        calls.append(items)
        if "雪人☃" in items:
            raise BadInput("a snowman")
        return [item * 2 for item in items]

    async def asked() -> list[Any]:
        held = asyncio.ensure_future(desk.ask(lambda items: [gate.wait(20)]))
        waiting = [asyncio.ensure_future(desk.ask(work, item, "key", size))
                   for item, size in (("好", 0), ("雪人☃", MOST_AT_ONCE - 1), ("也好", 1), ("太多", 1))]
        await asyncio.sleep(0)                      # each is put in the queue at its first step
        gate.set()
        assert await held
        return await asyncio.gather(*waiting, return_exceptions=True)

    good, bad, also, later = asyncio.run(asked())
    assert (good, also, later, type(bad)) == ("好好", "也好也好", "太多太多", BadInput)
    assert (calls[0], calls[-1]) == (["好", "雪人☃", "也好"], ["太多"])
    desk.stop()


def test_too_many_tokens_are_answered_with_429_and_when_to_come_back() -> None:
    with waiting(Limits(queue_tokens=10)) as (_, client, ask):
        kept = ask("六个字的文本")
        until(queued(client, 1))
        refused = ask("六个字的文本").result()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["type"] == "rate_limit_error"
    assert kept.result().status_code == 200


def test_too_many_requests_in_the_house_are_answered_with_429() -> None:
    with waiting(Limits(requests=1)) as (_, client, ask):
        assert ask("字").result().status_code == 429
        assert client.get("/health").status_code == 200


def test_a_request_that_takes_too_long_is_answered_with_504() -> None:
    with waiting(Limits(request_s=0.15)) as (lane, _, ask):
        late = ask("字").result()
        assert late.status_code == 504
        assert "0.15 seconds" in late.json()["error"]["message"]
    until(lambda: len(lane.steps) == 1)             # and is never computed


def test_a_client_that_leaves_is_not_computed() -> None:
    with waiting() as (lane, client, ask):
        with pytest.raises(httpx.ReadTimeout):
            ask("走了", timeout=0.1).result()
        stays = ask("还在")
        until(lambda: 'qianru_refused_total{reason="gone"} 1.0' in client.get("/metrics").text)
        lane.gate.set()
        assert stays.result().status_code == 200
    assert [text for step in lane.steps for text in step] == ["第一", "还在"]


def test_a_server_that_stops_finishes_what_it_took_and_takes_no_more() -> None:
    lane = Puppet()
    server = puppet_server(lane)
    with running(server) as (url, runner), ThreadPoolExecutor(4) as pool, \
            httpx.Client(base_url=url, trust_env=False) as client:
        lane.gate.clear()
        def ask(text: str) -> Any:
            return pool.submit(client.post, "/v1/embeddings", json={"model": "puppet", "input": text})

        taken = [ask("第一")]
        until(lambda: len(lane.steps) == 1)         # it is computed alone, and the others wait behind it
        taken += [ask("第二"), ask("第三")]
        until(lambda: len(server.models.local.line) == 2)
        runner.should_exit = True
        time.sleep(0.2)
        with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as late:
            late.get(f"{url}/health")
        lane.gate.set()
        assert [answer.result().status_code for answer in taken] == [200, 200, 200]
    assert not server.ready


def test_vectors_under_load_are_those_computed_alone(models: Any) -> None:
    rng = np.random.default_rng(5)
    letters = "床前明月光疑是地上霜举头望低思故乡"
    texts = ["".join(rng.choice(list(letters), rng.integers(1, 60))) for _ in range(120)]
    server = make_server({"tiny": models["tiny"]})
    with live(server) as client, ThreadPoolExecutor(24) as pool:
        def ask(some: list[str]) -> Any:
            answer = client.post("/v1/embeddings", json={"model": "tiny", "input": some})
            assert answer.status_code == 200, answer.text
            return [row["embedding"] for row in answer.json()["data"]]

        parts = [texts[at : at + n] for at, n in ((0, 100), *((i, 1) for i in range(100, 120)))]
        got = [row for part in pool.map(ask, parts) for row in part]
    assert_allclose(got, models["tiny"].encode(texts).dense, atol=1e-5)


def test_one_thread_computes_for_all_models(models: Any) -> None:
    server = make_server(models)
    seen: set[int] = set()
    for served in server.models:
        compute = served.lane.compute

        def spied(group: Any, items: Any, compute: Any = compute) -> Any:
            seen.add(threading.get_ident())
            return compute(group, items)

        served.lane.compute = spied  # type: ignore[method-assign]
    with live(server) as client:
        client.post("/v1/embeddings", json={"model": "tiny", "input": "月"})
        client.post("/rerank", json={"query": "月", "texts": ["月"]})
    assert len(seen) == 1
