"""A collection keeps what it was given, finds it, and says clearly what it cannot do."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.testing import assert_allclose

from qianru.errors import (
    BadInput,
    CollectionBusy,
    CollectionDamaged,
    CollectionError,
    ModelMismatch,
    StorageFailed,
    UnknownName,
)
from qianru.index.collection import Collection
from qianru.index.engine import EngineIndex
from qianru.index.writer import Report
from qianru.models.base import ModelSpec
from qianru.models.bm25 import BM25, Variant
from qianru.models.joined import JoinedModel
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import SEARCH
from qianru.types import Document, Embeddings

POEMS = [
    Document("静夜思", "床前明月光，疑是地上霜。举头望明月，低头思故乡。", {"poet": "李白", "lines": 4}),
    Document("春晓", "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。", {"poet": "孟浩然", "lines": 4}),
    Document("登鹳雀楼", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", {"poet": "王之涣", "lines": 4}),
    Document("将进酒", "君不见黄河之水天上来，奔流到海不复回。", {"poet": "李白", "lines": 2}),
]


@pytest.fixture
def poems(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "poems", "bm25") as collection:
        collection.add(POEMS)
        yield collection


def bm25_by_hand(texts: dict[str, str], query: str, model: BM25 | None = None) -> dict[str, float]:
    """BM25 (Lucene's if no model is given) over the texts by a model that has just been fitted."""
    model = (model or BM25(SEARCH, query_stop_lists=("zh", "en"))).fit(texts.values())
    documents = model.encode(texts.values()).sparse
    asked = model.encode([query], role="query").sparse
    assert documents is not None
    assert asked is not None
    width = max(documents.width, asked.width)
    q = np.zeros(width)
    terms, weights = asked.row(0)
    q[terms] = weights
    return {id: float(w @ q[t]) for id, (t, w) in zip(texts, documents, strict=True) if float(w @ q[t]) > 0}


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


TEXTS = st.text("春夏秋冬山水风花雪月 ab", max_size=12)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.dictionaries(st.sampled_from("甲乙丙丁戊己"), TEXTS, max_size=4)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from("甲乙丙丁戊己"), max_size=3)),
        st.tuples(st.just("search"), st.sampled_from(["春", "山水 风花", "a b 月"])),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_any_history_answers_like_a_fresh_fit(tmp_path: Path, changes: list[tuple[str, object]]) -> None:
    path = tmp_path / "history"
    shutil.rmtree(path, ignore_errors=True)
    collection = Collection.create(path)
    texts: dict[str, str] = {}
    try:
        for what, value in [*changes, ("search", "春 水 a")]:
            if what == "add":
                assert isinstance(value, dict)
                collection.add([Document(id, text) for id, text in value.items()])
                texts |= value
            elif what == "delete":
                assert isinstance(value, list)
                collection.delete(value)
                texts = {id: text for id, text in texts.items() if id not in value}
            elif what == "reopen":
                collection.close()
                collection = Collection.open(path)
            else:
                assert isinstance(value, str)
                expected = bm25_by_hand(texts, value) if texts else {}
                hits = collection.search(value)
                assert_allclose([hit.score for hit in hits], sorted(expected.values(), reverse=True), rtol=1e-5)
                for hit in hits:
                    assert_allclose(hit.score, expected[hit.id], rtol=1e-5)
            assert collection.count() == len(texts)
    finally:
        collection.close()


def test_scores_stay_exact_while_the_mean_length_drifts(tmp_path: Path) -> None:
    """The engine keeps weights for an older mean length; what a search says is nevertheless that of now."""
    texts = {f"文{i}": "黄河入海流" + "山" * (i % 7) + " 水" * (i % 5) for i in range(300)}
    with Collection.create(tmp_path / "c") as collection:
        collection.add([Document(id, text) for id, text in texts.items()])
        collection.search("黄河")
        for i in range(12):       # each moves the mean by less than the drift that has everything weighed anew
            texts[f"长{i}"] = "黄河 " + "天 地 人 " * 9
            collection.add([Document(f"长{i}", texts[f"长{i}"])])
            expected = sorted(bm25_by_hand(texts, "黄河 山").items(), key=lambda item: -item[1])
            hits = collection.search("黄河 山", k=20)
            assert_allclose([hit.score for hit in hits], [score for _, score in expected[:20]], rtol=1e-6)


@pytest.mark.parametrize(
    ("variant", "k1", "b"),
    [("lucene", 1.5, 1.0), ("lucene", 1.5, 0.0), ("lucene", 0.0, 0.75), ("robertson", 1.2, 0.75), ("bm25+", 1.5, 0.75)],
)
def test_every_variant_stays_exact_while_the_mean_length_falls_and_rises(
    tmp_path: Path, variant: Variant, k1: float, b: float
) -> None:
    model = BM25(SEARCH, variant=variant, k1=k1, b=b)
    words = ["黄河", "山", "水", "天", "地", "人", "明月"]
    random = np.random.default_rng(3)
    texts = {f"文{i}": " ".join(random.choice(words, random.integers(1, 12))) for i in range(200)}
    with Collection.create(tmp_path / "c", model) as collection:
        collection.add([Document(id, text, {"even": int(id[1:]) % 2 == 0}) for id, text in texts.items()])
        with Collection.open(collection.path, read_only=True) as reader:
            for step in range(6):
                if step % 2:
                    texts[f"长{step}"] = "黄河 " * 4 + "天 地 " * 10
                    collection.add([Document(f"长{step}", texts[f"长{step}"], {"even": False})])
                else:
                    gone = [id for id in texts if len(texts[id]) > 30][:3]
                    collection.delete(gone)
                    texts = {id: text for id, text in texts.items() if id not in gone}
                expected = bm25_by_hand(texts, "黄河 山 明月", BM25(SEARCH, variant=variant, k1=k1, b=b))
                even = {id: score for id, score in expected.items() if id[0] == "文" and int(id[1:]) % 2 == 0}
                for searched in (collection, reader):
                    for where, wanted in ((None, expected), ("even = true", even)):
                        hits = searched.search("黄河 山 明月", k=9, where=where)
                        best = sorted(wanted.values(), reverse=True)[:9]
                        assert_allclose([hit.score for hit in hits], best, rtol=1e-6)
                        assert_allclose([wanted[hit.id] for hit in hits], best, rtol=1e-6)


def test_equal_scores_come_in_the_order_of_adding(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c") as collection:
        collection.add([Document(str(i), "明月几时有") for i in range(50)])
        assert [hit.id for hit in collection.search("明月", k=7)] == [str(i) for i in range(7)]


def test_a_second_writer_is_told_who_holds_it(poems: Collection) -> None:
    with pytest.raises(CollectionBusy, match=r"open for writing in another program \(process \d+\)"):
        Collection.open(poems.path)


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


def test_more_documents_than_sqlite_takes_values_at_once(poems: Collection) -> None:
    n = 2_500
    poems.add([Document(f"浪{i}", "大江东去浪淘尽") for i in range(n)])
    poems._storage.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 2_000)
    assert len(poems.search("大江", k=n)) == n
    poems.add(["大江"])                                 # the mean moves, so candidates are scored again
    assert len(poems.search("大江", k=n + 1)) == n + 1
    assert poems.delete([f"浪{i}" for i in range(n)]) == n


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


def test_the_process_may_go_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "别处").mkdir()
    monkeypatch.chdir(tmp_path)
    with Collection.create("诗") as poems:
        poems.add(POEMS)
        monkeypatch.chdir(tmp_path / "别处")
        assert poems.search("黄河")
    assert not (tmp_path / "诗" / "writer").exists()
    assert list((tmp_path / "别处").iterdir()) == []


class ThreeKinds(WordVectorModel):
    """A model that also makes what a collection does not store."""

    @property
    def spec(self) -> ModelSpec:
        return replace(super().spec, kinds=("dense", "multi"))

    def encode(self, texts: Iterable[str], **how: Any) -> Embeddings:
        assert how.get("kinds") == ("dense",)
        return super().encode(texts, **how)


def test_kinds_that_are_not_stored_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ThreeKinds(WordVectors(["黄河", "江"], np.array([[1, 0], [0.8, 0.6]], np.float32)))
    monkeypatch.setattr("qianru.index.collection.load", lambda _: model)
    with Collection.create(tmp_path / "c", model) as collection:
        collection.add(["黄河"])
        assert_allclose(collection.search("江")[0].score, 0.8, rtol=1e-6)
        with pytest.raises(BadInput, match="not multi"):
            collection.search("江", kinds=["multi"])


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


@pytest.fixture
def hybrid(tmp_path: Path) -> Iterator[Collection]:
    """BM25 beside word vectors in which 江 lies where 黄河 does."""
    words = ["黄河", "江", "明月", "花"]
    vectors = WordVectors(words, np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 2]], np.float32))
    with Collection.create(tmp_path / "hybrid", JoinedModel([BM25(SEARCH), WordVectorModel(vectors)])) as collection:
        texts = {"河": "黄河", "月": "明月明月", "两": "黄河 明月", "无": "空"}
        collection.add([Document(id, text) for id, text in texts.items()])
        yield collection


def test_dense_vectors_find_what_shares_no_word(hybrid: Collection) -> None:
    assert hybrid.search("江", kinds=["sparse"]) == []
    hits = hybrid.search("江")
    assert hits[0].id == "河"
    assert_allclose(hits[0].scores["dense"], 0.9 / np.sqrt(0.82), rtol=1e-6)     # the cosine
    assert hits[0].ranks == {"dense": 1}


def test_fusion_is_by_rank_or_by_score(hybrid: Collection) -> None:
    by_rank = {hit.id: hit for hit in hybrid.search("黄河")}
    assert_allclose(by_rank["河"].score, 2 / 61)                # first in both
    assert by_rank["两"].ranks == {"sparse": 2, "dense": 2}
    by_score = hybrid.search("黄河", fusion="weighted", weights={"dense": 3.0})
    assert_allclose(by_score[0].score, 4.0)                     # 1 + 3 x 1
    assert hybrid.search("黄河", kinds=["dense"])[0].score == pytest.approx(1.0)
    with pytest.raises(UnknownName, match="kind of vector 'dense'"):
        hybrid.search("黄河", kinds=["sparse"], weights={"dense": 1.0})


def test_a_query_of_unknown_words_finds_nothing_by_dense_vectors(hybrid: Collection) -> None:
    assert hybrid.search("完全陌生") == []


def test_a_hybrid_is_there_after_reopening_and_rebuilding(hybrid: Collection) -> None:
    before = hybrid.search("黄河 花")
    hybrid.close()
    with Collection.open(hybrid.path) as again:
        assert again.search("黄河 花") == before
        again.rebuild()
        assert again.search("黄河 花") == before
        assert set(again.explain("黄河", "两").scores) == {"sparse", "dense"}
    with Collection.open(hybrid.path, read_only=True) as reader:
        assert [hit.id for hit in reader.search("黄河 花")] == [hit.id for hit in before]


def test_info_says_what_it_is(poems: Collection) -> None:
    info = poems.info()
    assert info["n_documents"] == 4
    assert info["kinds"] == ["sparse"]
    json.dumps(info)
