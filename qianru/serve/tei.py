"""The routes of Hugging Face's text-embeddings-inference, as its clients use them.

They name no model: the first one of its sort answers. Texts that are too long are refused with 413 unless truncate.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from qianru import __version__
from qianru.errors import RequestRefused
from qianru.scores import cosine
from qianru.serve.answers import json_answer, matrices, plain
from qianru.serve.asking import Input, answered, asked, body_of, embed, score
from qianru.serve.bounds import check_count
from qianru.serve.forms import Direct, Form, answers, takes
from qianru.serve.lanes import Ask, TransformerEmbedder
from qianru.serve.openai import sliced
from qianru.serve.scoring import sigmoid
from qianru.serve.server import server_of
from qianru.serve.tokens import token_rows
from qianru.types import Embeddings, Kind, Role

router = APIRouter(tags=["text-embeddings-inference"], route_class=Direct)
TOO_LONG = 413
TOKENIZED_CHARS = 250_000       # at once: each token is an object of 400 bytes
Inputs = Annotated[Input, Field(union_mode="left_to_right", description="A text, texts, or the model's own token ids.")]


class Cut(Form):
    """What TEI's bodies share."""

    truncate: bool | None = Field(default=None, description="Cut texts that are too long; else they are refused.")
    truncation_direction: Literal["Left", "Right", "left", "right"] = Field(default="right", description="Only right.")
    prompt_name: str | None = Field(default=None, description="query or document.")

    def role(self) -> Role:
        """What the texts are. Raises RequestRefused for a prompt that there is not."""
        if self.prompt_name is None or self.prompt_name == "document":
            return "document"
        if self.prompt_name != "query":
            raise RequestRefused(f"prompt_name is query or document, not {self.prompt_name[:60]!r}.", 422)
        return "query"

    def cuts(self) -> bool:
        """Whether texts are cut. Raises RequestRefused for cutting them on the left."""
        if self.truncate and self.truncation_direction.lower() == "left":
            raise RequestRefused("Texts are cut on the right only. Leave truncation_direction out.", 422)
        return bool(self.truncate)


class EmbedAsked(Cut):
    """Texts to be embedded."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": ["怎样申请退款"], "normalize": True}]})

    inputs: Inputs
    normalize: bool = Field(True, description="Vectors at length 1; else as the pooling gives them.")
    dimensions: int | None = Field(None, ge=1)


class TextsAsked(Cut):
    """Texts to be embedded in another way."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "怎样申请退款"}]})

    inputs: Inputs


class Sentences(Form):
    """One text and those to compare it with."""

    source_sentence: str
    sentences: list[str] = Field(min_length=1)


class SimilarityAsked(Form):
    """One text to be compared with others."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"inputs": {"source_sentence": "这个多少钱", "sentences": ["这个什么价格", "这个给我吧"]}}]})

    inputs: Sentences
    parameters: Cut | None = None


class RerankAsked(Cut):
    """Texts to be put in order by how well they answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"query": "怎样申请退款", "texts": ["退款流程", "公司历史"], "raw_scores": False}]})

    query: str
    texts: list[str] = Field(min_length=1)
    raw_scores: bool = Field(False, description="As the model gives them; else as probabilities.")
    return_text: bool = False


class TokenizeAsked(Form):
    """Texts to be taken apart."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "床前明月光"}]})

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


@router.post("/embed", openapi_extra=takes(EmbedAsked), responses=answers([[0.0123, -0.0456]]))
async def embed_(request: Request) -> Response:
    """Dense vectors, a row for each text."""
    body = await asked(request, EmbedAsked)
    made = await _made(request, body.inputs, body, "dense", body.normalize, body.dimensions)
    dense = made.dense
    assert dense is not None
    return await answered(request, dense.size, lambda: plain(sliced(dense, body.dimensions, body.normalize)))


@router.post("/embed_all", openapi_extra=takes(TextsAsked), responses=answers([[[0.01, -0.02], [0.03, 0.04]]]))
async def embed_all(request: Request) -> Response:
    """The state of each token of each text, special ones among them."""
    body = await asked(request, TextsAsked)
    made = await _made(request, body.inputs, body, "tokens", None)
    tokens = made.tokens
    assert tokens is not None
    return await answered(request, tokens.data.size, lambda: matrices(tokens))


@router.post("/embed_sparse", openapi_extra=takes(TextsAsked), responses=answers([[{"index": 2769, "value": 0.31}]]))
async def embed_sparse(request: Request) -> Response:
    """The terms of each text and their weights."""
    body = await asked(request, TextsAsked)
    made = await _made(request, body.inputs, body, "sparse", None)
    sparse = made.sparse
    assert sparse is not None
    return await answered(request, 2 * sparse.terms.size, lambda: (     # row by row: a million such objects take 300 MB
        [{"index": term, "value": weight} for term, weight in zip(terms.tolist(), weights.tolist(), strict=True)]
        for terms, weights in sparse))


@router.post("/similarity", openapi_extra=takes(SimilarityAsked), responses=answers([0.91, 0.42]))
async def similarity(request: Request) -> Response:
    """The cosine of the source sentence with each of the others."""
    return await _similarity(request, await asked(request, SimilarityAsked))


@router.post("/rerank", openapi_extra=takes(RerankAsked), responses=answers([{"index": 0, "score": 0.98}]))
async def rerank(request: Request) -> Response:
    """How well each text answers the query, the best first."""
    return await _rerank(request, await asked(request, RerankAsked))


@router.post("/", openapi_extra=takes(EmbedAsked), responses=answers([[0.0123, -0.0456]]))
async def any_(request: Request) -> Response:
    """Whatever the body is of: /embed, /similarity or /rerank, for clients that know only the server's address."""
    value = _read_json(await body_of(request))
    if isinstance(value, dict) and isinstance(value.get("inputs"), dict):
        return await similarity(request)
    if isinstance(value, dict) and "texts" in value:
        return await rerank(request)
    return await embed_(request)


@router.post("/tokenize", openapi_extra=takes(TokenizeAsked), responses=answers(
    [[{"id": 2414, "text": "床", "special": False, "start": 0, "stop": 1}]]))
async def tokenize(request: Request) -> Response:
    """The tokens of each text: id, text, and where they stand."""
    body = await asked(request, TokenizeAsked)
    served, lane = server_of(request).models.embedder(None)
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if not isinstance(lane, TransformerEmbedder):
        raise RequestRefused(f"{served.name} has no tokenizer that could be shown.", 424)
    check_count(server_of(request).limits, len(texts), "texts")
    n_chars = sum(map(len, texts))
    if n_chars > TOKENIZED_CHARS:
        raise RequestRefused(f"{n_chars:,} characters; the server shows the tokens of {TOKENIZED_CHARS:,} at once. "
                             "Send fewer texts.", 413)
    role = Cut(prompt_name=body.prompt_name).role()
    model = lane.model
    return await answered(request, 5 * n_chars, lambda: token_rows(model, texts, role, body.add_special_tokens))


@router.get("/info", responses=answers({"model_id": "m3e-base", "max_input_length": 512}))
async def info(request: Request) -> Response:
    """The first model and the limits, as TEI tells them."""
    server = server_of(request)
    first = next(iter(server.models), None)
    if first is None:
        raise RequestRefused("This server has no model of its own, only collections.", 424)
    precision = getattr(getattr(getattr(first.lane, "model", None), "device", None), "precision", "float32")
    pooling = getattr(getattr(getattr(first.lane, "model", None), "recipe", None), "pooling", ("mean",))
    kind: Any = ({"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}} if first.role == "reranker"
                 else {"embedding": {"pooling": str(pooling[0])}})
    return json_answer({
        "model_id": first.name, "model_sha": first.spec.fingerprint, "model_dtype": precision, "model_type": kind,
        "max_concurrent_requests": server.limits.requests, "max_input_length": first.spec.max_tokens,
        "max_batch_tokens": first.lane.budget, "max_batch_requests": None,
        "max_client_batch_size": server.limits.texts, "auto_truncate": False, "tokenization_workers": 2,
        "version": __version__, "sha": None, "docker_label": None,
    })


async def _made(
    request: Request, inputs: Input, body: Cut, kind: Kind, normalize: bool | None, dimensions: int | None = None
) -> Embeddings:
    served, lane = server_of(request).models.embedder(None)
    if kind not in (*lane.spec.kinds, *lane.spec.on_request):
        raise RequestRefused(f"{served.name} makes {' and '.join(lane.spec.kinds)} vectors, not {kind} ones.", 424)
    if dimensions is not None and dimensions > (lane.spec.dim or dimensions):
        raise RequestRefused(f"{served.name} makes {lane.spec.dim} dimensions, fewer than {dimensions}.", 422)
    ask = Ask(body.role(), (kind,), None, normalize)
    return await embed(request, served, lane, inputs, ask, truncate=body.cuts(), too_long=TOO_LONG)


async def _similarity(request: Request, body: SimilarityAsked) -> Response:
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    made = await _made(request, texts, body.parameters or Cut(), "dense", None)
    assert made.dense is not None
    return json_answer(plain(cosine(made.dense[:1], made.dense[1:])[0]))


async def _rerank(request: Request, body: RerankAsked) -> Response:
    served, lane = server_of(request).models.reranker(None)
    pairs = [(body.query, text) for text in body.texts]
    raw = await score(request, served, lane, pairs, truncate=body.cuts(), too_long=TOO_LONG)
    scores = raw if body.raw_scores else sigmoid(raw)
    return json_answer([
        {"index": int(i), "score": float(scores[i]), **({"text": body.texts[i]} if body.return_text else {})}
        for i in (-raw).argsort(kind="stable")
    ])


def _read_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None         # the form will say so
