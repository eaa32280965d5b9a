"""OpenAI's routes: /v1/embeddings and /v1/models, with what a model makes besides dense vectors on request."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from qianru.errors import BadInput
from qianru.serve.answers import in_base64, json_answer, matrices, plain, sparse_rows
from qianru.serve.asking import Input, answered, asked, embed, numbers_of
from qianru.serve.forms import Direct, Form, answers, takes
from qianru.serve.lanes import Ask, Embedder, unit
from qianru.serve.models import Served, usual_ask
from qianru.serve.server import note_of, server_of
from qianru.types import Embeddings, FloatArray, Kind, Role

router = APIRouter(tags=["OpenAI"], route_class=Direct)


class EmbeddingsAsked(Form):
    """Texts to be embedded. What OpenAI's clients send besides and has no meaning here is passed over."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"model": "m3e-base", "input": ["怎样申请退款", "How do I get a refund?"]},
        {"model": "bge-m3", "input": "违约金", "kinds": ["dense", "sparse"], "role": "query"},
    ]})

    model: str
    input: Input = Field(union_mode="left_to_right", description="A text, texts, or ids of the model's own tokens.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="The first so many of the model's, at length 1 again.")
    role: Role = Field("document", description="Ours. Queries and documents may be embedded differently.")
    instruction: str | None = Field(None, description="Ours. For models that follow instructions.")
    kinds: list[Kind] | None = Field(None, min_length=1, description="Ours. Dense, unless it is said.")
    normalize: bool | None = Field(None, description="Ours. Dense vectors at length 1; else as the model does.")
    truncate: bool = Field(False, description="Ours. Cut texts that are too long; else they are refused.")


@router.post("/v1/embeddings", openapi_extra=takes(EmbeddingsAsked), responses=answers({
    "object": "list", "model": "m3e-base", "usage": {"prompt_tokens": 8, "total_tokens": 8},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
}))
async def embeddings(request: Request) -> Response:
    """The vectors of texts.

    With kinds, each row has "embedding", "sparse" {"indices", "values"}, "multi" and "tokens" (a vector for each token)
    as far as asked for; in base64, matrices are {"shape", "base64"}.
    """
    body = await asked(request, EmbeddingsAsked, status=400)
    served, lane = server_of(request).models.embedder(body.model)
    ask = Ask(body.role, tuple(body.kinds or usual_ask(lane).kinds), body.instruction, body.normalize)
    if body.dimensions is not None:
        _check_dimensions(served, body.dimensions)
    made = await embed(request, served, lane, body.input, ask, truncate=body.truncate)
    n_tokens = note_of(request).n_tokens
    return await answered(request, numbers_of(made), lambda: {
        "object": "list", "model": served.name, "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        "data": _rows(made, body, lane),
    })


@router.get("/v1/models", responses=answers({"object": "list", "data": [{
    "id": "m3e-base", "object": "model", "created": 1790000000, "owned_by": "qianru",
    "qianru": {"family": "transformer", "kinds": ["dense"], "dim": 768, "max_tokens": 512, "role": "embedder"}}]}))
async def models(request: Request) -> Response:
    """The models that this server has."""
    return json_answer({"object": "list", "data": [told(served) for served in server_of(request).models]})


def told(served: Served) -> dict[str, Any]:
    """A model as OpenAI lists it, and what it can do."""
    spec = served.spec
    return {"id": served.name, "object": "model", "created": served.created, "owned_by": "qianru",
            "qianru": {"family": spec.family, "kinds": spec.kinds, "on_request": spec.on_request, "dim": spec.dim,
                       "max_tokens": spec.max_tokens, "role": served.role}}


def sliced(vectors: FloatArray, dimensions: int | None, normalized: bool) -> FloatArray:
    """(n, d) -> (n, dimensions): at length 1 again where they were before."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    short = unit(vectors[:, :dimensions]) if normalized else vectors[:, :dimensions]
    assert short is not None
    return short


def _check_dimensions(served: Served, dimensions: int) -> None:
    if served.spec.dim is not None and dimensions > served.spec.dim:
        raise BadInput(f"{served.name} makes {served.spec.dim} dimensions, fewer than {dimensions}. Ask for at most "
                       f"{served.spec.dim}, or leave dimensions out.")


def _rows(made: Embeddings, body: EmbeddingsAsked, lane: Embedder) -> list[dict[str, Any]]:
    short = body.encoding_format == "base64"
    rows: list[dict[str, Any]] = [{"object": "embedding", "index": i} for i in range(len(made))]
    if made.dense is not None:
        normalized = lane.normalized if body.normalize is None else body.normalize
        dense = plain(sliced(made.dense, body.dimensions, normalized))
        for row, vector in zip(rows, dense, strict=True):
            row["embedding"] = in_base64(vector) if short else vector
    if made.sparse is not None:
        for row, weights in zip(rows, sparse_rows(made.sparse), strict=True):
            row["sparse"] = weights
    for kind in ("multi", "tokens"):
        if (ragged := getattr(made, kind)) is not None:
            for row, matrix in zip(rows, matrices(ragged), strict=True):
                row[kind] = {"shape": matrix.shape, "base64": in_base64(matrix)} if short else matrix
    return rows
