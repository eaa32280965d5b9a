"""The application: every dialect's routes behind one guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from qianru import __version__
from qianru.errors import QianruError, RequestRefused
from qianru.serve import ask, cohere, collections, health, maps, modelscope, openai, own, pages, tei
from qianru.serve.answers import refusal
from qianru.serve.guard import Guard
from qianru.serve.server import Server, server_of

DIALECTS = (openai, health, tei, cohere, modelscope, own, collections, ask, maps)


def build(server: Server) -> FastAPI:
    """The application of a server, whose models are loaded. Its start and stop are the server's."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        server.stop()

    app = FastAPI(
        title="Qianru 嵌入", version=__version__, lifespan=life, docs_url=None, redoc_url=None,
        summary="Text embeddings, reranking and search: OpenAI's, TEI's, Cohere's and ModelScope's routes, and our own",
    )
    app.state.server = server
    for dialect in DIALECTS:
        app.include_router(dialect.router)
    pages.mount(app)
    app.add_exception_handler(QianruError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_path)
    app.add_exception_handler(RequestValidationError, _refuse_parameter)
    app.add_middleware(Guard, server=server)
    if server.options.cors:
        app.add_middleware(CORSMiddleware, allow_origins=server.options.cors, allow_methods=["GET", "POST", "DELETE"],
                           allow_headers=["authorization", "content-type", "x-api-key"], max_age=600)
    return app


async def _refuse_path(request: Request, error: Exception) -> Response:
    """For paths and methods that there are not."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    words = f"{error.detail}: {request.method} {path[:120]}. What there is stands in /openapi.json."
    answer = refusal(RequestRefused(words, error.status_code), path)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _refuse_parameter(request: Request, error: Exception) -> Response:
    """For a parameter in the address that is none."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return refusal(RequestRefused(f"{first['loc'][-1]}: {first['msg']}.", 422), request.scope["path"])


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, QianruError)
    return refusal(error, request.scope["path"], server_of(request).shelf.without_places(str(error)))
