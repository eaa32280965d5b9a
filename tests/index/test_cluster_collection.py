"""A collection on a server answers as one in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import in_memory
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.testing import assert_allclose
from poems import POEMS, bm25_by_hand

from qianru.errors import UnknownName
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_opening import create_at, open_at
from qianru.index.cluster_points import ClusterOptions
from qianru.index.collection import Collection
from qianru.types import Document, Hit

TEXTS = st.text("春夏秋冬山水 ab", max_size=30)
ALWAYS = ClusterOptions(fresh_s=0.0)


@pytest.fixture
def poems() -> Iterator[ClusterCollection]:
    with create_at(in_memory(), "poems") as collection:
        collection.add(POEMS)
        yield collection


def told(hits: list[Hit]) -> list[tuple[str, str, Any, float, Any]]:
    return [(hit.id, hit.text, hit.fields, round(hit.score, 5), hit.ranks) for hit in hits]


def test_it_answers_what_a_folder_answers(poems: ClusterCollection, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "poems") as folder:
        folder.add(POEMS)
        for query in ("黄河", "月光", "春天的鸟", "没有"):
            for where in (None, "poet = \"李白\"", "lines < 4 or not poet ^= \"李\""):
                assert told(poems.search(query, where=where)) == told(folder.search(query, where=where))
                assert poems.count(where) == folder.count(where)
                assert poems.documents(where) == folder.documents(where)
        assert poems.documents(limit=2, offset=1) == folder.documents(limit=2, offset=1)
        assert poems.fields() == folder.fields() == ["lines", "poet"]
        assert poems.get("春晓") == folder.get("春晓")
        here, there = poems.explain("黄河之水", "将进酒"), folder.explain("黄河之水", "将进酒")
        assert (here.terms, here.scores, here.snippet) == (there.terms, there.scores, there.snippet)


def test_adding_again_replaces_and_what_is_unchanged_costs_nothing(poems: ClusterCollection) -> None:
    report = poems.add([POEMS[0], Document("春晓", "春眠不觉晓。"), "红豆生南国"])
    assert (report.added, report.updated, report.unchanged) == (1, 1, 1)
    assert poems.count() == 5
    assert [hit.id for hit in poems.search("春眠")] == ["春晓"]
    assert poems.search("啼鸟") == []
    assert [document.id for document in poems.documents()][:2] == ["静夜思", "春晓"]      # it keeps its place


def test_what_is_deleted_is_gone_and_counts_no_more(poems: ClusterCollection) -> None:
    assert poems.delete(["登鹳雀楼", "nobody"]) == 1
    with pytest.raises(UnknownName, match="登鹳雀楼"):
        poems.get("登鹳雀楼")
    left = {document.id: document.text for document in POEMS if document.id != "登鹳雀楼"}
    assert_allclose([hit.score for hit in poems.search("黄河 明月")],
                    sorted(bm25_by_hand(left, "黄河 明月").values(), reverse=True), rtol=1e-6)


def test_two_clients_need_not_know_of_each_other() -> None:
    """Each adds its half, in turns, one replaces what the other wrote; scores are those of all that is there."""
    link, texts = in_memory(), {}
    one = create_at(link, "shared", options=ALWAYS)
    two = open_at(link, "shared", options=ALWAYS)
    for i in range(40):
        client = (one, two)[i % 2]
        id, text = f"文{i % 31}", "黄河入海流" + "山水" * (i * i % 23) + "明月" * (i % 2)
        client.add([Document(id, text)])
        texts[id] = text
    two.delete("文3")
    del texts["文3"]
    expected = bm25_by_hand(texts, "黄河 明月")
    for client in (one, two):
        hits = client.search("黄河 明月", k=50)
        assert {hit.id for hit in hits} == set(expected)
        assert_allclose([hit.score for hit in hits], [expected[hit.id] for hit in hits], rtol=1e-6)
        assert_allclose([hit.score for hit in hits], sorted(expected.values(), reverse=True), rtol=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(
    st.tuples(st.just("add"), st.dictionaries(st.sampled_from("甲乙丙丁戊"), TEXTS, max_size=4)),
    st.tuples(st.just("delete"), st.lists(st.sampled_from("甲乙丙丁戊"), max_size=3)),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("search"), st.sampled_from(["春", "山水 秋冬", "a b 夏"])),
), max_size=10))
def test_any_history_answers_like_a_fresh_fit(changes: list[tuple[str, Any]]) -> None:
    texts: dict[str, str] = {}
    with create_at(in_memory(), "history") as collection:
        for what, value in [*changes, ("search", "春 水 a")]:
            if what == "add":
                collection.add([Document(id, text) for id, text in value.items()])
                texts |= value
            elif what == "delete":
                collection.delete(value)
                texts = {id: text for id, text in texts.items() if id not in value}
            elif what == "settle":
                collection.prepare()
            else:
                expected = bm25_by_hand(texts, value) if texts else {}
                hits = collection.search(value)
                assert_allclose([hit.score for hit in hits], sorted(expected.values(), reverse=True), rtol=1e-5)
                assert_allclose([hit.score for hit in hits], [expected[hit.id] for hit in hits], rtol=1e-5)
            assert collection.count() == len(texts)
