"""Collections: which there are, their documents, searches and the reasons for them; changes where they are allowed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from qianru.errors import BadInput, QianruError, RequestRefused
from qianru.index.intake import tidy
from qianru.index.plan import Plan
from qianru.index.writer import Report
from qianru.serve.answers import json_answer
from qianru.serve.asking import answered, aside, asked, waited
from qianru.serve.bounds import (
    check_answer,
    check_chars,
    check_count,
    check_documents,
    check_explained,
    check_hits,
    check_room,
    check_search,
    plan_of,
)
from qianru.serve.forms import Direct, Form, answers, takes
from qianru.serve.options import Limits
from qianru.serve.server import Server, note_of, server_of
from qianru.serve.shelf import OpenCollection, Shelf
from qianru.types import Document, Hit

router = APIRouter(tags=["Collections"], route_class=Direct)
ADDED_AT_ONCE = 32          # documents; between them others are let in
SOON_S = 0.2                # that a list of collections waits for one that is busy
T = TypeVar("T")
log = logging.getLogger("qianru.serve")
PLAIN = frozenset({str, int, float, bool})
Value: TypeAdapter[Any] = TypeAdapter(str | int | float | bool | list[str] | list[int] | list[float])


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """The fields as they are. Raises ValueError at the first that is none, where pydantic would describe them all."""
    for name, value in given.items():
        if type(value) in PLAIN:        # as nearly all are; a million of them must not take half a second
            continue
        try:
            Value.validate_python(value)
        except ValidationError:
            what = "a text, a number, true or false, or a list of texts or numbers"
            raise ValueError(f"the field {name[:60]!r} is {what}") from None
    return given


Fields = Annotated[dict[str, Any], AfterValidator(_fields), WithJsonSchema(
    {"type": "object", "additionalProperties": Value.json_schema()})]


class CollectionAsked(Form):
    """A collection to be made."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"name": "laws", "model": ["bm25", "m3e-base"]}]})

    name: str
    model: str | list[str] = Field(description="Models that this server has, and bm25; several are joined.")


class DocumentGiven(Form):
    """A document. Without an id it gets one made of its text."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(None, min_length=1, max_length=1000)
    text: str
    fields: Fields = Field(default={})


class DocumentsAsked(Form):
    """Documents to be added; those with an id that is there are replaced."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"documents": [{"id": "民法典#577", "text": "当事人一方不履行合同义务的，应当承担违约责任。",
                        "fields": {"line": 577}}]}]})

    documents: list[DocumentGiven] = Field(min_length=1)


class IdsAsked(Form):
    """Documents by their ids."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["民法典#577"]}]})

    ids: list[str] = Field(min_length=1)


class SearchAsked(Form):
    """One question or several."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"query": "违约怎么赔", "k": 5, "filter": "line > 100", "plan": {"fusion": "weighted"}}]})

    query: str | None = None
    queries: list[str] | None = Field(None, min_length=1)
    k: int = Field(10, ge=1)
    plan: str | dict[str, Any] | None = Field(None, description="A plan's name or its steps (docs/cli.md, search).")
    filter: str | None = Field(None, description="A condition on fields, such as line > 100.")
    explain: bool = Field(False, description="With what made each score.")


class ExplainAsked(Form):
    """A question and a document."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"query": "违约怎么赔", "id": "民法典#577"}]})

    query: str
    id: str


@router.get("/collections", responses=answers({"collections": [
    {"name": "laws", "n_documents": 1260, "kinds": ["dense", "sparse"], "model": "bm25 + m3e-base",
     "writable": True}]}))
async def collections(request: Request) -> Response:
    """The collections that this server has. Of one that is busy, as many documents as it last had."""
    every = list(shelf_of(request))
    await asyncio.gather(*map(_count, every))
    return json_answer({"collections": [_told(server_of(request), opened) for opened in every]})


@router.post("/collections", status_code=201, openapi_extra=takes(CollectionAsked),
             responses=answers({"name": "laws", "n_documents": 0}, status=201))
async def create(request: Request) -> Response:
    """Makes an empty collection."""
    body = await asked(request, CollectionAsked)
    server, shelf = server_of(request), shelf_of(request)
    check_writing(server)
    named = [body.model] if isinstance(body.model, str) else body.model
    opened = await aside(request, lambda: shelf.create(body.name, named), server.changes)
    return json_answer(_told(server, opened), 201)


@router.get("/collections/{name}", responses=answers({"name": "laws", "n_documents": 1260, "kinds": ["dense"]}))
async def one(request: Request, name: str) -> Response:
    """What a collection is, in figures."""
    server, opened = server_of(request), shelf_of(request).get(name)

    def told() -> dict[str, Any]:
        facts = opened.library.info()
        for place in ("path", "named_models"):      # nobody's business
            facts.pop(place, None)
        return {**facts, **_told(server, opened), "n_documents": facts["n_documents"]}

    return json_answer(await ask(request, opened, told))


@router.delete("/collections/{name}", responses=answers({"deleted": "laws"}))
async def delete(request: Request, name: str) -> Response:
    """Removes a collection and all its documents from the disk."""
    server = server_of(request)
    check_writing(server)
    await aside(request, lambda: server.shelf.delete(name), server.changes)
    server.maps.forget(name)
    return json_answer({"deleted": name})


@router.post("/collections/{name}/documents", openapi_extra=takes(DocumentsAsked),
             responses=answers({"added": 1, "updated": 0, "unchanged": 0}))
async def add(request: Request, name: str) -> Response:
    """Adds documents; those that are acknowledged survive a crash. Searches go on meanwhile.

    After an error some may have been added: the same request goes on with the others.
    """
    body = await asked(request, DocumentsAsked)
    server, opened = server_of(request), writable(request, name)
    check_count(server.limits, len(body.documents), "documents")
    note_of(request).n_texts = len(body.documents)

    def given() -> list[Document]:
        made = [Document(one.id or tidy(one.text).id, one.text, one.fields) for one in body.documents]
        check_documents(server.limits, made)
        return made

    documents = await aside(request, given)
    await ask(request, opened, lambda: _check_room(server.limits, opened, documents))
    report = None

    def add_some(part: list[Document]) -> Report:
        _check_room(server.limits, opened, part)        # again: others may have added meanwhile
        return opened.library.add(part)

    for at in range(0, len(documents), ADDED_AT_ONCE):
        part = documents[at : at + ADDED_AT_ONCE]
        made = await ask(request, opened, lambda part=part: add_some(part))  # type: ignore[misc]
        report = made if report is None else report + made
    assert report is not None
    return json_answer({"added": report.added, "updated": report.updated, "unchanged": report.unchanged})


@router.post("/collections/{name}/documents/delete", openapi_extra=takes(IdsAsked), responses=answers({"deleted": 1}))
async def remove(request: Request, name: str) -> Response:
    """Removes documents by their ids."""
    body = await asked(request, IdsAsked)
    opened = writable(request, name)
    check_count(server_of(request).limits, len(body.ids), "ids")
    deleted = await ask(request, opened, lambda: opened.library.delete(body.ids))
    return json_answer({"deleted": deleted})


@router.post("/collections/{name}/documents/get", openapi_extra=takes(IdsAsked), responses=answers(
    {"documents": [{"id": "民法典#577", "text": "当事人一方…", "fields": {}}]}))
async def documents(request: Request, name: str) -> Response:
    """Documents by their ids, as far as there are such."""
    body = await asked(request, IdsAsked)
    limits, opened = server_of(request).limits, shelf_of(request).get(name)
    check_count(limits, len(body.ids), "ids")

    def found() -> list[Document]:
        known, made, n_chars = opened.library.numbers(body.ids), [], 0
        for id in dict.fromkeys(body.ids):
            if id in known:
                made.append(opened.library.get(id))
                check_answer(limits, n_chars := n_chars + len(made[-1].text))
        return made

    made = await ask(request, opened, found)
    n_chars = sum(len(one.text) for one in made)
    return await answered(request, n_chars, lambda: {"documents": list(map(_document, made))})


@router.get("/collections/{name}/documents/{id:path}", responses=answers(
    {"id": "民法典#577", "text": "当事人一方…", "fields": {}}))
async def document(request: Request, name: str, id: str) -> Response:
    """One document."""
    opened = shelf_of(request).get(name)
    return json_answer(_document(await ask(request, opened, lambda: opened.library.get(id))))


@router.post("/collections/{name}/search", openapi_extra=takes(SearchAsked), responses=answers({"results": [
    {"query": "违约怎么赔", "took_ms": 9.1, "hits": [
        {"id": "民法典#577", "text": "当事人一方…", "fields": {}, "score": 0.032,
         "scores": {"sparse": 9.1, "dense": 0.7}, "ranks": {"sparse": 1, "dense": 1}, "highlights": [[3, 5]]}]}]}))
async def search(request: Request, name: str) -> Response:
    """The best documents for each query. A plan may not name a reranker; one that the server has is used."""
    body = await asked(request, SearchAsked)
    server, opened = server_of(request), shelf_of(request).get(name)
    if (body.query is None) == (body.queries is None):
        raise BadInput("Send either query, one question, or queries, several.")
    queries = [body.query] if body.query is not None else body.queries or []
    limits, plan = server.limits, plan_of(server.limits, body.plan)
    check_search(limits, queries, body.k, plan, body.explain)
    check_chars(limits, "filter", body.filter or "")
    note_of(request).n_texts = len(queries)
    begun = time.perf_counter()

    def work(asked: list[list[str]]) -> list[list[list[dict[str, Any]]]]:
        return _searched(opened, asked, body, plan, limits)

    key = (body.k, None if plan is None else plan.to_json(), body.filter, body.explain)
    found = await waited(request, opened.desk.ask(work, queries, key, len(queries) * body.k))
    took_ms = round((time.perf_counter() - begun) * 1e3, 2)
    n_chars = sum(len(hit["text"]) for hits in found for hit in hits)
    check_answer(limits, n_chars)
    return await answered(request, n_chars, lambda: {"results": [
        {"query": query, "hits": hits, "took_ms": took_ms} for query, hits in zip(queries, found, strict=True)]})


@router.post("/collections/{name}/explain", openapi_extra=takes(ExplainAsked), responses=answers(
    {"scores": {"sparse": 9.1, "dense": 0.7}, "terms": [["违约", 6.2]], "snippet": [0, 21]}))
async def explain(request: Request, name: str) -> Response:
    """What makes the scores of a document for a query."""
    body = await asked(request, ExplainAsked)
    opened = shelf_of(request).get(name)
    check_explained([body.query])
    told = await ask(request, opened, lambda: opened.library.explain(body.query, body.id))
    n = 0 if told.alignment is None else told.alignment.similarities.size
    if n > server_of(request).limits.answer_numbers:
        raise RequestRefused(f"The query's tokens by the document's make {n:,} numbers; the server gives "
                             f"{server_of(request).limits.answer_numbers:,} (--limit answer_numbers=N). Shorten the "
                             "query.", 413)
    return await answered(request, n + len(told.terms), lambda: told.to_dict(matrix=True))


def shelf_of(request: Request) -> Shelf:
    """The server's collections."""
    return server_of(request).shelf


def writable(request: Request, name: str) -> OpenCollection:
    """The collection, if requests may change it. Raises RequestRefused."""
    check_writing(server_of(request))
    opened = shelf_of(request).get(name)
    if not opened.writable:
        raise RequestRefused(f"{name} is only read here: another program writes to it, or the disk lets nobody.", 409)
    return opened


def check_writing(server: Server) -> None:
    """Raises RequestRefused unless requests may change collections; options.check_address says to whom that is open."""
    if not server.options.allow_write:
        raise RequestRefused("Requests may not change anything here. Start the server with --allow-write.", 403)


async def ask(request: Request, opened: OpenCollection, work: Callable[[], T]) -> T:
    """What the work gives, done in the collection's thread."""
    made: T = await waited(request, opened.desk.ask(lambda items: [work()]))
    return made


def _searched(
    opened: OpenCollection, asked: list[list[str]], body: SearchAsked, plan: Plan | None, limits: Limits
) -> list[list[list[dict[str, Any]]]]:
    """For each request, for each of its queries the hits."""
    library = opened.library
    if plan is None:
        plan = library.plan
        for queries in asked:
            check_hits(limits, len(queries), body.k, plan)
    flat = [query for queries in asked for query in queries]
    found = iter(library.search_many(flat, body.k, plan=plan, where=body.filter))
    return [[_hits(opened, query, next(found), body.explain) for query in queries] for queries in asked]


def _hits(opened: OpenCollection, query: str, hits: list[Hit], explain: bool) -> list[dict[str, Any]]:
    library = opened.library
    matches = library.matcher(query)
    told: list[dict[str, Any]] = [
        {"id": hit.id, "text": hit.text, "fields": dict(hit.fields), "score": hit.score, "scores": dict(hit.scores),
         "ranks": dict(hit.ranks), "highlights": matches(hit.text)} for hit in hits]
    if explain:
        for one, hit in zip(told, hits, strict=True):
            one["explanation"] = library.explain(query, hit.id).to_dict()
    return told


async def _count(opened: OpenCollection) -> None:
    try:
        async with asyncio.timeout(SOON_S):
            opened.n_documents = await opened.desk.ask(lambda items: [opened.library.count()])
    except (TimeoutError, RequestRefused):
        pass                    # it is busy, or being closed; nobody waits for that to see what else there is
    except QianruError as error:
        log.warning("The documents of %s cannot be counted: %s", opened.name, error)     # nor shall it hide the others


def _told(server: Server, opened: OpenCollection) -> dict[str, Any]:
    library = opened.library
    may = opened.writable and server.options.allow_write
    return {"name": opened.name, "n_documents": opened.n_documents, "kinds": library.kinds,
            "model": library.model.spec.name, "writable": may}


def _document(document: Document) -> dict[str, Any]:
    return {"id": document.id, "text": document.text, "fields": dict(document.fields)}


def _check_room(limits: Limits, opened: OpenCollection, documents: list[Document]) -> None:
    n, ids = opened.library.count(), list({document.id for document in documents})
    if n + len(ids) > limits.documents:
        check_room(limits, opened.name, n + len(ids) - len(opened.library.numbers(ids)))
