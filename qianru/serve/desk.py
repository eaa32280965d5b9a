"""The one thread that is inside a collection: errands in their order, searches of one sort together.

A collection lets one thread in at a time. Searches that wait become one search_many, whose questions are embedded in
one pass; a large number of documents is added a few at a time, with searches between.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qianru.errors import QianruError, RequestRefused

AT_ONCE = 64            # errands of one sort
MOST_AT_ONCE = 4096     # of their sizes together
WAITING = 512
log = logging.getLogger("qianru.serve")


@dataclass(eq=False)
class Errand:
    """work: what is made of several items of one key, one result each;  key: None for an errand of its own

    size: how much it will bring to the memory
    """

    work: Callable[[list[Any]], Sequence[Any]]
    key: Hashable
    item: Any
    on_done: Callable[[Errand], None]
    size: int = 0
    dropped: bool = False
    result: Any = None
    error: Exception | None = field(default=None)


class Desk:
    """A queue and its thread."""

    def __init__(self, name: str) -> None:
        self._errands: deque[Errand] = deque()
        self._ready = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name=f"qianru-collection-{name}", daemon=True)
        self._thread.start()

    async def ask(
        self, work: Callable[[list[Any]], Sequence[Any]], item: Any = None, key: Hashable = None, size: int = 0
    ) -> Any:
        """The result of one item. Raises what the work raises, RequestRefused where too many wait.

        When the task that waits is cancelled, the errand is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Errand] = loop.create_future()

        def settle(errand: Errand) -> None:
            if not future.done():
                future.set_result(errand)

        def on_done(errand: Errand) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, errand)

        errand = Errand(work, key, item, on_done, size)
        self._put(errand)
        try:
            await future
        except asyncio.CancelledError:
            errand.dropped = True
            raise
        if errand.error is not None:
            raise errand.error
        return errand.result

    def stop(self, timeout_s: float | None = None) -> None:
        """Does what waits, and ends."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self._thread.join(timeout_s)

    def _put(self, errand: Errand) -> None:
        with self._ready:
            if self._stopping:
                raise RequestRefused("This collection is being closed. Ask again in a while.", 503, 5)
            if len(self._errands) >= WAITING:
                raise RequestRefused(f"{WAITING} requests wait for this collection already. Ask again in a while.",
                                     429, 1)
            self._errands.append(errand)
            self._ready.notify()

    def _take(self) -> list[Errand]:
        """The next errand and those that can be done with it; none once it has stopped and is done."""
        with self._ready:
            while True:
                while self._errands and self._errands[0].dropped:
                    self._errands.popleft()
                if self._errands:
                    break
                if self._stopping:
                    return []
                self._ready.wait()
            first = self._errands.popleft()
            if first.key is None:
                return [first]
            mine, size = [first], first.size
            for errand in list(self._errands):
                if errand.key == first.key and not errand.dropped and len(mine) < AT_ONCE and \
                        size + errand.size <= MOST_AT_ONCE:
                    mine.append(errand)
                    size += errand.size
                    self._errands.remove(errand)
            return mine

    def _work(self) -> None:
        while errands := self._take():
            self._do(errands)
            for errand in errands:
                errand.on_done(errand)

    def _do(self, errands: list[Errand]) -> None:
        try:
            results = errands[0].work([errand.item for errand in errands])
            for errand, result in zip(errands, results, strict=True):
                errand.result = result
            return
        except Exception as error:
            errands[0].error = error
            if len(errands) == 1 and not isinstance(error, QianruError):
                log.exception("A collection failed.")
        if len(errands) > 1:                # one of them is to blame; the others must not suffer
            errands[0].error = None
            for errand in errands:
                self._do([errand])
