"""Work that is spread over threads: also in a process that was forked off one that has spread some."""

from __future__ import annotations

import os
import signal
from threading import Event

import pytest

from qianru.scores.exact.compiled import spread


def test_every_item_is_worked_on_once() -> None:
    done: list[int] = []
    spread(lambda start, stop: done.extend(range(start, stop)), 11, 3)
    assert sorted(done) == list(range(11))


def test_an_error_in_another_thread_is_raised_here() -> None:
    def work(start: int, stop: int) -> None:
        if start:
            raise ValueError("墙上挂着一幅画")

    with pytest.raises(ValueError, match="墙上"):
        spread(work, 4, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_a_forked_process_spreads_work_too() -> None:
    met = Event()

    def meet(start: int, stop: int) -> None:
        if start:
            met.set()
        assert met.wait(5)

    spread(meet, 2, 2)      # the other thread is there, and has nothing to do any more
    child = os.fork()
    if not child:
        signal.alarm(10)        # ends the child if it waits for a thread that it does not have
        try:
            spread(lambda start, stop: None, 2, 2)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
