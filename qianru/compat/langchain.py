"""LangChain over Qianru: embeddings, a vector store on a Collection, a retriever, filters.

    from qianru import Collection
    from qianru.compat.langchain import QianruEmbeddings, QianruRetriever, QianruVectorStore

    store = QianruVectorStore(Collection.open("library"))
    store.add_documents(documents)
    store.similarity_search("怎样申请退款", k=4, filter={"year": {"$gte": 2020}})
    store.as_retriever()        # or QianruRetriever(collection=..., k=4): the collection's own plan, with scores

The collection embeds with its own model, so one with several kinds of vectors searches by all of them. Metadata comes
back as it was (see qianru.compat.fields).
"""

# Clean with and without the framework, whose classes are Any where it is not installed:
# mypy: allow-subclassing-any, allow-untyped-decorators, no-warn-return-any, no-warn-unused-ignores

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self, TypeAlias

from qianru.compat.fields import compared, from_fields, joined, to_fields
from qianru.errors import BadInput, UnknownName, require
from qianru.index.collection import Collection
from qianru.index.filter import Filter
from qianru.index.plan import Plan
from qianru.index.searcher import PlanLike
from qianru.models import load
from qianru.models.base import Model
from qianru.types import Document, Hit, Role

require("langchain_core", "langchain", "Qianru's classes for LangChain")

from langchain_core.callbacks import CallbackManagerForRetrieverRun  # noqa: E402
from langchain_core.documents import Document as Page  # noqa: E402
from langchain_core.embeddings import Embeddings  # noqa: E402
from langchain_core.retrievers import BaseRetriever  # noqa: E402
from langchain_core.structured_query import (  # noqa: E402
    Comparison,
    FilterDirective,
    Operation,
    StructuredQuery,
    Visitor,
)
from langchain_core.vectorstores import VectorStore  # noqa: E402
from pydantic import ConfigDict  # noqa: E402

Condition: TypeAlias = Filter | FilterDirective | Mapping[str, Any] | str | None
"""Our filter or its text, LangChain's own directive, or a mapping: {"year": {"$gte": 2020}, "lang": "zh"}."""
_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in", "nin": "not in",
          "contain": "=="}      # a field that is a list equals what one of its elements does


class QianruEmbeddings(Embeddings):
    """Dense vectors of a model, as LangChain asks for them.

    model: one that is loaded, or what qianru.load takes, such as "m3e-base"
    instruction: for queries, with models that follow one
    Raises BadInput for a model without dense vectors: search these through a QianruVectorStore.
    """

    def __init__(self, model: Model | str | Path, instruction: str | None = None) -> None:
        self.model = load(model) if isinstance(model, str | Path) else model
        self.instruction = instruction
        if "dense" not in self.model.spec.kinds:
            raise BadInput(f"{self.model.spec.name} makes {' and '.join(self.model.spec.kinds)} vectors, and LangChain "
                           "takes dense ones. Search it through a QianruVectorStore over a collection.")

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each document."""
        return self._embedded(texts, "document")

    def embed_query(self, text: str) -> list[float]:
        """The query's vector."""
        return self._embedded([text], "query")[0]

    def _embedded(self, texts: Sequence[str], role: Role) -> list[list[float]]:
        asked = self.instruction if role == "query" else None
        made = self.model.encode(texts, role=role, kinds=["dense"], instruction=asked).dense
        assert made is not None
        return made.tolist()


class QianruVectorStore(VectorStore):
    """A Collection as LangChain's vector store. What is added is stored when the call returns.

    Adding a document again under its id replaces it. A document without an id gets one made of its text and metadata,
    so adding the same again changes nothing. Scores are the collection's: larger is better.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    @property
    def embeddings(self) -> QianruEmbeddings | None:
        """The collection's model, if it makes dense vectors."""
        model = self.collection.model
        return QianruEmbeddings(model) if "dense" in model.spec.kinds else None

    @classmethod
    def from_texts(
        cls, texts: list[str], embedding: Embeddings, metadatas: list[dict[str, Any]] | None = None, *,
        ids: list[str] | None = None, path: str | Path | None = None, **kwargs: Any,
    ) -> Self:
        """A new collection in the folder `path` that holds the texts; embedding is a QianruEmbeddings."""
        _refuse(kwargs)
        if path is None:
            raise BadInput("A collection lives in a folder. Say where: from_texts(texts, embedding, path=\"library\").")
        if not isinstance(embedding, QianruEmbeddings):
            raise BadInput(f"A collection keeps its model, and {type(embedding).__name__} cannot be kept. Give a "
                           "QianruEmbeddings; OpenAI's models are there as QianruEmbeddings(\"remote:NAME\").")
        store = cls(Collection.create(path, embedding.model))
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_documents(self, documents: list[Page], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """Stores the documents and returns their ids: those given, else each document's own, else one that is made."""
        _refuse(kwargs)
        if ids is not None and len(ids) != len(documents):
            raise BadInput(f"{len(documents)} documents need as many ids; there are {len(ids)}.")
        given = ids if ids is not None else [page.id for page in documents]
        stored = [_stored(page, id) for page, id in zip(documents, given, strict=True)]
        self.collection.add(stored)
        return [document.id for document in stored]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Removes the documents by id, all of them for None; unknown ids are passed over."""
        _refuse(kwargs)
        if ids is None:
            ids = [document.id for document in self.collection.documents(limit=self.collection.count())]
        self.collection.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Page]:
        """The documents by id, without those that there are not."""
        found: list[Page] = []
        for id in ids:
            with suppress(UnknownName):
                found.append(_page(self.collection.get(id)))
        return found

    def similarity_search(
        self, query: str, k: int = 4, filter: Condition = None, plan: PlanLike | None = None, **kwargs: Any
    ) -> list[Page]:
        """The k best documents; plan: as for Collection.search."""
        return [page for page, _ in self.similarity_search_with_score(query, k, filter, plan, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Condition = None, plan: PlanLike | None = None, **kwargs: Any
    ) -> list[tuple[Page, float]]:
        """The k best documents with their scores, larger is better."""
        _refuse(kwargs)
        hits = self.collection.search(query, k, where=as_filter(filter), plan=plan)
        return [(_page(hit), hit.score) for hit in hits]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Condition = None, plan: PlanLike = Plan(), **kwargs: Any
    ) -> list[Page]:
        """The k documents whose dense vectors are most like that of a query; plan: as Collection.search_by_vector."""
        return [page for page, _ in self.similarity_search_with_score_by_vector(embedding, k, filter, plan, **kwargs)]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Condition = None, plan: PlanLike = Plan(), **kwargs: Any
    ) -> list[tuple[Page, float]]:
        """The same with their cosines."""
        _refuse(kwargs)
        hits = self.collection.search_by_vector(embedding, k, where=as_filter(filter), plan=plan)
        return [(_page(hit), hit.score) for hit in hits]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Condition = None,
        **kwargs: Any,
    ) -> list[Page]:
        """k documents that are relevant and unlike one another, among the best fetch_k; 1: relevance alone."""
        plan = self.collection.plan.altered(mmr=lambda_mult, depth=max(k, fetch_k))
        return self.similarity_search(query, k, filter, plan, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5,
        filter: Condition = None, **kwargs: Any,
    ) -> list[Page]:
        """The same for a query that is embedded already."""
        plan = Plan(mmr=lambda_mult, depth=max(k, fetch_k))
        return self.similarity_search_by_vector(embedding, k, filter, plan, **kwargs)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Condition = None, **kwargs: Any
    ) -> list[tuple[Page, float]]:
        """Scores from 0 to 1, to which only cosines can be brought: for search_type "similarity_score_threshold"."""
        plan = self.collection.plan.altered(kinds=("dense",), weights={}, rescore=None, min_score=None)
        found = self.similarity_search_with_score(query, k, filter, plan, **kwargs)
        return [(page, min(max((1 + score) / 2, 0.0), 1.0)) for page, score in found]   # rounding may leave 0..1


class QianruRetriever(BaseRetriever):
    """Searches a Collection; each document's metadata tells its score as "qianru_score".

    collection: open;  k: how many;  where: a condition as QianruVectorStore takes;  plan: as for Collection.search
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    collection: Collection
    k: int = 4
    where: Any = None
    plan: Any = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, **kwargs: Any
    ) -> list[Page]:
        _refuse(kwargs)
        hits = self.collection.search(query, self.k if k is None else k, where=as_filter(self.where), plan=self.plan)
        pages = [_page(hit) for hit in hits]
        for page, hit in zip(pages, hits, strict=True):
            page.metadata["qianru_score"] = hit.score
        return pages


def as_filter(given: Condition) -> Filter | None:
    """The condition as our filter, None for none. Raises BadInput, UnknownName for what it cannot say.

    A mapping's entries must all hold: {"lang": "zh", "year": {"$gte": 2020}, "$or": [{...}, {...}]}, with $eq, $ne,
    $lt, $lte, $gt, $gte, $in, $nin on fields and $and, $or, $not between conditions.
    """
    if given is None or isinstance(given, Filter):
        return given
    if isinstance(given, str):
        return Filter.parse(given)
    if isinstance(given, FilterDirective):
        return given.accept(QianruTranslator())
    if isinstance(given, Mapping):
        return joined("and", [_entry(name, value) for name, value in given.items()]) if given else None
    raise BadInput(f"A filter is a Filter, its text, a mapping or a FilterDirective, not {type(given).__name__}.")


class QianruTranslator(Visitor):
    """What LangChain's self-query retriever calls: its structured queries as our filters."""

    def visit_operation(self, operation: Operation) -> Filter:
        """Conditions joined."""
        return joined(operation.operator.value, [part.accept(self) for part in operation.arguments])

    def visit_comparison(self, comparison: Comparison) -> Filter:
        """A field against a value; LIKE with a % at the end and nowhere else is "starts with"."""
        sign, value = comparison.comparator.value, comparison.value
        if sign != "like":
            return compared(comparison.attribute, _SIGNS[sign], value)
        if not isinstance(value, str) or not value.endswith("%") or set(value[:-1]) & set("%_"):
            raise BadInput(f"A field can be compared by LIKE 'beginning%' and no other pattern, not {value!r:.60}.")
        return compared(comparison.attribute, "starts with", value[:-1])

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """The query and the keyword arguments for the search."""
        told = structured_query.filter
        return structured_query.query, {} if told is None else {"filter": told.accept(self)}


def _entry(name: str, value: Any) -> Filter:
    if name in ("$and", "$or"):
        if not isinstance(value, Iterable) or isinstance(value, str | Mapping):
            raise BadInput(f"{name} joins a list of conditions, not {value!r:.60}.")
        return joined(name[1:], [_whole(part) for part in value])
    if name == "$not":
        return ~_whole(value)
    if name.startswith("$"):
        raise UnknownName("way to join conditions", name, ["$and", "$or", "$not"])
    if not isinstance(value, Mapping):
        return compared(name, "==", value)
    for sign in value:
        if sign.removeprefix("$") not in _SIGNS or not sign.startswith("$"):
            raise UnknownName("comparison", str(sign), [f"${known}" for known in _SIGNS if known != "contain"])
    return joined("and", [compared(name, _SIGNS[sign[1:]], bound) for sign, bound in value.items()])


def _whole(part: Condition) -> Filter:
    condition = as_filter(part)
    if condition is None:
        raise BadInput("A condition inside a filter is empty.")
    return condition


def _stored(page: Page, id: str | None) -> Document:
    if not id:
        told = json.dumps(page.metadata, ensure_ascii=False, sort_keys=True, default=repr)
        id = blake2b(f"{page.page_content}\0{told}".encode("utf-8", "replace"), digest_size=12).hexdigest()
    return Document(id, page.page_content, to_fields(page.metadata, f"document {id!r}"))


def _page(found: Document | Hit) -> Page:
    return Page(page_content=found.text, metadata=from_fields(found.fields), id=found.id)


def _refuse(kwargs: Mapping[str, Any]) -> None:
    """LangChain's signatures take anything; what nothing here obeys is an error."""
    if kwargs:
        raise BadInput(f"Nothing here obeys {', '.join(map(repr, kwargs))}. Leave it out.")
