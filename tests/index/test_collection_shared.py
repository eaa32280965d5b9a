"""One writes, many read: processes, threads, and a process that goes elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from numpy.testing import assert_allclose
from poems import POEMS

from qianru.errors import (
    CollectionBusy,
    CollectionError,
)
from qianru.index.collection import Collection
from qianru.types import Document


def test_a_second_writer_is_told_who_holds_it(poems: Collection) -> None:
    with pytest.raises(CollectionBusy, match="open for writing in this program already"):
        Collection.open(poems.path)
    code = "import sys, qianru; qianru.Collection.open(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(poems.path)], capture_output=True, text=True, check=False)
    assert f"open for writing in another program (process {os.getpid()})" in done.stderr


def test_another_thread_may_close_it(poems: Collection) -> None:
    closing = threading.Thread(target=poems.close)
    closing.start()
    closing.join()
    with Collection.open(poems.path) as again:
        assert again.count() == 4


def test_a_reader_answers_in_peace_while_the_writer_deletes_and_adds(poems: Collection) -> None:
    def write() -> None:
        for n in range(60):
            poems.delete(["将进酒"])
            poems.add([Document("将进酒", "君不见黄河之水天上来" + "，奔流到海" * (n % 5))])

    writing = threading.Thread(target=write)
    with Collection.open(poems.path, read_only=True) as reader:
        writing.start()
        while writing.is_alive():
            assert {hit.id for hit in reader.search("黄河")} - {"将进酒"} == {"登鹳雀楼"}
            assert reader.explain("黄河", "登鹳雀楼").scores["sparse"] > 0
        writing.join()


def test_a_reader_sees_what_the_writer_commits(poems: Collection) -> None:
    with Collection.open(poems.path, read_only=True) as reader:
        assert [hit.id for hit in reader.search("风雨")] == ["春晓"]
        both = [[hit.score for hit in collection.search("黄河")] for collection in (reader, poems)]
        assert_allclose(*both, rtol=1e-6)
        poems.add([Document("新", "花间一壶酒")])
        poems.delete("春晓")
        assert reader.search("风雨") == []
        assert [hit.id for hit in reader.search("壶")] == ["新"]
        with pytest.raises(CollectionError, match="read-only"):
            reader.add(["x"])


def test_a_reader_in_another_process_answers_too(poems: Collection) -> None:
    code = (
        "import sys, qianru\n"
        "with qianru.Collection.open(sys.argv[1], read_only=True) as c: print(c.search('黄河')[0].id)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(poems.path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("登鹳雀楼", "将进酒")


def test_the_process_may_go_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "别处").mkdir()
    monkeypatch.chdir(tmp_path)
    with Collection.create("诗") as poems:
        poems.add(POEMS)
        monkeypatch.chdir(tmp_path / "别处")
        assert poems.search("黄河")
    assert not (tmp_path / "诗" / "writer").exists()
    assert list((tmp_path / "别处").iterdir()) == []


def test_eight_threads_read_while_one_writes(poems: Collection, tmp_path: Path) -> None:
    """Every answer is of one moment: a poem and its note are always there together, or not at all."""
    failures: list[BaseException] = []
    writing = threading.Event()
    writing.set()

    def read(collection: Collection) -> None:
        try:
            while writing.is_set():
                found = {hit.id for hit in collection.search("石径", k=9)}
                assert found in (set(), {"山行", "山行注"}), found
                assert collection.count() in (4, 6)
        except BaseException as error:
            failures.append(error)

    with Collection.open(poems.path, read_only=True) as reader:
        threads = [threading.Thread(target=read, args=(where,)) for where in (reader, poems) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            poems.add([Document("山行", "远上寒山石径斜"), Document("山行注", "寒山，石径，白云")])
            poems.delete(["山行", "山行注"])
        writing.clear()
        for thread in threads:
            thread.join()
    assert failures == []
