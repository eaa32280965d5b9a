"""A push copies everything, goes on where it was killed, and believes nothing that it has not read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clusters import in_memory
from poems import POEMS

from qianru.errors import CollectionDamaged, ModelMismatch
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_link import Link
from qianru.index.cluster_opening import create_at
from qianru.index.collection import Collection
from qianru.index.plan import Plan
from qianru.index.push import Pushed, place_for, place_on, push
from qianru.index.push_ends import ClusterEnd
from qianru.models.bm25 import BM25
from qianru.text.analyze import SEARCH
from qianru.types import Document

QUERIES = ["黄河入海", "明月", "春风", "千里"]


def answers(collection: Collection) -> list[list[tuple[Any, ...]]]:
    return [[(hit.id, hit.text, hit.fields, round(hit.score, 5)) for hit in hits]
            for hits in collection.search_many(QUERIES, k=9)]


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    with Collection.create(tmp_path / "poems") as collection:
        collection.add(POEMS)
        collection.add([Document(f"水{i}", "黄河 " * (i % 5) + "明月 春风" * (i % 3), {"n": i}) for i in range(550)])
        collection.delete("水9")
        collection.set_plan(Plan(candidates=50))
        yield collection


def test_there_and_back_nothing_is_different(folder: Collection, tmp_path: Path) -> None:
    link = in_memory()
    cluster = place_on(link, "poems", folder)
    assert push(folder, cluster) == Pushed(copied=553, verified=553)
    assert answers(cluster) == answers(folder)
    assert cluster.plan == folder.plan
    with place_for(cluster, str(tmp_path / "back")) as back:
        assert push(cluster, back) == Pushed(copied=553, verified=553)
        assert answers(back) == answers(folder)
        assert back.documents(limit=1000) == folder.documents(limit=1000)
        assert back.rebuild() == 553


def test_pushing_again_copies_what_has_changed(folder: Collection) -> None:
    cluster = place_on(in_memory(), "poems", folder)
    push(folder, cluster)
    folder.add([Document("春晓", "春眠不觉晓。"), Document("新", "新的")])
    assert push(folder, cluster) == Pushed(copied=2, unchanged=552, verified=554)
    assert cluster.get("春晓").text == "春眠不觉晓。"


def test_documents_that_only_the_target_has_stay_and_are_told(folder: Collection) -> None:
    cluster = place_on(in_memory(), "poems", folder)
    cluster.add([Document("那边", "黄河")])
    assert push(folder, cluster) == Pushed(copied=553, verified=553, others=1)
    assert cluster.get("那边").text == "黄河"


def test_a_push_that_was_killed_goes_on(folder: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = place_on(in_memory(), "poems", folder)
    take, taken = ClusterEnd.take, []

    def killed(self: ClusterEnd, cargo: Any) -> None:
        if taken:
            raise KeyboardInterrupt
        taken.append(cargo)
        take(self, cargo)

    monkeypatch.setattr(ClusterEnd, "take", killed)
    with pytest.raises(KeyboardInterrupt):
        push(folder, cluster)
    monkeypatch.setattr(ClusterEnd, "take", take)
    assert push(folder, cluster) == Pushed(copied=53, unchanged=500, verified=553)
    assert answers(cluster) == answers(folder)


def test_what_arrived_wrong_is_sent_again(folder: Collection) -> None:
    link = in_memory()
    cluster = place_on(link, "poems", folder)
    push(folder, cluster)
    damage(link, cluster, "水7", {"counts": [9, 9, 9]})
    damage(link, cluster, "水8", {"text": "别的"})          # with the digest of what it was
    assert push(folder, cluster) == Pushed(unchanged=553, verified=553)
    assert cluster.rebuild() == 553
    assert answers(cluster) == answers(folder)


def test_what_stays_wrong_is_an_error_that_names_a_document(folder: Collection, monkeypatch: Any) -> None:
    link = in_memory()
    cluster = place_on(link, "poems", folder)
    push(folder, cluster)
    damage(link, cluster, "水8", {"text": "别的"})
    monkeypatch.setattr(ClusterEnd, "take", lambda self, cargo: None)
    with pytest.raises(CollectionDamaged, match="1 documents are not what was sent, such as '水8'"):
        push(folder, cluster)


def test_another_model_is_refused(folder: Collection) -> None:
    cluster = create_at(in_memory(), "other", BM25(SEARCH, k1=0.9))
    with pytest.raises(ModelMismatch, match="another fingerprint"):
        push(folder, cluster)


def test_the_source_keeps_its_own_statistics(folder: Collection) -> None:
    """BM25 counts in one collection at a time; the target has a model of its own."""
    before = answers(folder)
    cluster = place_on(in_memory(), "poems", folder)
    push(folder, cluster)
    cluster.delete([document.id for document in POEMS])
    assert answers(folder) == before


def damage(link: Link, cluster: ClusterCollection, id: str, payload: dict[str, Any]) -> None:
    from qianru.index.cluster_shelf import point_of

    link.client.set_payload("poems", payload, [point_of(id)])
