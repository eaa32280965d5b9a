"""A snapshot is of one moment, is verified before it becomes a collection, and lets nothing out of its folder."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qianru.errors import BadFile, BadInput, CollectionDamaged, QianruError
from qianru.index import snapshot as room
from qianru.index.collection import Collection
from qianru.index.snapshot import MANIFEST, restore, snapshot
from qianru.types import Document


@pytest.fixture
def file(poems: Collection, tmp_path: Path) -> Path:
    snapshot(poems.path, tmp_path / "诗.tar")
    return tmp_path / "诗.tar"


def test_a_restored_collection_answers_alike(poems: Collection, file: Path, tmp_path: Path) -> None:
    poems.set_plan({"candidates": 77})
    (tmp_path / "诗.tar").unlink()
    assert snapshot(poems.path, file).n_documents == 4
    assert restore(file, tmp_path / "back").n_documents == 4
    with Collection.open(tmp_path / "back") as back:
        assert back.search("黄河 明月") == poems.search("黄河 明月")
        assert back.documents() == poems.documents()
        assert back.plan == poems.plan
        assert back.check().clean
        back.delete("春晓")
        assert back.add([Document("新", "花间一壶酒")]).added == 1
        assert back.numbers(["新"])["新"] == 5         # numbers are not used twice there either
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "poems", "诗.tar"]


def test_nothing_is_written_over(poems: Collection, file: Path) -> None:
    with pytest.raises(BadInput, match="exists already"):
        snapshot(poems.path, file)
    with pytest.raises(BadInput, match="exists already"):
        restore(file, poems.path)


def test_it_is_of_one_moment_while_a_writer_works(poems: Collection, tmp_path: Path) -> None:
    """Pairs are added together; a snapshot holds both or none."""
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            poems.add([Document(f"左{n}", "黄河"), Document(f"右{n}", "明月")])
            n += 1

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for i in range(4):
            snapshot(poems.path, tmp_path / f"{i}.tar")
    finally:
        stop.set()
        writing.join()
    for i in range(4):
        restore(tmp_path / f"{i}.tar", tmp_path / str(i))
        with Collection.open(tmp_path / str(i), read_only=True) as back:
            ids = {document.id for document in back.documents(limit=100_000)}
            assert {id[1:] for id in ids if id[0] == "左"} == {id[1:] for id in ids if id[0] == "右"}
            assert back.check().clean


def rewritten(file: Path, change: Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]) -> Path:
    new = file.with_name("changed.tar")
    with tarfile.open(file) as old, tarfile.open(new, "w") as tar:
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            for info, content in change(member, stream.read()):
                info.size = len(content) if info.isreg() else 0
                tar.addfile(info, io.BytesIO(content))
    return new


def listing(member: tarfile.TarInfo, content: bytes, name: str) -> bytes:
    """The manifest with one more name."""
    if member.name != MANIFEST:
        return content
    told = json.loads(content)
    told["files"][name] = {"size": 1, "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}  # x
    return json.dumps(told).encode()


@pytest.mark.parametrize("name", ["../外", "/tmp/外", "model/../../外", "model\\..\\外", "C:外", "lock", "model/./x",
                                  "engine/x", "model//x"])
def test_a_name_that_leads_out_is_refused(file: Path, tmp_path: Path, name: str) -> None:
    def change(member: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        more = [(tarfile.TarInfo(name), b"x")] if member.name == MANIFEST else []
        return [(member, listing(member, content, name)), *more]

    with pytest.raises(BadFile, match="does not belong"):
        restore(rewritten(file, change), tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.tar", "poems", "诗.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_what_is_no_file_are_refused(file: Path, tmp_path: Path, kind: bytes) -> None:
    def change(member: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        link = tarfile.TarInfo("model/x")
        link.type, link.linkname = kind, "/etc/passwd"
        return [(member, listing(member, content, "model/x")), *([(link, b"")] if member.name == MANIFEST else [])]

    with pytest.raises(BadFile, match="does not belong"):
        restore(rewritten(file, change), tmp_path / "back")


def test_a_flipped_bit_is_found_wherever_it_is(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    changed = tmp_path / "changed.tar"
    with tarfile.open(file) as tar:
        places = [member.offset_data + member.size // 2 for member in tar if member.size]
    for place in places:
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(QianruError):
            restore(changed, tmp_path / "back")
        assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_a_file_cut_short_is_refused(file: Path, tmp_path: Path, share: float) -> None:
    changed = tmp_path / "changed.tar"
    changed.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises((BadFile, CollectionDamaged)):
        restore(changed, tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.tar", "poems", "诗.tar"]


def test_what_fails_leaves_nothing(poems: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "hash_file", full)
    with pytest.raises(QianruError, match="No space left"):
        snapshot(poems.path, tmp_path / "诗.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["poems"]


def test_no_file_and_another_tar_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no file"):
        restore(tmp_path / "none.tar", tmp_path / "back")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("readme"))
    with pytest.raises(BadFile, match=r"does not begin with manifest\.json"):
        restore(tmp_path / "other.tar", tmp_path / "back")
