"""What goes where: results on stdout, everything else on stderr, progress only where somebody watches."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from qianru.types import Progress

UNWATCHED_WIDTH = 100_000      # a pipe or a file has no edge to wrap at
REFRESH_S = 0.1
DELAY_S = 0.5        # work that is done by then needs no bar


def prepare_streams() -> None:
    """Makes the streams of the process print any text: what their encoding lacks is escaped, never an error."""
    for stream, errors in ((sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace"), (sys.stdin, "replace")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)


class WarningNotes(logging.Handler):
    """The library's warnings as lines for the person."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        note(f"{record.levelname.lower()}: {record.getMessage()}")


def show_warnings() -> None:
    """From now on the library's warnings are printed on stderr."""
    log = logging.getLogger("qianru")
    if not any(isinstance(handler, WarningNotes) for handler in log.handlers):
        log.addHandler(WarningNotes(logging.WARNING))


def stdout() -> Console:
    """Where results go: wrapped and coloured for a terminal, plain otherwise."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else UNWATCHED_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def show(*parts: RenderableType) -> None:
    """Prints results."""
    stdout().print(*parts, sep="\n")


def show_json(value: Any) -> None:
    """Prints one JSON document on one line, in ASCII where the stream cannot carry Chinese."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not unicode, default=_plain), flush=True)


def note(message: str) -> None:
    """Prints a line for the person on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, unit: str, scale: float = 1) -> Iterator[Progress]:
    """A callable that shows done, rate and time left on stderr where that is a terminal, and else does nothing.

    scale: how much of what is counted is one unit, e.g. 1e6 bytes an MB
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bars, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Count(ProgressColumn):
        """Done, total and rate."""

        def render(self, task: Task) -> Text:
            of = f"/{task.total:,.{digits}f}" if task.total else ""
            speed = task.finished_speed or task.speed
            rate = f"  {speed:,.{digits}f} {unit}/s" if speed else ""
            return Text(f"{task.completed:,.{digits}f}{of} {unit}{rate}")

    digits = 0 if scale == 1 else 1
    columns = (TextColumn("{task.description}"), BarColumn(), Count(), TimeRemainingColumn(compact=True))
    bars = Bars(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task(what, total=None)
    begun = shown = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < REFRESH_S and done != total:
            return
        shown = now
        if now - begun >= DELAY_S:
            bars.start()               # does nothing once started
        bars.update(task, completed=done / scale, total=None if total is None else total / scale)

    try:
        yield report
    finally:
        bars.stop()


def _plain(value: Any) -> Any:
    """Numbers of NumPy and sequences of any kind as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__iter__"):
        return list(value)
    return str(value)
