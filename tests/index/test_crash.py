"""What was acknowledged is there after the process is killed at any moment, and nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qianru.index.collection import Collection
from qianru.types import Document

WRITER = """
import sys
from qianru import Collection, Document

path, start = sys.argv[1], int(sys.argv[2])
with Collection.open(path) as collection:
    for i in range(start, start + 100_000, 20):
        collection.add([
            Document(f"d{n}", f"编号{n} 黄河入海流 第{n}篇" + " 词" * (n % 9), {"n": n}) for n in range(i, i + 20)
        ])
        if i % 60 == 0:
            collection.delete([f"d{i}"])
            print(-i, flush=True)
        print(i + 19, flush=True)          # acknowledged up to here
        if i % 200 == 0:
            collection.search("黄河")      # has the engine follow
"""


def kill_at_a_random_moment(path: Path, start: int, chance: random.Random) -> list[int]:
    """What the writer had acknowledged when it was killed."""
    command = [sys.executable, "-c", WRITER, str(path), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randrange(1, 12))]
        time.sleep(chance.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    return [int(line) for line in lines if line.endswith("\n")]


def check_after_kill(path: Path, acknowledged: set[int], deleted: set[int]) -> int:
    """Every acknowledged document is found, by name and by its words; returns the highest number stored."""
    with Collection.open(path) as collection:
        there = {int(document.id[1:]) for document in collection.documents(limit=1_000_000)}
        assert acknowledged - deleted <= there
        assert not deleted & there
        assert len(there) == collection.count()
        found = {int(hit.id[1:]) for hit in collection.search("黄河", k=1_000_000)}
        assert found == there
        for n in random.Random(0).sample(sorted(there), min(20, len(there))):
            assert collection.search(f"编号{n}", k=1, where=f"n = {n}")[0].id == f"d{n}"
        return max(there, default=-1)


def kill_and_check(path: Path, times: int) -> None:
    chance = random.Random(20261121)
    Collection.create(path).close()
    acknowledged: set[int] = set()
    deleted: set[int] = set()
    start = 0
    for _ in range(times):
        for said in kill_at_a_random_moment(path, start, chance):
            if said > 0:
                acknowledged |= set(range(said - 19, said + 1))
            else:
                deleted.add(-said)
        start = (check_after_kill(path, acknowledged, deleted) // 60 + 1) * 60


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "c", times=6)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_to_100_kills(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "c", times=100)


def test_a_full_disk_is_named_and_the_old_state_is_intact(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk."""
    with Collection.create(tmp_path / "c") as collection:
        collection.add([Document("旧", "黄河入海流")])
    code = f"""
import resource, signal
from qianru import Collection, Document
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Collection.open({str(tmp_path / "c")!r}) as collection:
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    for i in range(100):
        collection.add([Document(f"新{{i}}-{{j}}", "流" * 1000) for j in range(10)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "StorageFailed" in done.stderr
    assert "What was stored before is intact" in done.stderr
    with Collection.open(tmp_path / "c") as collection:
        assert collection.get("旧").text == "黄河入海流"
        n_stored = collection.count() - 1
        assert n_stored % 10 == 0                        # no batch is half there
        assert [hit.id for hit in collection.search("黄河")] == ["旧"]


def test_a_folder_of_another_user_can_be_read_and_not_written(
    tmp_path: Path, let_others_in: Callable[[], None]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user takes the administrator's rights")
    with Collection.create(tmp_path / "c") as collection:
        collection.add([Document("旧", "黄河入海流")])
    let_others_in()
    code = f"""
import os
from qianru import Collection
from qianru.errors import StorageFailed
for read_only in (False, True):         # loads all that is needed while it may still be read
    with Collection.open({str(tmp_path / "c")!r}, read_only=read_only) as collection:
        collection.search("黄河")
os.setgid(65534)
os.setuid(65534)
try:
    Collection.open({str(tmp_path / "c")!r})
except StorageFailed as error:
    print(error)
with Collection.open({str(tmp_path / "c")!r}, read_only=True) as collection:
    print(collection.search("黄河")[0].id)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "cannot be written" in done.stdout, done.stderr
    assert "旧" in done.stdout
