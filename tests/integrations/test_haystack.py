"""Haystack: components that keep its protocols, pipelines that survive YAML, its filters as its own code reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from letters import POEMS
from numpy.testing import assert_allclose

pytest.importorskip("haystack", reason="needs haystack-ai: CONTRIBUTING.md says how to run these")

from haystack import Document as Page, Pipeline
from haystack.components.embedders import MockDocumentEmbedder, MockTextEmbedder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils.filters import document_matches_filter

from qianru.compat.haystack import (
    QianruDocumentEmbedder,
    QianruRetriever,
    QianruTextEmbedder,
    add_documents,
    as_filter,
)
from qianru.errors import BadInput, UnknownName
from qianru.index.collection import Collection
from qianru.models.bm25 import BM25
from qianru.models.static import StaticModel

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]
PAGES = [Page(id=poem.id, content=poem.text, meta=dict(poem.fields)) for poem in POEMS]


@pytest.fixture
def folder(model: StaticModel, tmp_path: Path) -> str:
    """A folder that holds the model."""
    model.save(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def retriever(model: StaticModel, tmp_path: Path) -> Iterator[QianruRetriever]:
    with Collection.create(tmp_path / "poems", model) as collection:
        add_documents(collection, PAGES)
    made = QianruRetriever(str(tmp_path / "poems"), top_k=2)
    yield made
    made.close()


def test_documents_and_queries_get_the_models_vectors(folder: str, model: StaticModel) -> None:
    embedder = QianruDocumentEmbedder(folder)
    done = embedder.run(PAGES)
    assert_allclose([page.embedding for page in done["documents"]], model.encode([p.content for p in PAGES]).dense)
    assert PAGES[0].embedding is None              # the originals stay as they are
    assert done["meta"] == {"model": "static", "n_tokens": 36, "n_truncated": 0}
    assert asyncio.run(embedder.run_async(PAGES))["documents"] == done["documents"]
    text = QianruTextEmbedder(folder)
    assert_allclose(text.run("明月")["embedding"], model.encode(["明月"], role="query").dense[0])
    assert asyncio.run(text.run_async("明月")) == text.run("明月")


def test_fields_are_embedded_with_the_text(folder: str, model: StaticModel) -> None:
    embedder = QianruDocumentEmbedder(folder, ["author", "none"], " ")
    vector = embedder.run(PAGES[:1])["documents"][0].embedding
    assert_allclose(vector, model.encode(["李白 床前明月光，疑是地上霜。"]).dense[0])


@pytest.mark.parametrize(("ours", "theirs"), [(QianruTextEmbedder, MockTextEmbedder),
                                              (QianruDocumentEmbedder, MockDocumentEmbedder)])
def test_sockets_are_those_of_haystacks_own_embedders(ours: Any, theirs: Any, folder: str) -> None:
    mine, other = ours(folder), theirs()
    for sockets in ("__haystack_input__", "__haystack_output__"):
        told, expected = ({name: socket.type for name, socket in getattr(one, sockets)._sockets_dict.items()}
                          for one in (mine, other))
        assert told == expected


def test_wrong_input_is_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="for documents use QianruDocumentEmbedder"):
        QianruTextEmbedder(folder).run(PAGES)
    with pytest.raises(BadInput, match="for one text use QianruTextEmbedder"):
        QianruDocumentEmbedder(folder).run("明月")
    with pytest.raises(BadInput, match="named by a text"):
        QianruTextEmbedder(BM25())
    BM25().fit(["一"]).save(tmp_path / "bm25")
    with pytest.raises(BadInput, match="makes sparse vectors"):
        QianruTextEmbedder(str(tmp_path / "bm25")).warm_up()


def test_a_retriever_tells_documents_and_scores(retriever: QianruRetriever) -> None:
    found = retriever.run("床前明月光，疑是地上霜。")["documents"]
    assert found[0].id == "静夜思"
    assert found[0].meta == POEMS[0].fields
    assert found[0].score > found[1].score
    assert len(retriever.run("明月", top_k=3)["documents"]) == 3


def test_a_pipeline_survives_yaml(folder: str, retriever: QianruRetriever) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    writing = Pipeline()
    writing.add_component("embed", QianruDocumentEmbedder(folder))
    writing.add_component("write", DocumentWriter(store))
    writing.connect("embed.documents", "write.documents")
    writing.run({"embed": {"documents": PAGES}})
    asking = Pipeline()
    asking.add_component("embed", QianruTextEmbedder(folder))
    asking.add_component("find", InMemoryEmbeddingRetriever(store, top_k=1))
    asking.connect("embed.embedding", "find.query_embedding")
    assert asking.run({"embed": {"text": "春眠不觉晓"}})["find"]["documents"][0].id == "春晓"
    ours = Pipeline()
    ours.add_component("find", retriever)
    again = Pipeline.loads(ours.dumps(), allowed_modules=["qianru.compat.haystack"])
    assert again.dumps() == ours.dumps()
    where = {"field": "meta.lines", "operator": "<", "value": 10}
    found = again.run({"find": {"query": "春眠不觉晓", "filters": where}})
    assert found["find"]["documents"][0].id == "春晓"
    again.get_component("find").close()


@pytest.mark.parametrize("make", [
    lambda: QianruTextEmbedder("m3e-base", "找出答案"),
    lambda: QianruDocumentEmbedder("m3e-base", ["heading"], " "),
    lambda: QianruRetriever("library", 3, {"field": "meta.year", "operator": ">=", "value": 2020}, {"mmr": 0.5}),
])
def test_a_component_is_what_its_dict_says(make: Any) -> None:
    one = make()
    assert type(one).from_dict(one.to_dict()).to_dict() == one.to_dict()


FILTERS: list[dict[str, Any]] = [
    {"field": "meta.author", "operator": "==", "value": "李白"},
    {"field": "meta.author", "operator": "!=", "value": "李白"},
    {"field": "meta.lines", "operator": ">", "value": 4},
    {"field": "meta.lines", "operator": ">=", "value": 4},
    {"field": "meta.lines", "operator": "<", "value": 4.5},
    {"field": "lines", "operator": "<=", "value": 4},
    {"field": "meta.author", "operator": "in", "value": ["李白", "苏轼"]},
    {"field": "meta.author", "operator": "not in", "value": ["李白", "苏轼"]},
    {"operator": "AND", "conditions": [{"field": "meta.lines", "operator": "==", "value": 4},
                                       {"field": "meta.author", "operator": "!=", "value": "李白"}]},
    {"operator": "OR", "conditions": [{"field": "meta.lines", "operator": "==", "value": 19},
                                      {"field": "meta.author", "operator": "==", "value": "李白"}]},
    {"operator": "NOT", "conditions": [{"field": "meta.lines", "operator": "==", "value": 4},
                                       {"field": "meta.author", "operator": "==", "value": "李白"}]},
]


@pytest.mark.parametrize("given", FILTERS, ids=str)
def test_a_filter_passes_what_haystacks_own_code_passes(given: dict[str, Any]) -> None:
    where = as_filter(given)
    assert where is not None
    assert [where.matches(poem.fields) for poem in POEMS] == [document_matches_filter(given, page) for page in PAGES]


@pytest.mark.parametrize("given", [
    {"field": "meta.a", "operator": "~", "value": 1},
    {"field": "meta.a", "operator": "=="},
    {"operator": "XOR", "conditions": [{"field": "meta.a", "operator": "==", "value": 1}]},
    {"operator": "AND", "conditions": []},
    {"operator": "AND"},
])
def test_a_filter_that_is_none_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises((BadInput, UnknownName)):
        as_filter(given)
