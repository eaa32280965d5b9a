"""What a person sees on a terminal and nowhere else: progress with rate and time left, and marked words."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from .conftest import Qianru

WORK = """
import time
from qianru.cli.terminal import progress, show
with progress("Indexing", "MB", 1e6) as watch:
    for done in range(1, 16):
        time.sleep(0.1)
        watch(done * 2_000_000, 60_000_000)
show("done")
"""


TERMINAL = {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}


def on_a_terminal(code: str) -> tuple[str, str]:
    """(stdout, what a terminal got on stderr) of a program."""
    ours, theirs = pty.openpty()
    settings = os.environ | TERMINAL
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=settings)
    os.close(theirs)
    seen = read_to_its_end(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out.decode(), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)


def read_to_its_end(terminal: int) -> str:
    seen = b""
    with suppress(OSError):      # its end, on Linux
        while piece := os.read(terminal, 65536):
            seen += piece
    os.close(terminal)
    return seen.decode()


def test_a_terminal_sees_what_is_done_the_rate_and_the_time_left() -> None:
    out, seen = on_a_terminal(WORK)
    assert out == "done\n"
    done, rate, minutes, seconds = re.findall(r"Indexing .* ([\d.]+)/60\.0 MB  ([\d.]+) MB/s (\d+):(\d+)", seen)[-1]
    assert 10 <= float(done) <= 30
    assert 5 <= float(rate) <= 25                      # 20 MB/s, on a machine that may be busy
    assert 1 <= int(minutes) * 60 + int(seconds) <= 10


def test_work_that_is_done_at_once_needs_no_bar() -> None:
    code = "from qianru.cli.terminal import progress\nwith progress('x', 'texts') as watch: watch(1, 1)"
    assert on_a_terminal(code) == ("", "")


def test_without_a_terminal_there_is_no_bar() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_the_words_of_the_question_are_marked(indexed: Path, qianru: Qianru) -> None:
    command = [sys.executable, "-m", "qianru", "search", "退款", "-k", "1"]
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | TERMINAL
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment):
        os.close(theirs)
        seen = read_to_its_end(ours)
    assert "\x1b[1;33m退款\x1b[0m" in seen
    assert "\x1b" not in qianru("search", "退款", "-k", "1").out
