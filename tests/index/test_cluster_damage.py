"""What another program may have written to a server's collection: named as damage, never followed out of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("qdrant_client", reason="clusters need qdrant-client: pip install 'qianru[cluster]'")

from clusters import in_memory

from qianru.errors import CollectionDamaged, CollectionError, UnknownName
from qianru.index.cluster_link import Link
from qianru.index.cluster_opening import create_at, open_at
from qianru.types import Document


@pytest.fixture
def link() -> Link:
    link = in_memory()
    create_at(link, "诗").add([Document("静夜思", "床前明月光")])
    return link


def points(link: Link, name: str, kind: str | None = None) -> list[Any]:
    found = link.client.scroll(name, limit=100)[0]
    return [record for record in found if kind is None or (record.payload or {}).get("kind") == kind]


@pytest.mark.parametrize(("key", "value"), [
    ("format", "1"), ("format", None), ("layout", 5), ("fingerprint", None), ("model_kept", 1), ("parts", {}),
])
def test_a_note_of_what_the_collection_is(link: Link, key: str, value: Any) -> None:
    link.client.set_payload("诗__meta", {key: value}, [0])
    with pytest.raises(CollectionDamaged, match=f"诗__meta at memory is not what was written: {key} is"):
        open_at(link, "诗")


@pytest.mark.parametrize(("key", "value"), [
    ("path", "../../邪"), ("path", "/tmp/邪"), ("path", ""), ("path", "邪\0"), ("path", 5), ("part", "1"),
    ("content", "!!"), ("content", None), ("digest", None), ("digest", "00"),
])
def test_a_file_of_the_model(link: Link, key: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    link.client.set_payload("诗__meta", {key: value}, [points(link, "诗__meta", "file")[0].id])
    with pytest.raises(CollectionDamaged, match="at memory is not what was written"):
        open_at(link, "诗")
    assert list(tmp_path.rglob("*")) == []


def test_a_model_larger_than_any_that_is_kept(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qianru.index.cluster_home.LARGEST_MODEL", 100)
    with pytest.raises(CollectionDamaged, match="larger than any"):
        open_at(link, "诗")


@pytest.mark.parametrize("change", [{"digest": "明月"}, {"path": None}, {"n_passages": None}])
def test_a_note_of_a_file(link: Link, change: dict[str, Any]) -> None:
    from qdrant_client.http import models

    note = {"kind": "source", "path": "诗.txt", "digest": "", "n_passages": 1} | change
    link.client.upsert("诗__meta", [models.PointStruct(id=7, vector={}, payload={
        key: value for key, value in note.items() if value is not None})])
    with pytest.raises(CollectionDamaged, match="note of a file"):
        open_at(link, "诗").sources()


@pytest.mark.parametrize(("change", "says"), [
    ({"fields": "[" * 100_000}, "no document of ours"), ({"fields": None}, "no document of ours"),
    ({"counts": [1]}, "lacks the counts"),
])
def test_a_document(link: Link, change: dict[str, Any], says: str) -> None:
    link.client.set_payload("诗", change, [points(link, "诗")[0].id])
    with pytest.raises(CollectionDamaged, match=says):
        open_at(link, "诗").search("明月")


def test_a_document_without_its_length_is_found_by_a_rebuild(link: Link) -> None:
    link.client.set_payload("诗", {"length": None}, [points(link, "诗")[0].id])
    with pytest.raises(CollectionDamaged, match="lacks the counts"):
        open_at(link, "诗").rebuild()


def test_a_document_that_is_deleted_while_it_is_explained_is_told(link: Link) -> None:
    here, other = open_at(link, "诗"), open_at(link, "诗")
    get = here.get

    def get_and_lose(id: str) -> Document:
        document = get(id)
        other.delete(id)
        return document

    here.get = get_and_lose  # type: ignore[method-assign]
    with pytest.raises(CollectionError, match="deleted while"):
        here.explain("明月", "静夜思")
    with pytest.raises(UnknownName, match="静夜思"):
        get("静夜思")
