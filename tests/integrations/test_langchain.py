"""LangChain's standard suites, and what they do not look at: filters, metadata, scores, retrievers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from letters import letters

pytest.importorskip("langchain_tests", reason="needs langchain-tests: CONTRIBUTING.md says how to run these")

from langchain_core.documents import Document as Page
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from qianru.compat.langchain import QianruEmbeddings, QianruRetriever, QianruVectorStore, as_filter
from qianru.errors import BadInput, UnknownName
from qianru.index.collection import Collection
from qianru.models.bm25 import BM25
from qianru.models.static import StaticModel

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    embeddings_class = QianruEmbeddings
    embedding_model_params = {"model": letters()}     # noqa: RUF012


class TestEmbeddingsIntegration(EmbeddingsIntegrationTests):
    embeddings_class = QianruEmbeddings
    embedding_model_params = {"model": letters()}     # noqa: RUF012


class TestVectorStoreStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, empty: Collection) -> QianruVectorStore:
        return QianruVectorStore(empty)


class TestRetrieverStandard(RetrieversIntegrationTests):
    retriever_constructor = QianruRetriever
    retriever_query_example = "明月"

    @pytest.fixture(autouse=True)
    def _open(self, poems: Collection) -> None:
        type(self).retriever_constructor_params = {"collection": poems}


@pytest.fixture
def store(poems: Collection) -> QianruVectorStore:
    return QianruVectorStore(poems)


def ids(pages: list[Page]) -> set[str | None]:
    return {page.id for page in pages}


FILTERS: list[tuple[Any, set[str]]] = [
    ({"author": "李白"}, {"静夜思"}),
    ({"lines": {"$gte": 4, "$lt": 10}}, {"静夜思", "春晓"}),
    ({"tags": "月", "lines": {"$gt": 4}}, {"水调歌头"}),
    ({"author": {"$in": ["苏轼", "孟浩然"]}}, {"春晓", "水调歌头"}),
    ({"author": {"$nin": ["苏轼"]}}, {"静夜思", "春晓"}),
    ({"$or": [{"author": {"$eq": "李白"}}, {"lines": {"$lte": 4}}]}, {"静夜思", "春晓"}),
    ({"$and": [{"tags": "月"}, {"$not": {"author": {"$ne": "苏轼"}}}]}, {"水调歌头"}),
    ('tags = "酒"', {"水调歌头"}),
    (Comparison(Comparator.CONTAIN, "tags", "月"), {"静夜思", "水调歌头"}),
    (Comparison(Comparator.LIKE, "author", "孟%"), {"春晓"}),
    (Operation(Operator.NOT, [Comparison(Comparator.EQ, "author", "李白")]), {"春晓", "水调歌头"}),
    ({}, {"静夜思", "春晓", "水调歌头"}),
]


@pytest.mark.parametrize(("given", "expected"), FILTERS, ids=[str(given)[:60] for given, _ in FILTERS])
def test_a_filter_of_langchain_passes_what_it_says(store: QianruVectorStore, given: Any, expected: set[str]) -> None:
    assert ids(store.similarity_search("明月", k=10, filter=given)) == expected


@pytest.mark.parametrize(("given", "message"), [
    ({"lines": {"$near": 4}}, "no comparison '\\$near'"),
    ({"$xor": []}, "no way to join conditions '\\$xor'"),
    ({"$or": []}, "there are none in it"),
    ({"author": {"$in": "李白"}}, "a list of values"),
    ({"author": None}, "not with None"),
    (Comparison(Comparator.LIKE, "author", "%白"), "no other pattern"),
    (7, "not int"),
])
def test_a_filter_that_cannot_be_obeyed_is_refused(given: Any, message: str) -> None:
    with pytest.raises((BadInput, UnknownName), match=message):
        as_filter(given)


def test_metadata_comes_back_as_it_was(store: QianruVectorStore) -> None:
    metadata = {"a": None, "b": {"c": [1, {"d": "诗"}]}, "e": [1, 2], "f": [[1], [2]], "g": 2**70, "json:h": "x",
                "i": True, "j": 0.5, "k": []}
    (id,) = store.add_documents([Page(page_content="望庐山瀑布", metadata=metadata)])
    assert store.get_by_ids([id])[0].metadata == metadata


def test_metadata_that_is_no_json_is_refused_by_name(store: QianruVectorStore) -> None:
    with pytest.raises(BadInput, match="The metadata 'when' of document 'x' is neither a field nor JSON"):
        store.add_documents([Page(page_content="诗", metadata={"when": {1, 2}})], ids=["x"])


def test_the_same_document_added_twice_is_one(store: QianruVectorStore) -> None:
    page = Page(page_content="白日依山尽", metadata={"n": 1})
    other = Page(page_content="白日依山尽", metadata={"n": 2})
    first, again, third = store.add_documents([page, page, other])
    assert first == again != third
    assert store.collection.count() == 5


def test_scores_grow_with_likeness_and_relevance_lies_from_0_to_1(store: QianruVectorStore) -> None:
    (best, top), (_, next_one), *_ = store.similarity_search_with_score("床前明月光，疑是地上霜。", k=3)
    assert best.id == "静夜思"
    assert top == pytest.approx(1, abs=1e-5)
    assert next_one < top
    passed = store.as_retriever(search_type="similarity_score_threshold",
                                search_kwargs={"score_threshold": 0.99, "k": 3})
    assert [page.id for page in passed.invoke("床前明月光，疑是地上霜。")] == ["静夜思"]


def test_a_vector_finds_what_its_query_does(store: QianruVectorStore) -> None:
    asked = "床前明月光，疑是地上霜。"
    assert store.embeddings is not None
    vector = store.embeddings.embed_query(asked)
    assert store.similarity_search_with_score_by_vector(vector, k=3) == store.similarity_search_with_score(asked, k=3)
    assert [page.id for page in store.similarity_search_by_vector(vector, filter={"author": "苏轼"})] == ["水调歌头"]
    store.add_documents([Page(page_content=asked, id="twin")])
    apart = store.max_marginal_relevance_search_by_vector(vector, k=2, lambda_mult=0.2)
    assert len(ids(apart) & {"静夜思", "twin"}) == 1


def test_marginal_relevance_passes_over_a_twin(store: QianruVectorStore) -> None:
    store.add_documents([Page(page_content="床前明月光，疑是地上霜。", id="twin")])
    asked = "床前明月光，疑是地上霜。"
    assert ids(store.similarity_search(asked, k=2)) == {"静夜思", "twin"}
    assert len(ids(store.max_marginal_relevance_search(asked, k=2, lambda_mult=0.2)) & {"静夜思", "twin"}) == 1


def test_deleting_without_ids_empties_the_store(store: QianruVectorStore) -> None:
    assert store.delete()
    assert store.collection.count() == 0


def test_a_store_is_made_of_texts_in_a_folder(model: StaticModel, tmp_path: Path) -> None:
    store = QianruVectorStore.from_texts(["foo", "bar"], QianruEmbeddings(model), [{"n": 1}, {"n": 2}],
                                         path=tmp_path / "new", ids=["a", "b"])
    with store.collection:
        assert store.similarity_search("bar", k=1)[0].metadata == {"n": 2}
    with pytest.raises(BadInput, match="path="):
        QianruVectorStore.from_texts(["foo"], QianruEmbeddings(model))
    with pytest.raises(BadInput, match="DeterministicFakeEmbedding cannot be kept"):
        QianruVectorStore.from_texts(["foo"], DeterministicFakeEmbedding(size=3), path=tmp_path / "other")


def test_a_collection_of_words_alone_is_searched_too(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "words") as collection:
        store = QianruVectorStore(collection)
        store.add_texts(["床前明月光", "春眠不觉晓"], ids=["1", "2"])
        assert store.embeddings is None
        assert [page.id for page in store.similarity_search("明月")] == ["1"]
        with pytest.raises(BadInput, match="makes sparse vectors"):
            store.similarity_search_with_relevance_scores("明月")
    with pytest.raises(BadInput, match="LangChain takes dense ones"):
        QianruEmbeddings(BM25())


def test_an_argument_that_nothing_obeys_is_refused(store: QianruVectorStore) -> None:
    with pytest.raises(BadInput, match="obeys 'namespace'"):
        store.similarity_search("明月", namespace="x")


def test_the_retriever_tells_scores(poems: Collection) -> None:
    found = QianruRetriever(collection=poems, k=1, where={"author": "苏轼"}).invoke("明月")
    assert [page.id for page in found] == ["水调歌头"]
    assert found[0].metadata["qianru_score"] > 0
