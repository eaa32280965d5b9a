"""LlamaIndex: vectors alike by every way that it asks for them, nodes that come back whole, its filters."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("llama_index.core", reason="needs llama-index-core: CONTRIBUTING.md says how to run these")

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from qianru.compat.llama_index import QianruEmbedding, QianruRetriever, add_nodes, as_filter
from qianru.errors import BadInput
from qianru.index.collection import Collection
from qianru.models.bm25 import BM25
from qianru.models.static import StaticModel

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]
TEXTS = ["床前明月光", "春眠不觉晓", "明月几时有"]


@pytest.fixture
def embedding(model: StaticModel) -> QianruEmbedding:
    return QianruEmbedding(model)


def test_every_way_to_ask_gives_the_same_vectors(embedding: QianruEmbedding, model: StaticModel) -> None:
    expected = model.encode(TEXTS).dense
    assert_allclose(embedding.get_text_embedding_batch(TEXTS), expected, atol=1e-6)
    assert_allclose(asyncio.run(embedding.aget_text_embedding_batch(TEXTS)), expected, atol=1e-6)
    assert_allclose([embedding.get_text_embedding(text) for text in TEXTS], expected, atol=1e-6)
    assert_allclose([asyncio.run(embedding.aget_text_embedding(text)) for text in TEXTS], expected, atol=1e-6)
    assert_allclose([embedding.get_query_embedding(text) for text in TEXTS], expected, atol=1e-6)
    assert_allclose([asyncio.run(embedding.aget_query_embedding(text)) for text in TEXTS], expected, atol=1e-6)
    assert_allclose(embedding.get_agg_embedding_from_queries(TEXTS), expected.mean(0), atol=1e-6)


def test_nodes_pass_through_it_as_through_any_other_step(embedding: QianruEmbedding) -> None:
    nodes = embedding([TextNode(text=text) for text in TEXTS])
    assert_allclose(nodes[1].embedding, embedding.get_text_embedding(TEXTS[1]), atol=1e-6)
    assert embedding.similarity(nodes[0].embedding, nodes[0].embedding) == pytest.approx(1)


def test_classes_are_llama_indexs_own() -> None:
    """What the tests of LlamaIndex's integrations ask of each; it ships no suite for others."""
    assert BaseEmbedding.__name__ in [base.__name__ for base in QianruEmbedding.__mro__]
    assert BaseRetriever.__name__ in [base.__name__ for base in QianruRetriever.__mro__]


def test_it_answers_to_all_that_llama_indexs_own_does(embedding: QianruEmbedding) -> None:
    assert {name for name in dir(MockEmbedding(embed_dim=1)) if not name.startswith("_")} - {"embed_dim"} <= set(
        dir(embedding))
    assert embedding.to_dict()["class_name"] == "QianruEmbedding"


def test_an_index_of_llama_index_searches_by_it(embedding: QianruEmbedding) -> None:
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=embedding)
    found = index.as_retriever(similarity_top_k=1).retrieve(TEXTS[2])
    assert found[0].text == TEXTS[2]
    assert found[0].score == pytest.approx(1, abs=1e-5)


def test_a_model_without_dense_vectors_is_refused() -> None:
    with pytest.raises(BadInput, match="LlamaIndex takes dense ones"):
        QianruEmbedding(BM25())


def names(found: list[NodeWithScore]) -> set[str]:
    return {node.node.node_id for node in found}


def test_a_retriever_tells_documents_and_scores(poems: Collection) -> None:
    retriever = QianruRetriever(poems, top_k=2)
    found = retriever.retrieve("床前明月光，疑是地上霜。")
    assert found[0].node.node_id == "静夜思"
    assert found[0].node.metadata == {"author": "李白", "lines": 4, "tags": ["月", "乡"]}
    assert found[0].score > found[1].score
    again = asyncio.run(retriever.aretrieve("床前明月光，疑是地上霜。"))
    assert [node.score for node in again] == [node.score for node in found]


def test_a_node_comes_back_whole(empty: Collection) -> None:
    node = TextNode(id_="n1", text="床前明月光", metadata={"page": 3, "of": {"book": "唐诗"}},
                    excluded_embed_metadata_keys=["page"],
                    relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="唐诗.txt")})
    assert add_nodes(empty, [node]).added == 1
    assert add_nodes(empty, [node]).unchanged == 1
    assert empty.get("n1").fields["page"] == 3
    where = MetadataFilters(filters=[MetadataFilter(key="page", value=3)])
    (found,) = QianruRetriever(empty, filters=where).retrieve("月")
    assert found.node == node
    assert found.node.ref_doc_id == "唐诗.txt"


FILTERS: list[tuple[list[tuple[str, str, Any]], str, set[str]]] = [
    ([("author", "==", "李白")], "and", {"静夜思"}),
    ([("author", "!=", "李白"), ("lines", "<", 10)], "and", {"春晓"}),
    ([("author", "==", "李白"), ("lines", ">", 4)], "or", {"静夜思", "水调歌头"}),
    ([("author", "in", ["李白", "苏轼"])], "and", {"静夜思", "水调歌头"}),
    ([("author", "nin", ["李白", "苏轼"])], "and", {"春晓"}),
    ([("tags", "contains", "月")], "and", {"静夜思", "水调歌头"}),
    ([("tags", "any", ["春", "酒"])], "and", {"春晓", "水调歌头"}),
    ([("tags", "all", ["月", "酒"])], "and", {"水调歌头"}),
    ([("author", "==", "李白"), ("author", "==", "苏轼")], "not", {"春晓"}),
]


@pytest.mark.parametrize(("conditions", "how", "expected"), FILTERS)
def test_a_filter_of_llama_index_passes_what_it_says(
    poems: Collection, conditions: list[tuple[str, str, Any]], how: str, expected: set[str]
) -> None:
    given = MetadataFilters(condition=how, filters=[MetadataFilter(key=key, operator=sign, value=value)
                                                    for key, sign, value in conditions])
    assert names(QianruRetriever(poems, filters=given).retrieve("明月")) == expected


def test_filters_stand_within_filters(poems: Collection) -> None:
    inner = MetadataFilters(condition="or", filters=[MetadataFilter(key="author", value="李白"),
                                                     MetadataFilter(key="author", value="苏轼")])
    outer = MetadataFilters(filters=[inner, MetadataFilter(key="lines", operator=">", value=4)])
    assert names(QianruRetriever(poems, filters=outer).retrieve("明月")) == {"水调歌头"}


def test_an_operator_that_fields_do_not_know_is_refused() -> None:
    with pytest.raises(BadInput, match="operator 'text_match'"):
        as_filter(MetadataFilters(filters=[MetadataFilter(key="a", operator="text_match", value="x")]))


def test_vectors_are_plain_numbers(embedding: QianruEmbedding) -> None:
    assert {type(number) for number in embedding.get_query_embedding("月")} == {float}
    assert np.isfinite(embedding.get_text_embedding("")).all()
