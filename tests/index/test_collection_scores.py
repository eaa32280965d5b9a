"""Scores are BM25 of what is stored now, whatever came before."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.testing import assert_allclose
from poems import bm25_by_hand

from qianru.index.collection import Collection
from qianru.models.bm25 import BM25, Variant
from qianru.text.analyze import SEARCH
from qianru.types import Document

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


def test_answers_stay_when_the_postings_come_into_memory(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="postings in memory need numba: pip install 'qianru[fast]'")
    words = "春夏秋冬山水风花雪月"
    texts = [" ".join(words[(i * j) % 10] + words[(i + j) % 10] for j in range(1 + i % 5)) for i in range(60)]
    with Collection.create(tmp_path / "c") as collection:
        collection.add([Document(str(i), text) for i, text in enumerate(texts)])
        asked = [*words, "春山 花月", "冬"]
        cold = [collection.search(query, 7) for query in asked]
        for _ in range(6):
            collection.search_many(asked)
        assert [collection.search(query, 7) for query in asked] == cold
        collection.delete(["3", "4"])
        collection.add([Document("5", "春山 花月"), Document("60", "夏"), Document("61", "春山春山春山")])
        warm = [[(hit.id, hit.score) for hit in collection.search(query, 7)] for query in asked]
    with Collection.open(tmp_path / "c") as collection:
        again = [[(hit.id, hit.score) for hit in collection.search(query, 7)] for query in asked]
    assert [[id for id, _ in hits] for hits in warm] == [[id for id, _ in hits] for hits in again]
    assert_allclose([score for hits in warm for _, score in hits], [score for hits in again for _, score in hits], 1e-5)
