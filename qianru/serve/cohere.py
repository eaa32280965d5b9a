"""Cohere's and Jina's /rerank: documents in the order in which they answer a query. Long ones are cut, as there."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from qianru.serve.answers import json_answer
from qianru.serve.asking import asked
from qianru.serve.forms import Direct, Form, answers, takes
from qianru.serve.scoring import fits
from qianru.serve.server import note_of, server_of
from qianru.types import Kind

router = APIRouter(tags=["Cohere and Jina"], route_class=Direct)


class Text(Form):
    """A document in an object, as both write it too."""

    text: str


class RerankAsked(Form):
    """Documents to be put in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"model": "bge-reranker-base", "query": "怎样申请退款", "documents": ["退款流程", "公司历史"], "top_n": 1}]})

    model: str
    query: str
    documents: list[str | Text] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False
    kinds: list[Kind] | None = Field(None, min_length=1, description="Ours. The vectors to compare by, of a model "
                                                                     "that makes them.")


@router.post("/v1/rerank", openapi_extra=takes(RerankAsked), responses=answers(
    {"id": "9f86d081", "model": "bge-reranker-base", "results": [{"index": 0, "relevance_score": 0.98}],
     "usage": {"total_tokens": 24}, "meta": {"api_version": {"version": "1"}}}))
async def rerank(request: Request) -> Response:
    """The documents' scores, the best first: probabilities of a reranker, similarities of an embedding model."""
    return await _reranked(request, "1")


@router.post("/v2/rerank", openapi_extra=takes(RerankAsked), responses=answers(
    {"id": "9f86d081", "model": "bge-reranker-base", "results": [{"index": 0, "relevance_score": 0.98}],
     "usage": {"total_tokens": 24}, "meta": {"api_version": {"version": "2"}}}))
async def rerank_2(request: Request) -> Response:
    """The same for clients of Cohere's second version."""
    return await _reranked(request, "2")


async def _reranked(request: Request, version: str) -> Response:
    body = await asked(request, RerankAsked, status=400)
    texts = [document if isinstance(document, str) else document.text for document in body.documents]
    served = server_of(request).models.get(body.model)
    scores = await fits(request, served, [body.query], texts, body.kinds, truncate=True)
    results: list[dict[str, Any]] = [
        {"index": int(i), "relevance_score": float(scores[i]),
         **({"document": {"text": texts[i]}} if body.return_documents else {})}
        for i in (-scores).argsort(kind="stable")[: body.top_n]
    ]
    note = note_of(request)
    return json_answer({
        "id": note.id, "model": served.name, "results": results, "usage": {"total_tokens": note.n_tokens},
        "meta": {"api_version": {"version": version}, "billed_units": {"search_units": 1}},
    })
