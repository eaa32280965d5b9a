"""Mixed traffic on a server for a long time: does it leak, does it die, does it answer anybody that it should not?

    python bench/soak.py [--minutes 30] [--shape small] [--clients 16] [--place FOLDER]

A server of a small model, a reranker and a collection, with keys and --allow-write, is asked by honest clients
(vectors, scores, searches, documents that come and go, answers as streams) and by others: those that hang up in the
middle, send garbage, bodies of 100 MB, bodies that never end or come a byte at a time, wrong keys. Checked all the
time: an honest request gets 200 (or 429), a wrong key gets 401, memory stays where it was. One line of JSON at the end;
exit status 1 unless the resident memory of the last tenth of the time lies within 5 % of that of the second tenth,
nothing that is honest failed, nothing that is not was answered, and the server stops as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import HERE, data_folder, report
from serve import SHAPES, _answers, rss_mb, say, titles

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

from checkpoints import m3e  # noqa: E402
from reranker_checkpoints import tiny_reranker  # noqa: E402

from qianru.serve.keys import add_key  # noqa: E402
from qianru.serve.load import Connection, Target, run  # noqa: E402

HUGE = 100 << 20
TOLERANCE = 0.05
GRACE_S = 30


class Soak:
    """What all clients share.

    told: what happened, by client and status;  wrong: what must not have happened
    memory: of the server in MB, once a second while this process runs: where it is stopped for a while, so is its time
    """

    def __init__(self, port: int, key: str, texts: list[str], seconds: float) -> None:
        self.port, self.key, self.texts = port, key, texts
        self.seconds, self.memory = seconds, list[float]()
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.rng = random.Random(7)

    def target(self, path: str, key: str | None = None) -> Target:
        """A route, with the right key unless another is given."""
        return Target("127.0.0.1", self.port, path, self.key if key is None else key)

    def some(self, n: int) -> list[str]:
        """So many texts."""
        return self.rng.choices(self.texts, k=n)

    async def honest(self, name: str, path: str, body: Any, also: tuple[int, ...] = ()) -> Any:
        """A request that must be answered."""
        connection = await Connection.open(self.target(path))
        status, answer = await connection.ask(self.target(path).request(body))
        connection.close()
        self.told[f"{name} {status}"] += 1
        if status not in (200, 201, 429, *also):
            self.wrong.append(f"{name}: {status} {answer[:200]!r}")
        return json.loads(answer) if status == 200 else None

    async def vectors(self) -> None:
        await self.honest("vectors", "/v1/embeddings", {
            "model": "shape", "input": self.some(self.rng.choice([1, 1, 1, 4, 64])),
            "encoding_format": self.rng.choice(["float", "base64"])})

    async def tei(self) -> None:
        await self.honest("tei", "/embed", {"inputs": self.some(2), "truncate": True})

    async def rerank(self) -> None:
        await self.honest("rerank", "/v1/rerank", {"model": "reranker", "query": "月", "documents": self.some(5)})

    async def search(self) -> None:
        await self.honest("search", "/collections/soak/search", {"query": self.some(1)[0], "k": 5})

    async def documents(self) -> None:
        ids = [str(self.rng.randrange(500)) for _ in range(4)]
        given = [{"id": id, "text": text} for id, text in zip(ids, self.some(4), strict=True)]
        await self.honest("add", "/collections/soak/documents", {"documents": given})
        await self.honest("delete", "/collections/soak/documents/delete", {"ids": ids[:2]})

    async def wrong_key(self) -> None:
        for path in ("/v1/embeddings", "/metrics", "/collections/soak/search", "/collections/soak/documents"):
            target = self.target(path, self.rng.choice(["wrong", self.key[:-1], self.key + "x", ""]))
            connection = await Connection.open(target)
            status, _ = await connection.ask(target.request({"model": "shape", "input": "春"}))
            connection.close()
            self.told[f"wrong key {status}"] += 1
            if status != 401:
                self.wrong.append(f"a wrong key was answered with {status}")

    async def garbage(self) -> None:
        body = bytes(self.rng.randrange(256) for _ in range(200))
        head = (f"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.key}\r\n"
                f"content-length: {len(body)}\r\n\r\n").encode()
        for sent in (head + body, body, b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"):
            await self.raw("garbage", sent)

    async def hang_up(self) -> None:
        request = self.target("/v1/embeddings").request({"model": "shape", "input": self.some(64)})
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request if self.rng.random() < 0.7 else request[: len(request) // 2])
        await asyncio.sleep(self.rng.random() * 0.1)
        writer.transport.abort()
        self.told["hung up"] += 1

    async def listen_half(self) -> None:
        """An answer that is streamed, to somebody who leaves."""
        request = self.target("/collections/soak/ask").request({"question": self.some(1)[0]})
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.read(100), 10)
        writer.transport.abort()
        self.told["listened half"] += 1

    async def huge(self) -> None:
        head = (f"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.key}\r\n")
        declared = self.rng.random() < 0.5
        head += f"content-length: {HUGE}\r\n\r\n" if declared else "transfer-encoding: chunked\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        block = b"x" * (1 << 20)
        writer.write(head.encode())
        try:
            for _ in range(HUGE >> 20):
                writer.write(block if declared else b"%x\r\n" % len(block) + block + b"\r\n")
                await asyncio.wait_for(writer.drain(), 30)
            answer = await asyncio.wait_for(reader.read(100), 30)
        except (OSError, TimeoutError):
            answer = b"HTTP/1.1 --- hung up"
        writer.transport.abort()
        status = answer.split(b" ")[1].decode() if b" " in answer else "none"
        self.told[f"huge {status}"] += 1
        if status.startswith(("2", "5")):
            self.wrong.append(f"100 MB were answered with {status}")

    async def slow(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"POST /embed HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.key}\r\n"
                     "content-length: 1000\r\n\r\n".encode())
        for _ in range(20):
            if writer.transport.is_closing():
                break
            writer.write(b" ")
            await asyncio.sleep(0.2)
        writer.transport.abort()
        self.told["slow"] += 1

    async def raw(self, name: str, sent: bytes) -> None:
        """Bytes that are no good request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        try:
            answer = await asyncio.wait_for(reader.read(100), 10)
        except (OSError, TimeoutError):
            answer = b""
        writer.transport.abort()
        status = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/") else "none"
        self.told[f"{name} {status}"] += 1
        if status.startswith(("2", "5")):
            self.wrong.append(f"{name} was answered with {status}")

    async def client(self, pause_s: float) -> None:
        """One client, who does this and that."""
        doings: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (30, self.vectors), (10, self.tei), (6, self.rerank), (20, self.search), (6, self.documents),
            (8, self.wrong_key), (8, self.garbage), (8, self.hang_up), (3, self.listen_half), (1, self.huge),
            (1, self.slow)]
        weights, works = zip(*doings, strict=True)
        while len(self.memory) < self.seconds:
            work = self.rng.choices(works, weights)[0]
            try:
                await work()
            except (OSError, TimeoutError) as error:
                self.told[f"{work.__name__} {type(error).__name__}"] += 1
                if work not in (self.hang_up, self.huge, self.slow, self.garbage, self.listen_half):
                    self.wrong.append(f"{work.__name__}: {type(error).__name__}: {error}")
            await asyncio.sleep(self.rng.random() * pause_s)


async def soak(work: Soak, n_clients: int, pid: int) -> None:
    """Runs all clients."""
    memory = work.memory

    async def watch() -> None:
        while True:
            memory.append(rss_mb(pid))
            if len(memory) % 15 == 0:
                say(f"{len(memory)} s, {memory[-1]:.0f} MB, {sum(work.told.values())} requests, "
                    f"{len(work.wrong)} wrong")
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    await work.honest("create", "/collections", {"name": "soak", "model": ["bm25", "shape"]})
    await asyncio.gather(*(work.client(0.1) for _ in range(n_clients)))
    watching.cancel()


def main() -> None:
    """Soaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default=30.0, type=float)
    parser.add_argument("--shape", default="small", choices=SHAPES)
    parser.add_argument("--clients", default=16, type=int)
    parser.add_argument("--port", default=8971, type=int)
    parser.add_argument("--place", default=Path(tempfile.gettempdir()) / "qianru-bench", type=Path,
                        help="where checkpoints are kept")
    options = parser.parse_args()
    data = data_folder()
    folder = options.place / options.shape
    if not folder.exists():
        folder.mkdir(parents=True)
        m3e(folder, data, SHAPES[options.shape])
    with tempfile.TemporaryDirectory() as place, Path(place, "log").open("wb") as log:
        key = add_key(Path(place, "keys"), "soak")
        reranker = tiny_reranker(Path(place, "reranker"))
        command = [sys.executable, "-m", "qianru", "serve", f"shape={folder}", str(reranker), "--port",
                   str(options.port), "--keys", f"{place}/keys", "--collections", f"{place}/shelf", "--allow-write",
                   "--limit", "body_s=5"]
        process = subprocess.Popen(command, stderr=log, stdout=log,
                                   env={**os.environ, "PYTHONPATH": str(HERE.parent)})
        try:
            until = time.monotonic() + 120
            while not _answers(options.port) and process.poll() is None and time.monotonic() < until:
                time.sleep(0.5)
            work = Soak(options.port, key, titles(data, 2000), options.minutes * 60)
            run(lambda: soak(work, options.clients, process.pid))
            alive = process.poll() is None
            process.send_signal(signal.SIGTERM)
            stopped = process.wait(GRACE_S)
        finally:
            process.kill()
        said = Path(place, "log").read_text("utf-8", errors="replace").splitlines()
        errors = [line for line in said if '"level": "error"' in line or "Traceback" in line]
        secrets = [line for line in said if key in line or work.texts[0][:8] in line]
    memory = work.memory
    tenth = max(1, len(memory) // 10)
    early, late = statistics.median(memory[tenth : 2 * tenth]), statistics.median(memory[-tenth:])
    good = alive and stopped == 0 and not work.wrong and not errors and not secrets and late <= early * (1 + TOLERANCE)
    report("soak", ["torch", "fastapi", "uvicorn"], minutes=options.minutes, clients=options.clients,
           requests=sum(work.told.values()), told=dict(sorted(work.told.items())), rss_early_mb=round(early),
           rss_late_mb=round(late), rss_peak_mb=round(max(memory)), alive=alive, exit_status=stopped,
           wrong=Counter(work.wrong).most_common(10), errors_logged=errors[:5], secrets_logged=len(secrets), good=good)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
