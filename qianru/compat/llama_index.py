"""LlamaIndex over Qianru: an embedding, a retriever on a Collection, nodes into a Collection, filters.

    from qianru.compat.llama_index import QianruEmbedding, QianruRetriever, add_nodes

    Settings.embed_model = QianruEmbedding("m3e-base")
    add_nodes(collection, nodes)
    RetrieverQueryEngine(QianruRetriever(collection, top_k=5)).query("怎样申请退款")

The collection embeds with its own model and by its own plan. A node comes back whole, with its relationships; documents
that were indexed in another way become text nodes with their fields as metadata.
"""

# Clean with and without the framework, whose classes are Any where it is not installed:
# mypy: allow-subclassing-any, allow-untyped-decorators, no-warn-return-any, no-warn-unused-ignores

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Iterable, Sequence
from pathlib import Path

from qianru.compat.fields import compared, from_fields, joined, to_fields
from qianru.errors import BadInput, require
from qianru.index.collection import Collection
from qianru.index.filter import Filter
from qianru.index.searcher import PlanLike
from qianru.index.writer import Report
from qianru.models import load
from qianru.models.base import Model
from qianru.types import Document, Hit, Role

require("llama_index.core", "llama-index", "Qianru's classes for LlamaIndex")

from llama_index.core.base.base_retriever import BaseRetriever  # noqa: E402
from llama_index.core.base.embeddings.base import BaseEmbedding  # noqa: E402
from llama_index.core.bridge.pydantic import PrivateAttr  # noqa: E402
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode  # noqa: E402
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters  # noqa: E402
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict  # noqa: E402

AT_ONCE = 1024       # texts that LlamaIndex hands over together; batches are cut by tokens inside
NODE = ("_node_content", "_node_type", "ref_doc_id")      # what LlamaIndex's own stores call a node's other parts
_SIGNS = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "in", "nin": "not in",
          "any": "in", "contains": "=="}       # a field that is a list passes if one of its elements does


class QianruEmbedding(BaseEmbedding):
    """Dense vectors of a model, as LlamaIndex asks for them.

    model: one that is loaded, or what qianru.load takes;  instruction: for queries, with models that follow one
    Raises BadInput for a model without dense vectors: search these through a QianruRetriever.
    """

    _model: Model = PrivateAttr()
    _instruction: str | None = PrivateAttr()

    def __init__(
        self, model: Model | str | Path, instruction: str | None = None, embed_batch_size: int = AT_ONCE
    ) -> None:
        loaded = load(model) if isinstance(model, str | Path) else model
        if "dense" not in loaded.spec.kinds:
            raise BadInput(f"{loaded.spec.name} makes {' and '.join(loaded.spec.kinds)} vectors, and LlamaIndex takes "
                           "dense ones. Search it through a QianruRetriever over a collection.")
        super().__init__(model_name=loaded.spec.name, embed_batch_size=embed_batch_size)
        self._model, self._instruction = loaded, instruction

    @classmethod
    def class_name(cls) -> str:
        """Its name in LlamaIndex's files."""
        return "QianruEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedded([query], "query")[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedded([text], "document")[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedded(texts, "document")

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await to_thread(self._get_text_embeddings, texts)

    def _embedded(self, texts: Sequence[str], role: Role) -> list[list[float]]:
        asked = self._instruction if role == "query" else None
        made = self._model.encode(texts, role=role, kinds=["dense"], instruction=asked).dense
        assert made is not None
        return made.tolist()


class QianruRetriever(BaseRetriever):
    """The best documents of a Collection as nodes with their scores, larger is better.

    top_k: how many;  filters: LlamaIndex's or ours;  plan: as for Collection.search
    """

    def __init__(
        self, collection: Collection, top_k: int = 10, filters: MetadataFilters | Filter | str | None = None,
        plan: PlanLike | None = None,
    ) -> None:
        super().__init__()
        self.collection, self.top_k, self.plan = collection, top_k, plan
        self.where = as_filter(filters)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self.collection.search(query_bundle.query_str, self.top_k, where=self.where, plan=self.plan)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await to_thread(self._retrieve, query_bundle)


def add_nodes(collection: Collection, nodes: Iterable[BaseNode]) -> Report:
    """Stores the nodes, replacing those with the same id; metadata that no field holds is kept as JSON."""
    return collection.add(_stored(node) for node in nodes)


def as_filter(given: MetadataFilters | Filter | str | None) -> Filter | None:
    """LlamaIndex's filters as ours, None for none. Raises BadInput for an operator that fields cannot be asked by."""
    if given is None or isinstance(given, Filter):
        return given
    if isinstance(given, str):
        return Filter.parse(given)
    if not isinstance(given, MetadataFilters):
        raise BadInput(f"filters are MetadataFilters, a Filter or its text, not {type(given).__name__}.")
    return _joined(given) if given.filters else None


def _joined(given: MetadataFilters) -> Filter:
    parts = [_joined(part) if isinstance(part, MetadataFilters) else _compared(part) for part in given.filters]
    return joined("and" if given.condition is None else given.condition.value, parts)


def _compared(one: MetadataFilter) -> Filter:
    sign = one.operator.value
    if sign == "all" and isinstance(one.value, list):
        return joined("and", [compared(one.key, "==", value) for value in one.value])
    if sign not in _SIGNS:
        raise BadInput(f"Fields cannot be asked by the operator '{sign}'. There are {', '.join([*_SIGNS, 'all'])}; "
                       "words inside a text are what the search itself is for.")
    return compared(one.key, _SIGNS[sign], one.value)


def _stored(node: BaseNode) -> Document:
    told = node_to_metadata_dict(node, remove_text=True)
    kept = {name: told[name] for name in NODE if told[name] != "None"}      # their word for no document
    fields = to_fields({name: told.get(name) for name in node.metadata}, f"node {node.node_id!r}")
    return Document(node.node_id, node.get_content(metadata_mode=MetadataMode.NONE), {**fields, **kept})


def _node(hit: Hit) -> BaseNode:
    if NODE[0] in hit.fields:
        return metadata_dict_to_node(dict(hit.fields), text=hit.text)
    return TextNode(id_=hit.id, text=hit.text, metadata=from_fields(hit.fields))
