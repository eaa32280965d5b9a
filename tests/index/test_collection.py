"""A collection keeps what it was given, finds it, and says clearly what it cannot do."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from numpy.testing import assert_allclose
from poems import POEMS, bm25_by_hand

from qianru.errors import (
    BadInput,
    CollectionError,
    UnknownName,
)
from qianru.index.collection import Collection
from qianru.index.writer import Report
from qianru.types import Document


def test_a_search_finds_the_poem(poems: Collection) -> None:
    hit = poems.search("黄河")[0]
    assert hit.id in ("登鹳雀楼", "将进酒")
    assert hit.text in {poem.text for poem in POEMS}
    assert hit.fields["lines"] in (2, 4)
    assert {hit.id for hit in poems.search("黄河")} == {"登鹳雀楼", "将进酒"}


def test_scores_are_bm25_of_what_is_stored(poems: Collection) -> None:
    expected = bm25_by_hand({poem.id: poem.text for poem in POEMS}, "黄河 明月")
    found = [hit.score for hit in poems.search("黄河 明月")]
    assert_allclose(found, sorted(expected.values(), reverse=True), rtol=1e-6)


def test_function_words_count_only_in_a_query_of_nothing_else(poems: Collection) -> None:
    assert [hit.id for hit in poems.search("不")] == [hit.id for hit in poems.search("不", k=2)]
    assert {hit.id for hit in poems.search("不")} == {"春晓", "将进酒"}
    assert poems.search("不是黄河") == poems.search("黄河")
    assert poems.search_many(["不是黄河", "不", "黄河"]) == [poems.search(query) for query in ("黄河", "不", "黄河")]


def test_several_queries_answer_as_each_alone(poems: Collection) -> None:
    queries = ["黄河", "明月", "没有这个词呀"]
    assert poems.search_many(queries) == [poems.search(query) for query in queries]


def test_a_filter_leaves_out_the_others(poems: Collection) -> None:
    assert [hit.id for hit in poems.search("黄河", where='poet = "李白"')] == ["将进酒"]
    assert poems.count('poet = "李白"') == 2
    assert [document.id for document in poems.documents('lines >= 4', limit=2, offset=1)] == ["春晓", "登鹳雀楼"]


def test_adding_again_does_no_work(poems: Collection) -> None:
    before = (poems.path / "collection.sqlite-wal").stat().st_size
    assert poems.add(POEMS) == Report(unchanged=4)
    assert (poems.path / "collection.sqlite-wal").stat().st_size == before


def test_a_document_of_the_same_id_replaces(poems: Collection) -> None:
    poems.search("花")                                   # so that the engine has seen the old one
    assert poems.add([Document("春晓", "空山不见人，但闻人语响。")]) == Report(updated=1)
    assert poems.count() == 4
    assert poems.get("春晓").text.startswith("空山")
    assert poems.search("风雨") == []
    assert poems.search("空山")[0].id == "春晓"


def test_of_equal_ids_in_one_call_the_last_counts(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c") as collection:
        assert collection.add([Document("a", "第一"), Document("a", "第二")]).added == 1
        assert collection.get("a").text == "第二"


def test_plain_texts_are_named_by_their_content(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c") as collection:
        assert collection.add(["床前明月光", "疑是地上霜", "床前明月光"]) .added == 2
        assert collection.add(["床前明月光"]).unchanged == 1
        assert collection.search("霜")[0].text == "疑是地上霜"


def test_a_deleted_document_is_gone_everywhere(poems: Collection) -> None:
    poems.search("黄河")
    assert poems.delete(["将进酒", "从来没有"]) == 1
    assert poems.count() == 3
    assert [hit.id for hit in poems.search("黄河")] == ["登鹳雀楼"]
    with pytest.raises(UnknownName, match="There is no document '将进酒'"):
        poems.get("将进酒")
    rest = {poem.id: poem.text for poem in POEMS if poem.id != "将进酒"}
    assert_allclose(poems.search("黄河")[0].score, bm25_by_hand(rest, "黄河")["登鹳雀楼"], rtol=1e-6)


def test_all_is_there_after_reopening(poems: Collection) -> None:
    before = poems.search("黄河 花")
    poems.delete("静夜思")
    poems.close()
    poems.close()
    with Collection.open(poems.path) as again:
        assert again.count() == 3
        assert [hit.id for hit in again.search("黄河 花")] == [hit.id for hit in before]
        assert again.search("床前") == []
    with pytest.raises(CollectionError, match="is closed"):
        poems.search("黄河")


def test_creating_over_something_is_refused(poems: Collection, tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="already holds a collection"):
        Collection.create(poems.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("十年心血", encoding="utf-8")
    with pytest.raises(BadInput, match="not empty"):
        Collection.create(tmp_path / "mine")
    with pytest.raises(BadInput, match="is a file"):
        Collection.create(tmp_path / "mine" / "thesis.txt")
    with pytest.raises(CollectionError, match="There is no collection"):
        Collection.open(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_wrong_arguments_are_named(poems: Collection) -> None:
    with pytest.raises(BadInput, match="at least 1"):
        poems.search("黄河", k=0)
    with pytest.raises(BadInput, match="search_many"):
        poems.search(["黄河"])  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="put the single text into a list"):
        poems.add("黄河")
    with pytest.raises(BadInput, match="not dense"):
        poems.search("黄河", kinds=["dense"])
    with pytest.raises(BadInput, match="Field 'x'"):
        poems.add([Document("a", "b", {"x": float("nan")})])
    with pytest.raises(UnknownName, match=r"fusion 'rff'.*'rrf'"):
        poems.search("黄河", fusion="rff")  # type: ignore[arg-type]
    assert poems.count() == 4


def test_more_documents_than_sqlite_takes_values_at_once(poems: Collection) -> None:
    n = 2_500
    poems.add([Document(f"浪{i}", "大江东去浪淘尽") for i in range(n)])
    poems._storage.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 2_000)
    assert len(poems.search("大江", k=n)) == n
    poems.add(["大江"])                                 # the mean moves, so candidates are scored again
    assert len(poems.search("大江", k=n + 1)) == n + 1
    assert poems.delete([f"浪{i}" for i in range(n)]) == n


def test_strange_texts_are_kept(poems: Collection) -> None:
    strange = ["", " ", "\0", "\ud800x", "😀" * 3, "a\0b", "\u202e倒"]
    poems.add([Document(f"怪{i}\ud800", text, {"注": text}) for i, text in enumerate(strange[:3])])
    poems.add(strange)
    assert poems.get("怪2\ufffd").text == "\0"
    poems.search("\ud800")
    assert poems.explain("怪", "怪2\ud800").id == "怪2\ufffd"
    assert poems.delete("怪2\ud800") == 1
    with pytest.raises(UnknownName):
        poems.get("怪2\ud800")
    assert poems.search("") == []


def test_an_explanation_adds_up(poems: Collection) -> None:
    hit = poems.search("黄河 明月")[0]
    why = poems.explain("黄河 明月", hit.id)
    assert_allclose(sum(weight for _, weight in why.terms), hit.score, rtol=1e-6)
    assert {word for word, _ in why.terms} <= {"黄河", "明月", *"黄河明月"}


def test_matching_words_are_pointed_at(poems: Collection) -> None:
    text = "白日依山尽，黄河入海流。"
    assert [text[start:end] for start, end in poems.matches("黄河在哪里", text)] == ["黄河"]
    assert [text[start:end] for start, end in poems.matches("大山的鸟", text)] == ["山"]
    assert poems.matches("明月", text) == []


def test_info_says_what_it_is(poems: Collection) -> None:
    info = poems.info()
    assert info["n_documents"] == 4
    assert info["kinds"] == ["sparse"]
    json.dumps(info)
