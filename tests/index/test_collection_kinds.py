"""Dense vectors beside sparse ones: each stored, searched and fused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.index.collection import Collection
from qianru.models.bm25 import BM25
from qianru.models.joined import JoinedModel
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import SEARCH
from qianru.types import Document


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


def test_a_vector_is_searched_for_as_the_query_that_it_is_of(hybrid: Collection) -> None:
    hybrid.set_plan({"fusion": "weighted", "min_score": 5, "kinds": ["sparse"]})      # which is of other scores
    found = hybrid.search_by_vector([0.9, 0.1, 0], 2)
    assert found == hybrid.search("江", 2, plan={"kinds": ["dense"]})
    assert [hit.id for hit in hybrid.search_by_vector(np.array([0, 2, 0]), plan={"min_score": 0.9})] == ["月"]
    assert hybrid.search_by_vector([0, 0, 0]) == []
    for wrong in ([0.9, np.nan, 0], [[1, 0, 0]], [], ["江"], None):
        with pytest.raises(BadInput, match="row of finite numbers"):
            hybrid.search_by_vector(wrong)
    with pytest.raises(ShapeMismatch, match="This vector has 2 dimensions; those of the collection have 3"):
        hybrid.search_by_vector([1, 0])


@pytest.mark.parametrize("length", [1e-300, 1e-30, 1e30, 1e300])
def test_how_long_a_vector_is_changes_nothing(hybrid: Collection, length: float) -> None:
    found = hybrid.search_by_vector([0.9 * length, 0.1 * length, 0], plan={"rescore": "maxsim"})
    assert [hit.id for hit in found] == [hit.id for hit in hybrid.search_by_vector([0.9, 0.1, 0])]
    assert found[0].score == pytest.approx(0.9 / 0.82**0.5)


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
