"""Progress as a person sees it: only on a terminal, on stderr, with rate and time left."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

WORK = """
import time
from qianru.cli.terminal import progress, show
with progress("Indexing", "MB", 1e6) as watch:
    for done in range(1, 16):
        time.sleep(0.1)
        watch(done * 2_000_000, 60_000_000)
show("done")
"""


def on_a_terminal(code: str, **environment: str) -> tuple[str, str]:
    """(stdout, what a terminal got on stderr) of a program."""
    ours, theirs = pty.openpty()
    settings = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"} | environment
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=settings)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:      # its end, on Linux
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out.decode(), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())


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
