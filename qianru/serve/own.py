"""Our own routes about texts: /v1/score, /v1/similarity and /v1/align."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from qianru.errors import BadInput, RequestRefused
from qianru.scores import METRICS, align, maxsim
from qianru.serve.answers import json_answer, plain
from qianru.serve.asking import answered, asked, embed, numbers_of
from qianru.serve.forms import Direct, Form, answers, takes
from qianru.serve.lanes import Ask, TransformerEmbedder
from qianru.serve.scoring import fits
from qianru.serve.server import note_of, server_of
from qianru.serve.tokens import tokens_of
from qianru.types import Embeddings, FloatArray, Kind

router = APIRouter(tags=["Qianru"], route_class=Direct)
ALIGN_TOKENS = 2048         # of either text: the answer is their product


class ScoreAsked(Form):
    """Texts to be compared with texts, pair by pair, or one with many."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [
        {"model": "bge-m3", "text_1": "这个多少钱", "text_2": ["这个什么价格", "这个给我吧"],
         "kinds": ["dense", "sparse", "multi"]}]})

    model: str
    text_1: str | list[str] = Field(description="One query, or as many as there are documents.")
    text_2: str | list[str] = Field(description="One document or several.")
    kinds: list[Kind] | None = Field(None, min_length=1, description="The mean of these kinds' scores; else dense.")
    instruction: str | None = None
    truncate: bool = False


class SimilarityAsked(Form):
    """Texts to be compared with one another."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"model": "m3e-base", "texts": ["这个多少钱", "这个什么价格", "这个给我吧"]}]})

    model: str
    texts: list[str] = Field(min_length=1)
    metric: Literal["cosine", "dot", "euclidean"] = "cosine"
    kind: Literal["dense", "sparse", "multi"] | None = Field(None, description="MaxSim, if multi.")
    truncate: bool = False


class AlignAsked(Form):
    """A query and a passage whose tokens are compared."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"model": "bge-m3", "query": "违约怎么赔", "passage": "当事人一方不履行合同义务的，应当承担违约责任。"}]})

    model: str
    query: str
    passage: str


@router.post("/v1/score", openapi_extra=takes(ScoreAsked), responses=answers(
    {"id": "9f86d081", "object": "list", "created": 1790000000, "model": "bge-m3", "usage": {"total_tokens": 18},
     "data": [{"index": 0, "object": "score", "score": 0.91}]}))
async def score(request: Request) -> Response:
    """How well each document fits its query: probabilities of a reranker, similarities of an embedding model."""
    body = await asked(request, ScoreAsked, status=400)
    queries, documents = ([text] if isinstance(text, str) else text for text in (body.text_1, body.text_2))
    if len(queries) not in (1, len(documents)):
        raise BadInput(f"text_1 has {len(queries)} texts and text_2 {len(documents)}. Send one query, or as many as "
                       "documents.")
    served = server_of(request).models.get(body.model)
    scores = await fits(request, served, queries, documents, body.kinds, truncate=body.truncate,
                        instruction=body.instruction)
    note = note_of(request)
    return json_answer({
        "id": note.id, "object": "list", "created": served.created, "model": served.name,
        "data": [{"index": i, "object": "score", "score": value} for i, value in enumerate(scores.tolist())],
        "usage": {"prompt_tokens": note.n_tokens, "total_tokens": note.n_tokens},
    })


@router.post("/v1/similarity", openapi_extra=takes(SimilarityAsked), responses=answers(
    {"matrix": [[1.0, 0.91], [0.91, 1.0]], "texts": ["这个多少钱", "这个什么价格"], "metric": "cosine"}))
async def similarity(request: Request) -> Response:
    """The similarity of every text with every other; larger is more alike, also of euclidean, which is negative."""
    body = await asked(request, SimilarityAsked)
    server = server_of(request)
    if len(body.texts) ** 2 > server.limits.answer_numbers:
        raise RequestRefused(f"{len(body.texts):,} texts make a matrix of {len(body.texts) ** 2:,} numbers; the server "
                             f"gives {server.limits.answer_numbers:,} (--limit answer_numbers=N). Send fewer.", 413)
    served, lane = server.models.embedder(body.model)
    kind: Kind = body.kind or ("dense" if "dense" in lane.spec.kinds else lane.spec.kinds[0])
    made = await embed(request, served, lane, body.texts, Ask(kinds=(kind,)), truncate=body.truncate)
    return await answered(request, len(body.texts) ** 2 + numbers_of(made), lambda: {
        "matrix": plain(_matrix(made, kind, body.metric)), "texts": body.texts, "metric": body.metric})


@router.post("/v1/align", openapi_extra=takes(AlignAsked), responses=answers(
    {"query_tokens": ["违", "约"], "passage_tokens": ["违", "约", "责"], "matrix": [[0.9, 0.1, 0.2], [0.2, 0.8, 0.3]],
     "best": [0, 1], "score": 0.85}))
async def align_(request: Request) -> Response:
    """How the tokens of a query and of a passage answer each other: cosines of their vectors."""
    body = await asked(request, AlignAsked)
    served, lane = server_of(request).models.embedder(body.model)
    if not isinstance(lane, TransformerEmbedder):
        raise BadInput(f"{served.name} has no vectors of tokens. Choose a transformer.")
    kind: Kind = "multi" if "multi" in lane.spec.kinds else "tokens"
    sides = []
    for role, text in (("query", body.query), ("document", body.passage)):
        ask = Ask(role, (kind,))  # type: ignore[arg-type]   # one of both
        made = await embed(request, served, lane, text, ask, truncate=True)
        if len(made.n_tokens) and int(made.n_tokens[0]) > ALIGN_TOKENS:
            raise RequestRefused(f"The {role} has {int(made.n_tokens[0])} tokens; {ALIGN_TOKENS} can be aligned. "
                                 "Shorten it.", 413)
        sides.append(tokens_of(lane.model, text, role, made))  # type: ignore[arg-type]
    (mine, asks), (theirs, tells) = sides

    def told() -> dict[str, Any]:
        best = align(asks, tells)
        return {"query_tokens": mine, "passage_tokens": theirs, "matrix": plain(np.round(asks @ tells.T, 4)),
                "best": best.tokens.tolist(), "score": float(best.scores.mean()) if len(best.scores) else 0.0}

    return await answered(request, len(asks) * len(tells), told)


def _matrix(made: Embeddings, kind: Kind, metric: str) -> FloatArray:
    if kind == "multi":
        assert made.multi is not None
        if metric != "cosine":
            raise BadInput("Token vectors are compared by MaxSim, of cosines. Leave metric out.")
        return maxsim(made.multi, made.multi)
    vectors = made.dense if kind == "dense" else made.sparse
    assert vectors is not None
    return METRICS[metric](vectors, vectors)
