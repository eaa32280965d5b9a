"""Haystack over Qianru: components that embed texts and documents, and one that retrieves from a Collection.

    from qianru.compat.haystack import QianruDocumentEmbedder, QianruRetriever, QianruTextEmbedder

    pipeline.add_component("embedder", QianruTextEmbedder("m3e-base"))
    pipeline.add_component("retriever", QianruRetriever("library", top_k=5))
    Pipeline.loads(pipeline.dumps(), allowed_modules=["qianru.compat.haystack"])

Each is made of names and numbers only, so that a pipeline can be written to YAML and read again; models and collections
are opened at the first use or at warm_up. A collection is opened to be read, so that others may write meanwhile.
"""

# Clean with and without the framework, whose classes are Any where it is not installed:
# mypy: allow-subclassing-any, allow-untyped-decorators, no-warn-return-any, no-warn-unused-ignores

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from qianru.compat.fields import compared, from_fields, joined, to_fields
from qianru.errors import BadInput, UnknownName, require
from qianru.index.collection import Collection
from qianru.index.filter import Filter
from qianru.index.writer import Report
from qianru.models import load
from qianru.models.base import Model
from qianru.types import Document, Role

require("haystack", "haystack", "Qianru's components for Haystack")

from haystack import Document as Page, component, default_from_dict, default_to_dict  # noqa: E402

META = "meta."
_SIGNS = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "in", "not in": "not in"}


class _Embedder:
    """What the two embedders share: a model that is loaded when it is needed."""

    model: str
    instruction: str | None
    _loaded: Model | None = None

    def warm_up(self) -> None:
        """Loads the model. Raises BadInput for one without dense vectors."""
        if self._loaded is None:
            loaded = load(self.model)
            if "dense" not in loaded.spec.kinds:
                raise BadInput(f"{self.model} makes {' and '.join(loaded.spec.kinds)} vectors, and Haystack's documents"
                               " have dense ones. Search it through a QianruRetriever over a collection.")
            self._loaded = loaded

    def _embedded(self, texts: Sequence[str], role: Role) -> tuple[list[list[float]], dict[str, Any]]:
        self.warm_up()
        assert self._loaded is not None
        made = self._loaded.encode(texts, role=role, kinds=["dense"], instruction=self.instruction)
        assert made.dense is not None
        meta = {"model": made.model, "n_tokens": int(made.n_tokens.sum()), "n_truncated": made.n_truncated}
        return made.dense.tolist(), meta


@component
class QianruTextEmbedder(_Embedder):
    """Embeds a query.

    model: a name or folder for qianru.load;  instruction: for models that follow one
    """

    def __init__(self, model: str, instruction: str | None = None) -> None:
        self.model, self.instruction = _name(model, "model"), instruction

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """embedding: the query's vector;  meta: the model, its tokens, whether the text was cut."""
        if not isinstance(text, str):
            raise BadInput(f"One text is embedded, not {type(text).__name__}; "
                           "for documents use QianruDocumentEmbedder.")
        vectors, meta = self._embedded([text], "query")
        return {"embedding": vectors[0], "meta": meta}

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """As run."""
        return await to_thread(self.run, text)

    def to_dict(self) -> dict[str, Any]:
        """The component as plain values."""
        return default_to_dict(self, model=self.model, instruction=self.instruction)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that to_dict has told of."""
        return default_from_dict(cls, data)


@component
class QianruDocumentEmbedder(_Embedder):
    """Gives each document its embedding.

    model: a name or folder for qianru.load
    meta_fields_to_embed: what stands in these fields is read before the text, joined by embedding_separator
    """

    instruction = None

    def __init__(
        self, model: str, meta_fields_to_embed: list[str] | None = None, embedding_separator: str = "\n"
    ) -> None:
        self.model = _name(model, "model")
        self.meta_fields_to_embed, self.embedding_separator = meta_fields_to_embed or [], embedding_separator

    @component.output_types(documents=list[Page], meta=dict[str, Any])
    def run(self, documents: list[Page]) -> dict[str, Any]:
        """documents: copies with an embedding;  meta: the model, the tokens, how many texts were cut."""
        if not isinstance(documents, list) or not all(isinstance(page, Page) for page in documents):
            raise BadInput("A list of Haystack's Documents is embedded; for one text use QianruTextEmbedder.")
        vectors, meta = self._embedded([self._read(page) for page in documents], "document")
        return {"documents": [replace(page, embedding=vector) for page, vector in zip(documents, vectors, strict=True)],
                "meta": meta}

    @component.output_types(documents=list[Page], meta=dict[str, Any])
    async def run_async(self, documents: list[Page]) -> dict[str, Any]:
        """As run."""
        return await to_thread(self.run, documents)

    def to_dict(self) -> dict[str, Any]:
        """The component as plain values."""
        return default_to_dict(self, model=self.model, meta_fields_to_embed=self.meta_fields_to_embed,
                               embedding_separator=self.embedding_separator)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that to_dict has told of."""
        return default_from_dict(cls, data)

    def _read(self, page: Page) -> str:
        told = [str(page.meta[name]) for name in self.meta_fields_to_embed if page.meta.get(name) is not None]
        return self.embedding_separator.join([*told, page.content or ""])


@component
class QianruRetriever:
    """The best documents of a Collection for a query, by all its kinds of vectors, with their scores.

    collection: its folder, or an address such as qdrant://host:6333/name
    top_k: how many;  filters: Haystack's, used where run is given none;  plan: as Collection.search takes it, written
        as the name of one or as a mapping
    """

    def __init__(
        self, collection: str, top_k: int = 10, filters: dict[str, Any] | None = None,
        plan: str | dict[str, Any] | None = None,
    ) -> None:
        self.collection, self.top_k, self.filters, self.plan = _name(collection, "collection"), top_k, filters, plan
        as_filter(filters)
        self._open: Collection | None = None

    def warm_up(self) -> None:
        """Opens the collection."""
        if self._open is None:
            self._open = Collection.open(self.collection, read_only="://" not in self.collection)

    def close(self) -> None:
        """Closes the collection; the next run opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @component.output_types(documents=list[Page])
    def run(self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None) -> dict[str, list[Page]]:
        """documents: best first."""
        self.warm_up()
        assert self._open is not None
        where = as_filter(filters if filters is not None else self.filters)
        hits = self._open.search(query, self.top_k if top_k is None else top_k, where=where, plan=self.plan)
        return {"documents": [Page(id=hit.id, content=hit.text, meta=from_fields(hit.fields), score=hit.score)
                              for hit in hits]}

    @component.output_types(documents=list[Page])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Page]]:
        """As run."""
        return await to_thread(self.run, query, filters, top_k)

    def to_dict(self) -> dict[str, Any]:
        """The component as plain values."""
        return default_to_dict(self, collection=self.collection, top_k=self.top_k, filters=self.filters, plan=self.plan)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that to_dict has told of."""
        return default_from_dict(cls, data)


def add_documents(collection: Collection, documents: Sequence[Page]) -> Report:
    """Stores Haystack's documents, replacing those with the same id; meta that no field holds is kept as JSON."""
    return collection.add([Document(page.id, page.content or "", to_fields(page.meta, f"document {page.id!r}"))
                           for page in documents])


def as_filter(given: Mapping[str, Any] | None) -> Filter | None:
    """Haystack's filters as ours, None for none: {"field": "meta.year", "operator": ">=", "value": 2020}, joined as
    {"operator": "AND", "conditions": [...]}, by OR or NOT.

    A field that is a list passes if one of its elements does. Raises BadInput, UnknownName for what is none of these.
    """
    if not given:
        return None
    if "field" in given:
        name, sign = str(given["field"]).removeprefix(META), given.get("operator")
        if "value" not in given or sign not in _SIGNS:
            raise BadInput(f"A condition has a field, a value and one of {', '.join(_SIGNS)}, not {dict(given)!r:.99}.")
        return compared(name, _SIGNS[sign], given["value"])
    conditions = given.get("conditions")
    if not isinstance(conditions, Sequence) or isinstance(conditions, str):
        raise BadInput(f"A filter is a field's condition, or has an operator and conditions; got {dict(given)!r:.100}.")
    parts = [part for part in map(as_filter, conditions) if part is not None]
    how = str(given.get("operator"))
    if how == "NOT":
        return ~joined("and", parts)      # Haystack's: not all of them
    if how not in ("AND", "OR"):
        raise UnknownName("way to join conditions", how, ["AND", "OR", "NOT"])
    return joined(how.lower(), parts)


def _name(given: str, what: str) -> str:
    if not isinstance(given, str):
        raise BadInput(f"A component is written to files, so its {what} is named by a text, not given as "
                       f"{type(given).__name__}.")
    return given
