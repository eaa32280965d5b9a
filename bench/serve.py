"""Requests per second and latency: our server, sentence-transformers behind a plain FastAPI, Infinity.

    python bench/serve.py [--shapes base,small] [--clients 1,8,64,256] [--seconds 20] [--repeats 3]
        [--rivals PYTHON] [--infinity COMMAND]

Every server is a process of its own on loopback, with the same checkpoint (weights drawn at random) and all cores;
the clients ask from this process, one short title a request, each again as soon as it is answered. Ours then gets four
times its capacity in an open loop: which statuses, how much memory, how soon a request is answered in time again; and
its vectors under load are compared with those of encode. One line of JSON for each shape; progress goes to stderr.

Rivals run in environments of their own; Infinity wants an older sentence-transformers:

    python -m venv /tmp/st && /tmp/st/bin/pip install torch sentence-transformers fastapi 'uvicorn[standard]'
    python -m venv /tmp/infinity && /tmp/infinity/bin/pip install torch 'infinity-emb[torch,server]'
    python bench/serve.py --rivals /tmp/st/bin/python --infinity /tmp/infinity/bin/infinity_emb
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import HERE, data_folder, report

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

from checkpoints import m3e  # noqa: E402

import qianru  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.serve.load import Outcome, Target, checked, closed_loop, open_loop, run  # noqa: E402

SHAPES: dict[str, dict[str, int]] = {
    "small": {},   # M3E-small's own: 4 x 512
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
START_S = 180
WARM_UP_S = 2.0
OVERLOAD = 4
SAMPLE = 256        # texts whose vectors are compared


class Contestant(NamedTuple):
    """command: starts it, with {port} and {folder};  path: of its route;  model: what it is called there"""

    name: str
    command: list[str]
    path: str = "/v1/embeddings"
    model: str = "shape"


def contestants(rivals: str | None, infinity: str | None, only: str) -> list[Contestant]:
    """Those that there are commands for."""
    own = [sys.executable, "-m", "qianru", "serve", "shape={folder}", "--port", "{port}", "--precision"]
    every = [Contestant(f"qianru {precision}", [*own, precision]) for precision in ("int8", "bfloat16", "float32")]
    if rivals is not None:
        # -P, or transformers takes our kernels.py for the package of that name
        plain = [rivals, "-P", str(HERE / "serve_plain.py"), "{folder}", "{port}"]
        every += [Contestant("sentence-transformers float32, plain FastAPI", [*plain, "float32", "free"]),
                  Contestant("sentence-transformers float32, one at a time", [*plain, "float32", "lock"]),
                  Contestant("sentence-transformers bfloat16, one at a time", [*plain, "bfloat16", "lock"])]
    if infinity is not None:
        every.append(Contestant("infinity float32", [
            infinity, "v2", "--model-id", "{folder}", "--served-model-name", "shape", "--engine", "torch", "--device",
            "cpu", "--port", "{port}", "--no-bettertransformer", "--dtype", "float32"], "/embeddings"))
    return [one for one in every if any(word in one.name for word in only.split(","))]


def titles(data: Path, n: int) -> list[str]:
    """Headlines of about twenty letters."""
    lines = (data / "classification/fewclue_tnews/test_public.json").read_text("utf-8").splitlines()
    return [json.loads(line)["sentence"] for line in lines[:n]]


def say(line: str) -> None:
    """To the reader who waits."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


@contextmanager
def started(one: Contestant, folder: Path) -> Iterator[tuple[Target, int]]:
    """The server's route and process while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.format(port=port, folder=folder) for part in one.command]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1",
                   "PYTHONPATH": str(HERE.parent) if one.name.startswith("qianru") else ""}
    log = tempfile.TemporaryFile()  # noqa: SIM115   it lives as long as the process
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        until = time.monotonic() + START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                log.seek(0)
                words = log.read().decode(errors="replace").strip().splitlines()
                raise RuntimeError(f"{one.name} does not start: {' | '.join(words[-3:])[:400]}")
            time.sleep(0.2)
        yield Target("127.0.0.1", port, one.path), process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _answers(port: int) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/health",
                                                                               timeout=2):
            return True
    except OSError:
        return False


def rss_mb(pid: int) -> float:
    """Resident memory now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has taken; the warm-up's requests are in it and not counted."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def summary(runs: list[Outcome]) -> dict[str, Any]:
    """Medians of several runs."""
    told = [one.report() for one in runs]
    return {name: round(statistics.median(each[name] for each in told), 2)
            for name in ("requests_per_s", "p50_ms", "p99_ms", "max_ms") if all(each.get(name) for each in told)} | {
        "requests_per_s_all": [each["requests_per_s"] for each in told],
        "status": {status: sum(each["status"].get(status, 0) for each in told)
                   for status in {status for each in told for status in each["status"]}}}


async def overloaded(
    target: Target, pid: int, requests: list[bytes], capacity: float, seconds: float
) -> dict[str, Any]:
    """Four times the capacity, then how soon a request is answered within a second."""
    before, peak = rss_mb(pid), 0.0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, rss_mb(pid))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    outcome = await open_loop(target, requests, capacity * OVERLOAD, seconds)
    ended = time.perf_counter()
    latency = 99.0
    while latency > 1 and time.perf_counter() - ended < 60:
        begun = time.perf_counter()
        one = await closed_loop(target, requests, 1, 0.3)
        good = one.answered_s
        latency = float(good.max()) if len(good) and set(one.status) == {200} else 99.0
        recovered = begun - ended
    watching.cancel()
    return {**outcome.report(), "asked_per_s": round(capacity * OVERLOAD, 1), "rss_before_mb": round(before),
            "rss_peak_mb": round(peak), "recovered_after_s": round(recovered, 2)}


async def compared(target: Target, texts: list[str], own: Any) -> float:
    """The largest difference between vectors asked for by 32 clients, one a request, and those of encode."""
    turns = asyncio.Semaphore(32)       # all at once could be more than the line takes

    async def one(text: str) -> Any:
        async with turns:
            answer = await checked(target, target.request({"model": "shape", "input": text}))
        return answer["data"][0]["embedding"]

    got = np.array(await asyncio.gather(*(one(text) for text in texts)))
    return float(np.abs(got - own).max() / np.abs(own).max())


def measure(shape: str, folder: Path, options: argparse.Namespace, texts: list[str]) -> None:
    """One line for a shape."""
    results: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for one in contestants(options.rivals, options.infinity, options.only):
        try:
            with started(one, folder) as (target, pid):
                requests = [target.request({"model": one.model, "input": text}) for text in texts]
                run(lambda target=target, requests=requests: checked(target, requests[0]))
                told: dict[str, Any] = {}
                for n in options.clients:
                    before_s = cpu_s(pid)
                    runs = [run(lambda target=target, requests=requests, n=n: closed_loop(
                        target, requests, n, options.seconds, warm_up_s=WARM_UP_S)) for _ in range(options.repeats)]
                    told[str(n)] = summary(runs)
                    n_asked = sum(len(one.status) for one in runs)
                    told[str(n)]["cpu_ms_per_request"] = round((cpu_s(pid) - before_s) / max(n_asked, 1) * 1e3, 2)
                    say(f"  {shape}, {one.name}, {n} clients: {told[str(n)]}")
                told["rss_mb"] = round(rss_mb(pid))
                if one.name == "qianru int8":
                    capacity = max(told[str(n)]["requests_per_s"] for n in options.clients)
                    told["overload"] = run(lambda target=target, pid=pid, requests=requests, capacity=capacity:
                                           overloaded(target, pid, requests, capacity, options.seconds))
                    say(f"  {shape}, {one.name}, overload: {told['overload']}")
                    own = qianru.load(folder, Runtime("int8")).encode(texts[:SAMPLE]).dense
                    told["largest_relative_difference"] = run(
                        lambda target=target, own=own: compared(target, texts[:SAMPLE], own))
                    say(f"  vectors under load differ by {told['largest_relative_difference']:.1e}")
                results[one.name] = told
        except Exception as error:      # any server may fail in any way; the line says so and the others go on
            left_out[one.name] = f"{type(error).__name__}: {error}"[:500]
            say(f"  {one.name} left out: {left_out[one.name]}")
    report("serve", ["torch", "fastapi", "uvicorn"], shape=shape, seconds=options.seconds, repeats=options.repeats,
           letters=statistics.median(map(len, texts)), results=results, left_out=left_out)


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="base,small")
    parser.add_argument("--clients", default="1,8,64,256", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--seconds", default=20.0, type=float)
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--only", default="qianru,sentence,infinity", help="words of the contestants' names")
    parser.add_argument("--rivals", help="the Python of an environment with sentence-transformers and FastAPI")
    parser.add_argument("--infinity", help="the command infinity_emb")
    parser.add_argument("--place", default=Path(tempfile.gettempdir()) / "qianru-bench", type=Path,
                        help="where checkpoints are kept")
    options = parser.parse_args()
    data = data_folder()
    texts = titles(data, 2000)
    for shape in options.shapes.split(","):
        folder = options.place / shape
        if not folder.exists():
            unfinished = options.place / f"unfinished-{shape}"
            unfinished.mkdir(parents=True, exist_ok=True)
            m3e(unfinished, data, SHAPES[shape])
            unfinished.rename(folder)
        measure(shape, folder, options, texts)


if __name__ == "__main__":
    main()
