"""Exact index, embedded engine and cluster answer alike, on real texts: by each kind, fused, filtered, explained."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_filters
from by_hand import vectors
from clusters import QDRANT_URL, in_memory, on_server
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

from qianru.index.base import Index, Ranking
from qianru.index.cluster import ClusterIndex
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.collection import Collection
from qianru.index.engine import EngineIndex
from qianru.index.exact import ExactIndex
from qianru.index.filter import Filter, field
from qianru.index.push import place_on, push
from qianru.index.push_ends import end_of
from qianru.models import load
from qianru.models.bm25 import BM25
from qianru.models.vector_files import read_npz
from qianru.models.word_vector_model import WordVectorModel
from qianru.runtime.options import Runtime
from qianru.text.analyze import SEARCH
from qianru.types import Document, Embeddings, Hit

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))      # checkpoints.py
from checkpoints import build

QUERIES = ["居住权可以转让吗", "孙悟空的金箍棒", "合同无效的情形", "观音菩萨", "未成年人的监护人"]
WHERES = [None, 'book = "民法典"', 'line > 20 and book ^= "西"', 'not (line <= 50 or book = "西游记")', 'book > "民"']
PLACES = [pytest.param("memory"), *([pytest.param("server", marks=pytest.mark.cluster)] if QDRANT_URL else [])]


@pytest.fixture(scope="module")
def passages(data: Path) -> list[Document]:
    """100 lines of the journey to the west, and 100 of the Civil Code."""
    texts = {"西游记": (data / "articles" / "西游记.txt").read_text(encoding="utf-8").splitlines(),
             "民法典": [line for file in sorted((data / "articles" / "民法典").rglob("*.md"))
                     for line in file.read_text(encoding="utf-8").splitlines()]}
    return [Document(f"{book}#{i}", line.strip(), {"book": book, "line": i})
            for book, lines in texts.items() for i, line in enumerate([x for x in lines if len(x) > 15][:100])]


@pytest.fixture(scope="module")
def hybrid(data: Path) -> list[Any]:
    return [BM25(SEARCH, query_stop_lists=("zh", "en")),
            WordVectorModel(read_npz(data / "vectors" / "tencent_char_4762x200.npz"))]


def same(one: Ranking, other: Ranking) -> None:
    """The same scores, and the same ids but where scores are equal but for rounding."""
    assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-6)
    for i in np.flatnonzero(one.ids != other.ids):
        near = np.abs(one.scores - one.scores[i]) <= 2e-6 + 2e-5 * abs(one.scores[i])
        assert near.sum() > 1 or i == len(one.ids) - 1


def three(tmp_path: Path, place: str, dim: int) -> list[Index]:
    link = in_memory() if place == "memory" else on_server()
    return [ExactIndex(["dense", "sparse"], dim), EngineIndex.create(tmp_path / "engine", ["dense", "sparse"], dim),
            ClusterIndex.create(link, f"congruence-{tmp_path.name}", ["dense", "sparse"], dim)]


@pytest.mark.parametrize("place", PLACES)
def test_three_indexes_answer_alike(place: str, passages: list[Document], hybrid: list[Any], tmp_path: Path) -> None:
    bm25, words = hybrid
    texts = [passage.text for passage in passages]
    bm25.fit(texts)
    indexes = three(tmp_path, place, 200)
    ids = np.random.default_rng(7).permutation(len(texts))
    for index in indexes:
        embeddings = Embeddings("m", np.zeros(len(texts), np.int64), dense=words.encode(texts).dense,
                                sparse=bm25.encode(texts).sparse)
        index.add(ids, embeddings, [passage.fields for passage in passages])
        index.delete(ids[::17])
    asked = Embeddings("m", np.zeros(len(QUERIES), np.int64), dense=words.encode(QUERIES, role="query").dense,
                       sparse=bm25.encode(QUERIES, role="query").sparse)
    for where in WHERES:
        for kind in ("dense", "sparse"):
            for k in (3, 300):
                condition = None if where is None else Filter.parse(where)
                exact, *others = [index.search(asked, kind, k, condition) for index in indexes]
                for other in others:
                    for one, two in zip(exact, other, strict=True):
                        same(one, two)
    for index in indexes:
        index.close()


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Index]]:
    indexes = three(tmp_path_factory.mktemp("filters"), "memory", 2)
    yield indexes
    for index in indexes:
        index.close()


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(random_filters.fields, min_size=1, max_size=8),
       filters=st.lists(random_filters.filters, min_size=1, max_size=5))
def test_filters_let_through_the_same_everywhere(filtered: list[Index], rows: Any, filters: list[Filter]) -> None:
    for index in filtered:
        index.delete(np.arange(8))
        index.add(np.arange(len(rows)), vectors([[1, i % 3] for i in range(len(rows))], [{5: 1.0}] * len(rows)), rows)
    for where in [*filters, ~filters[0], filters[0] | (field("year") > 2020)]:
        for kind, query in (("dense", vectors([[1.0, 1.0]])), ("sparse", vectors(sparse=[{5: 2.0}]))):
            answers = [index.search(query, kind, 5, where)[0] for index in filtered]
            assert [a.ids.tolist() for a in answers] == [answers[0].ids.tolist()] * 3, where


def told(hits: list[Hit]) -> list[tuple[str, str, Any]]:
    return [(hit.id, hit.text, dict(hit.fields)) for hit in hits]


def pushed(folder: Collection, place: str) -> ClusterCollection:
    link = in_memory() if place == "memory" else on_server()
    cluster = place_on(link, f"congruence-{folder.path.parent.name}", folder)
    push(folder, cluster)
    return cluster


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", [
    {}, {"plan": "weighted"}, {"kinds": ["dense"]}, {"kinds": ["sparse"]}, {"plan": {"mmr": 0.5, "depth": 20}},
    {"plan": {"group_by": "book", "per_group": 2}}, {"plan": {"complete": True, "fusion": "weighted"}},
], ids=str)
def test_a_collection_answers_alike_in_a_folder_and_on_a_server(
    place: str, how: dict[str, Any], both: dict[str, tuple[Collection, ClusterCollection]]
) -> None:
    folder, cluster = both[place]
    for where in WHERES[1:3]:
        here, there = (collection.search_many(QUERIES[:3], k=8, where=where, **how) for collection in (folder, cluster))
        for one, other in zip(here, there, strict=True):
            assert_allclose([hit.score for hit in one], [hit.score for hit in other], rtol=1e-5)
            assert told(one) == told(other)


@pytest.fixture(scope="module")
def both(
    passages: list[Document], hybrid: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Collection, ClusterCollection]]]:
    """Place -> the same documents in a folder and there."""
    with Collection.create(tmp_path_factory.mktemp("both") / "folder", hybrid) as folder:
        folder.add(passages)
        clusters = {place: pushed(folder, place) for place in ("memory", *(("server",) if QDRANT_URL else ()))}
        yield {place: (folder, cluster) for place, cluster in clusters.items()}
        for cluster in clusters.values():
            cluster.close()


def test_token_vectors_score_alike_and_explain_alike(data: Path, passages: list[Document], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="transformer models need torch")
    torch.set_num_threads(1)
    model = load(build("bge-m3", tmp_path / "bge-m3", data), Runtime(precision="float32"))
    with Collection.create(tmp_path / "folder", model) as folder:
        folder.add([Document(p.id, p.text[:60], p.fields) for p in passages[::10]])
        with pushed(folder, "memory") as cluster:
            for how in ({"plan": "bge-m3"}, {"kinds": ["multi"]}, {"plan": {"rescore": "maxsim", "depth": 5}}):
                for query in QUERIES[:3]:
                    here, there = (collection.search(query, k=5, **how) for collection in (folder, cluster))
                    assert_allclose([hit.score for hit in here], [hit.score for hit in there], rtol=2e-5, atol=1e-6)
                    assert told(here) == told(there)
            here, there = (c.explain(QUERIES[0], passages[10].id) for c in (folder, cluster))
            assert_allclose(here.alignment.similarities, there.alignment.similarities, rtol=1e-5, atol=1e-6)
            for kind in ("dense", "sparse", "multi"):
                assert_allclose(here.scores[kind], there.scores[kind], rtol=1e-5, atol=1e-6)
            for collection in (folder, cluster):
                whole, bare = (next(end_of(collection).each(multi=multi)).vectors for multi in (True, False))
                assert whole.multi is not None
                assert bare.multi is None
                assert_allclose(bare.dense, whole.dense)
