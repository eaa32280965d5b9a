"""What is lost or damaged is made again from the documents, or named; what fails leaves the old state."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from qianru.errors import (
    CollectionDamaged,
    CollectionError,
    ModelMismatch,
    StorageFailed,
)
from qianru.index.collection import Collection
from qianru.index.engine import EngineIndex
from qianru.models.bm25 import BM25
from qianru.text.analyze import SEARCH
from qianru.types import Document


def test_a_lost_engine_is_made_again(poems: Collection) -> None:
    poems.search("黄河")
    poems.close()
    shutil.rmtree(poems.path / "engine")
    with Collection.open(poems.path) as again:
        assert len(again.search("黄河")) == 2


def test_a_damaged_engine_is_made_again_and_said(poems: Collection, caplog: pytest.LogCaptureFixture) -> None:
    poems.search("黄河")
    poems.close()
    for file in (poems.path / "engine").rglob("*"):
        if file.is_file():
            file.write_bytes(b"not an engine")
    with Collection.open(poems.path) as again:
        assert len(again.search("黄河")) == 2
    assert "made again from the documents" in caplog.text


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"SQLite format 3\0" + b"\0" * 200])
def test_a_foreign_file_is_named(poems: Collection, content: bytes) -> None:
    poems.close()
    (poems.path / "collection.sqlite").write_bytes(content)
    with pytest.raises(CollectionDamaged, match=r"collection\.sqlite is not a Qianru collection's database"):
        Collection.open(poems.path)


def test_a_truncated_file_is_named(poems: Collection) -> None:
    poems.close()
    file = poems.path / "collection.sqlite"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CollectionDamaged, match="cut short"):
        Collection.open(poems.path)


def test_a_changed_text_is_found_out_by_rebuild(poems: Collection) -> None:
    poems.close()
    with sqlite3.connect(poems.path / "collection.sqlite") as database:
        database.execute("UPDATE documents SET text = '假' WHERE id = '春晓'")
    database.close()
    with Collection.open(poems.path) as again, pytest.raises(CollectionDamaged, match="'春晓' is not what was written"):
        again.rebuild()


def test_rebuild_mends_statistics_and_engine(poems: Collection) -> None:
    before = poems.search("黄河 明月")
    poems.close()
    with sqlite3.connect(poems.path / "collection.sqlite") as database:
        database.execute("UPDATE terms SET frequency = 77")
        database.execute("UPDATE meta SET value = 1000 WHERE key = 'n_tokens'")
    database.close()
    with Collection.open(poems.path) as again:
        assert again.rebuild() == 4
        assert again.search("黄河 明月") == before


def test_rebuild_replaces_an_engine_that_does_not_answer(poems: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    before = poems.search("黄河")

    def broken(_: object) -> int:
        raise CollectionError("The search index could not be read.")

    with monkeypatch.context() as patched:
        patched.setattr(EngineIndex, "__len__", broken)
        assert poems.rebuild() == 4
    assert poems.search("黄河") == before


def test_a_model_that_was_changed_is_refused(poems: Collection) -> None:
    poems.close()
    shutil.rmtree(poems.path / "model")
    BM25(SEARCH, k1=2.0).save(poems.path / "model")
    with pytest.raises(ModelMismatch, match="is not the model that made this collection"):
        Collection.open(poems.path)


def test_opening_with_another_model_is_refused(poems: Collection) -> None:
    poems.close()
    with pytest.raises(ModelMismatch, match="was made with"):
        Collection.open(poems.path, model=BM25(SEARCH, b=0.1, query_stop_lists=("zh", "en")))
    Collection.open(poems.path, model=BM25(SEARCH, query_stop_lists=("zh", "en"))).close()


def test_a_batch_that_fails_leaves_nothing(poems: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    before = poems.search("黄河")
    monkeypatch.setattr(poems._storage, "put_vectors", broken)
    with pytest.raises(KeyboardInterrupt):
        poems.add([Document("半", "黄河黄河黄河")])
    monkeypatch.undo()
    assert poems.count() == 4
    assert poems.search("黄河") == before
    poems.add([Document("半", "黄河黄河黄河")])
    assert len(poems.search("黄河")) == 3


def test_a_close_that_fails_gives_everything_back(poems: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    poems.search("黄河")
    poems.add(["黄河之水天上来"])

    def full(*_: object) -> None:
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(EngineIndex, "add", full)
    with pytest.raises(StorageFailed):
        poems.close()
    monkeypatch.undo()
    assert poems._follower is not None
    with pytest.raises(CollectionError, match="is closed"):
        len(poems._follower._index)
    with Collection.open(poems.path) as again:
        assert len(again.search("黄河")) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE documents SET fields = '{' WHERE id = '将进酒'", "the fields of document 4 are not what was written"),
        ("DELETE FROM vectors WHERE n = 4", "the vectors of document 4 are missing"),
        ("DELETE FROM meta WHERE key = 'sequence'", "lacks its sequence"),
        ("DELETE FROM meta WHERE key = 'fingerprint'", "lacks its fingerprint"),
    ],
)
def test_a_hole_in_the_database_is_named(poems: Collection, change: str, said: str) -> None:
    poems.close()
    with sqlite3.connect(poems.path / "collection.sqlite") as database:
        database.execute(change)
    database.close()

    def use() -> None:
        with Collection.open(poems.path) as again:
            again.get("将进酒")
            again.delete("将进酒")

    with pytest.raises(CollectionDamaged, match=said):
        use()


def test_of_several_that_make_it_at_once_one_does(tmp_path: Path) -> None:
    said: list[str] = []

    def make() -> None:
        try:
            Collection.create(tmp_path / "同").close()
        except CollectionError as error:
            said.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) <= 2
    assert all("already holds a collection" in one or "open for writing" in one for one in said)
    assert [path.name for path in tmp_path.iterdir()] == ["同"]
    with Collection.open(tmp_path / "同") as made:
        assert made.count() == 0
