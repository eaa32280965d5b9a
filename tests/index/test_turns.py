"""Whoever waits for a collection gets it in turn, also beside a thread that never rests."""

from __future__ import annotations

import threading
import time

from qianru.index.turns import Turns


def test_one_thread_at_a_time_and_each_as_deep_as_it_likes() -> None:
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(300):
            with turns, turns:
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_a_thread_that_takes_it_again_at_once_lets_others_in_between() -> None:
    turns, stop = Turns(), threading.Event()
    order: list[str] = []

    def greedy() -> None:
        while not stop.is_set():
            with turns:
                order.append("writer")
                time.sleep(0.001)

    busy = threading.Thread(target=greedy)
    busy.start()
    for _ in range(20):
        with turns:
            order.append("reader")
    stop.set()
    busy.join()
    between = "".join(who[0] for who in order).split("r")
    assert max(map(len, between[1:-1])) <= 2        # one that had it, and at most one that came before


def test_they_come_in_the_order_of_asking() -> None:
    turns = Turns()
    order: list[int] = []

    def ask(i: int) -> None:
        with turns:
            order.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(5)]
    with turns:
        for i, thread in enumerate(threads):
            thread.start()
            while len(turns._waiting) <= i:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_an_error_inside_gives_it_back() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns:
                raise KeyError("错")
        except KeyError:
            pass
    done = threading.Thread(target=lambda: turns.__enter__())
    done.start()
    done.join(5)
    assert not done.is_alive()
