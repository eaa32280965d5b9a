"""A collection goes to a server and back from the command line, and is searched there by its address."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_server import QdrantServer
from servers import says, serving

from qianru.index.collection import Collection
from qianru.types import Document

from .conftest import Qianru


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[QdrantServer]:
    monkeypatch.delenv("QIANRU_QDRANT_API_KEY", raising=False)
    server = QdrantServer()
    with serving(server.handler()) as url:
        server.url = url.replace("http://", "qdrant://") + "/notes"
        yield server


def test_there_search_and_back(indexed: Path, server: QdrantServer, qianru: Qianru) -> None:
    result = qianru("push", ".qianru", server.url)
    assert result.code == 0, result.err
    n = qianru("count", "--json").json()["count"]
    assert f"{n} documents in {server.url}: {n} copied, 0 there already; every one read back and equal." in result.out
    here, there = (qianru("search", "怎么申请退款", "--json", *where).json()["hits"]
                   for where in ([], ["--collection", server.url]))
    assert [(hit["id"], hit["text"], hit["fields"]) for hit in there] == [
        (hit["id"], hit["text"], hit["fields"]) for hit in here]
    assert qianru("push", server.url, "back", "--json").json() == {
        "copied": n, "unchanged": 0, "verified": n, "others": 0}
    assert qianru("list", "-n", "99", "--collection", "back").out == qianru("list", "-n", "99").out
    for command in (["info"], ["count"], ["list", "-n", "2"], ["get", here[0]["id"]], ["rebuild"]):
        assert qianru(*command, "--collection", server.url).code == 0, command


def test_a_folder_is_indexed_to_a_server(notes: Path, server: QdrantServer, qianru: Qianru) -> None:
    first = qianru("index", "notes", "--collection", server.url)
    assert first.code == 0, first.err
    again = qianru("index", "notes", "--collection", server.url, "--json").json()
    assert (again["added"], again["updated"], again["removed"]) == (0, 0, 0)
    (notes / "退款.md").write_text("# 退款\n\n不再可以退款。\n", encoding="utf-8")
    assert qianru("index", "notes", "--collection", server.url).code == 0
    assert "不再可以退款" in qianru("search", "退款", "--collection", server.url).out
    assert "七天内" not in qianru("list", "--collection", server.url).out


def test_a_server_that_is_not_there_is_one_line(indexed: Path, qianru: Qianru, server: QdrantServer) -> None:
    server.tricks = {"GET": [says(401, {"status": {"error": "Must provide an API key"}})]}
    result = qianru("push", ".qianru", server.url)
    assert result.code == 1
    assert "QIANRU_QDRANT_API_KEY" in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("n_kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_a_push_that_is_killed_with_9_goes_on(
    n_kills: int, tmp_path: Path, server: QdrantServer, qianru: Qianru
) -> None:
    """Each time at another moment, the first time after the first upload."""
    n, chance = 1100 if n_kills == 1 else 6000, random.Random(1)
    with Collection.create(tmp_path / "big") as folder:
        folder.add([Document(f"文{i}", f"黄河 明月 {i}") for i in range(n)])
    for kill in range(n_kills):
        server.asked.clear()
        process = subprocess.Popen([sys.executable, "-m", "qianru", "push", str(tmp_path / "big"), server.url])
        while process.poll() is None and not any(what.startswith("PUT") and "/points" in what for what in server.asked):
            time.sleep(0.01)
        if kill:
            time.sleep(chance.random())
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = qianru("push", tmp_path / "big", server.url, "--json").json()
    assert done["verified"] == n
    assert done["copied"] + done["unchanged"] == n
    assert done["others"] == 0
