"""The application: every dialect's routes behind one guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from qianru import __version__
from qianru.errors import QianruError
from qianru.serve import cohere, health, modelscope, openai, own, tei
from qianru.serve.answers import refusal
from qianru.serve.guard import Guard
from qianru.serve.server import Server

DIALECTS = (health, openai, tei, cohere, modelscope, own)


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
    if (Path(__file__).parent / "page" / "__init__.py").exists():
        import_module("qianru.serve.page").mount(app)
    app.add_exception_handler(QianruError, _refuse)
    app.add_middleware(Guard, server=server)
    if server.options.cors:
        app.add_middleware(CORSMiddleware, allow_origins=server.options.cors, allow_methods=["GET", "POST", "DELETE"],
                           allow_headers=["authorization", "content-type", "x-api-key"], max_age=600)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, QianruError)
    return refusal(error, request.scope["path"])
