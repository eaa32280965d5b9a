"""qianru serve, keys and bench-server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from qianru.index.collection import Collection

from .conftest import Qianru

pytest.importorskip("fastapi", reason="pip install 'qianru[serve]'")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """(address, process, log) of a server of a small collection, with a key."""
    place = tmp_path_factory.mktemp("serving")
    with Collection.create(place / "poems") as library:
        library.add(["床前明月光", "春眠不觉晓"])
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "qianru", "serve", str(place / "poems"), "--port", "0", "--limit", "k=20"],
            stderr=log, env={**os.environ, "QIANRU_API_KEYS": "钥匙".encode().hex() + ", other"})
    address = ""
    until = time.monotonic() + 60
    while not address:
        assert process.poll() is None, (place / "log").read_text("utf-8")
        assert time.monotonic() < until
        for line in (place / "log").read_text("utf-8").splitlines():
            if "running on http://" in line:
                address = "http://127.0.0.1:" + line.partition("http://127.0.0.1:")[2].partition(" ")[0]
        time.sleep(0.05)
    yield address, process, place / "log"
    process.kill()
    process.wait()


def test_a_collection_is_served_and_put_under_load(
    served: tuple[str, subprocess.Popen[bytes], Path], qianru: Qianru, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _, _ = served
    run = ("bench-server", address, "--path", "/collections/poems/search", "--rate", "30", "--seconds", "0.5", "--json")
    monkeypatch.setenv("QIANRU_API_KEY", "wrong")
    refused = qianru(*run)
    assert refused.code == 1
    assert "401" in refused.err
    monkeypatch.setenv("QIANRU_API_KEY", "other")
    told = qianru(*run).json()
    assert set(told["status"]) == {"200"}
    assert told["p50_ms"] <= told["p99_ms"] <= told["max_ms"]


def test_a_port_that_is_taken_ends_in_an_error(served: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    port = served[0].rpartition(":")[2]
    done = subprocess.run([sys.executable, "-m", "qianru", "serve", str(served[2].parent / "poems"), "--port", port],
                          capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 1         # a supervisor would take 0 for a server that was told to stop
    assert done.stderr.count("\n") == 1
    assert f"cannot start at 127.0.0.1:{port}: Address already in use. Choose another --port" in done.stderr


def test_a_folder_whose_collection_lies_within_is_told_of(tmp_path: Path, qianru: Qianru) -> None:
    Collection.create(tmp_path / ".qianru").close()
    done = qianru("serve", str(tmp_path))
    assert (done.code, done.err.strip().endswith(f"serve {tmp_path / '.qianru'}.")) == (1, True)


def test_the_server_stops_cleanly_and_has_logged_no_text(served: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    address, process, log = served
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{address}/ready") as answer:
        assert json.load(answer) == {"status": "ready"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    lines = log.read_text("utf-8").splitlines()
    assert lines[0].startswith("Serving poems at http://127.0.0.1:")
    facts = [json.loads(line) for line in lines[1:]]
    assert any(line.get("route") == "/collections/{name}/search" for line in facts)
    assert not any("明月" in line or "other" in line for line in lines)


def test_keys_are_made_listed_and_taken_back(tmp_path: Path, qianru: Qianru) -> None:
    file = str(tmp_path / "keys.txt")
    key = qianru("keys", "new", "笔记本", "--keys", file).out.strip()
    assert key.startswith("qianru-")
    assert key not in Path(file).read_text("utf-8")
    assert qianru("keys", "list", "--keys", file, "--json").json() == {"keys": ["笔记本"]}
    assert qianru("keys", "remove", "笔记本", "--keys", file).code == 0
    assert qianru("keys", "list", "--keys", file).out.strip() == ""


@pytest.mark.parametrize(("arguments", "words"), [
    (("serve", "--host", "0.0.0.0"), "without a key"),
    (("serve",), "nothing to serve"),
    (("serve", "nothing-like-this"), "Known: bm25"),
    (("serve", "--limit", "textes=3"), "Did you mean 'texts'"),
    (("serve", "--limit", "texts=three"), "a whole number such as 2048"),
    (("serve", "bm25", "bm25"), "Two models are called bm25. Give one of them another name: NAME=bm25"),
    (("serve", "bm25", "--keys", "no/keys.txt"), "No such file or directory. Make one with: qianru keys new NAME"),
    (("serve", "bm25", "--collections", "no/shelf"), "There is no folder no/shelf"),
    (("serve", "bm25", "--collections", __file__), "is a file"),
    (("serve", "bm25", "--cors", "example.org"), "An origin is like https://example.org"),
    (("serve", "bm25", "--host", "no.such.host.invalid", "--open"), "cannot start at no.such.host.invalid:8000"),
    (("serve", "bm25", "--open", "--allow-write"), "could change and delete collections"),
    (("serve", str(Path(__file__).parent)), "Nor is it a collection"),
    (("serve", "--limit", "texts=0"), "above 0"),
    (("bench-server",), "--rate"),
    (("bench-server", "https://example.org", "--rate", "1"), "http://host:port"),
    (("bench-server", "http://127.0.0.1:9", "--rate", "1"), "Is the server running"),
])
def test_what_cannot_be_done_is_said_in_a_line(arguments: tuple[str, ...], words: str, qianru: Qianru) -> None:
    done = qianru(*arguments)
    assert done.code == 1
    assert words in done.err
    assert "Traceback" not in done.err
