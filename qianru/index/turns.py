"""A lock that threads get in the order in which they came.

Python's own goes to whoever asks next: a thread that writes in a loop had it again before any that waited was awake,
and searches beside it took seconds.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turns:
    """Like threading.RLock: the thread that has it may take it again, and gives it back as often."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()      # held for a moment only, never while waiting
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[tuple[int, threading.Lock]] = deque()

    def __enter__(self) -> bool:
        me = threading.get_ident()
        if self._owner == me:               # nobody else can make this true or untrue
            self._depth += 1
            return True
        with self._mutex:
            if self._owner is None:
                self._owner, self._depth = me, 1
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append((me, mine))
        try:
            mine.acquire()                  # until the one before gives it over
        except BaseException:               # Ctrl-C while waiting: the place in the queue, or the turn, is given back
            with self._mutex:
                if (me, mine) in self._waiting:
                    self._waiting.remove((me, mine))
                else:
                    self._pass_on()
            raise
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            with self._mutex:
                self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._owner, next_one = self._waiting.popleft()
            self._depth = 1
            next_one.release()
        else:
            self._owner = None
