"""The load that bench-server puts on a server, and what it reports."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from live_server import Puppet, live, puppet_server

from qianru.errors import BadInput, ServerFailed
from qianru.serve.load import FAILED, Outcome, Target, checked, closed_loop, open_loop, run
from qianru.serve.options import Limits

BODY = {"model": "puppet", "input": "床前明月光"}


def target(client: httpx.Client, path: str = "/v1/embeddings") -> Target:
    return Target.parse(str(client.base_url), path)


def test_an_open_loop_asks_at_its_rate_whatever_becomes_of_the_answers() -> None:
    with live(puppet_server(Puppet())) as client:
        there = target(client)
        outcome = run(lambda: open_loop(there, [there.request(BODY)], 100, 1.0))
    assert 60 < len(outcome.status) < 150                           # a Poisson process: 100, give or take 10
    assert set(outcome.status) == {200}
    gaps = np.diff(sorted(outcome.started))
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.5)      # drawn, not even


def test_a_request_that_waited_to_be_sent_has_waited() -> None:
    """One connection, a server that is slow at first: the wait of those behind it counts from when they were due."""
    lane = Puppet()
    lane.gate.clear()
    with live(puppet_server(lane)) as client:
        threading.Timer(0.5, lane.gate.set).start()
        there = target(client)
        outcome = run(lambda: open_loop(there, [there.request(BODY)], 40, 0.5, n_connections=1))
    assert max(outcome.seconds) > 0.3
    assert np.median(outcome.seconds) > 0.1


def test_a_closed_loop_has_one_request_of_each_client_under_way() -> None:
    lane = Puppet()
    with live(puppet_server(lane)) as client:
        there = target(client)
        outcome = run(lambda: closed_loop(there, [there.request(BODY)], 4, 0.5))
    assert set(outcome.status) == {200}
    assert max(len(step) for step in lane.steps) <= 4


def test_the_report_counts_what_was_answered_and_how_fast() -> None:
    outcome = Outcome([0.0] * 5, [0.1, 0.2, 0.3, 9.0, 9.0], [200, 200, 200, 429, FAILED], 2.0)
    assert outcome.report() == {
        "requests": 5, "requests_per_s": 1.5, "p50_ms": 200.0, "p90_ms": 280.0, "p99_ms": 298.0, "p999_ms": 299.8,
        "max_ms": 300.0, "status": {"none": 1, "200": 3, "429": 1}}


def test_refusals_and_servers_that_are_not_there_are_counted() -> None:
    with live(puppet_server(Puppet(), Limits(queue_tokens=1))) as client:
        there = target(client)
        outcome = run(lambda: closed_loop(there, [there.request(BODY)], 2, 0.2))
    assert set(outcome.status) == {413}
    gone = run(lambda: closed_loop(there, [there.request(BODY)], 1, 0.05))
    assert set(gone.status) == {FAILED}
    with pytest.raises(ServerFailed, match="Is the server running"):
        run(lambda: checked(there, there.request()))
    with pytest.raises(BadInput, match="http://host:port"):
        Target.parse("https://example.org", "/embed")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_latencies_are_drawn(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    from qianru.serve.load_plot import draw

    outcome = Outcome([0.0, 0.5, 1.0], [0.01, 0.02, 0.001], [200, 200, 429], 1.0)
    draw(outcome, tmp_path / f"a.{suffix}", "春")
    assert (tmp_path / f"a.{suffix}").stat().st_size > 1000
    with pytest.raises(BadInput, match="Cannot draw"):
        draw(outcome, tmp_path / "a.gif", "春")
    with pytest.raises(BadInput, match="nothing to draw"):
        draw(Outcome([0.0], [1.0], [429], 1.0), tmp_path / "a.png", "春")
