"""A small server that keeps the page's contract, for its tests: real collections, made-up models and answers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from qianru.errors import QianruError
from qianru.index.collection import Collection
from qianru.serve.pages import mount
from qianru.types import FloatArray

MODELS = [
    {"id": "字面", "object": "model", "qianru": {"kinds": ["dense", "multi"], "dim": 256, "role": "embedder"}},
    {"id": "字面-大", "object": "model", "qianru": {"kinds": ["dense"], "dim": 512, "role": "embedder"}},
    {"id": "重排", "object": "model", "qianru": {"kinds": [], "role": "reranker"}},
]


def letters(text: str, dim: int = 256) -> FloatArray:
    """(n, dim) one vector a letter, the same for the same letter, so that equal letters answer one another."""
    rows = [np.random.default_rng(ord(letter)).normal(size=dim) for letter in text] or [np.zeros(dim)]
    made = np.asarray(rows)
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)


def whole(texts: list[str], dim: int = 256) -> FloatArray:
    made = np.stack([letters(text, dim).mean(axis=0) for text in texts])
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)


def stand_in(
    collections: Mapping[str, Collection], *, key: str | None = None, maps: Mapping[str, Any] | None = None,
    models: Sequence[Mapping[str, Any]] = MODELS,
) -> FastAPI:
    """The application. maps: name -> what GET …/map answers; a collection without one is worked on for two requests.

    A question with 断 in it is never answered to the end.
    """
    app = FastAPI()
    mount(app)
    asked_for_map: dict[str, int] = {}
    app.state.seen = []

    @app.middleware("http")
    async def locked(request: Request, go_on: Any) -> Any:
        app.state.seen.append(request.url.path)
        open_to_all = request.url.path == "/" or request.url.path.startswith("/ui")
        if key and not open_to_all and request.headers.get("authorization") != f"Bearer {key}":
            return JSONResponse({"error": {"type": "Unauthorized", "message": "A key is needed."}}, 401)
        return await go_on(request)

    @app.exception_handler(QianruError)
    async def refused(_: Request, error: QianruError) -> JSONResponse:
        return JSONResponse({"error": {"type": type(error).__name__, "message": str(error)}}, 400)

    @app.get("/v1/models")
    def every_model() -> Any:
        return {"object": "list", "data": models}

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        n = len(app.state.seen)
        return PlainTextResponse(
            "# HELP qianru_requests_total Requests answered\n# TYPE qianru_requests_total counter\n"
            f'qianru_requests_total{{route="/v1/embeddings",status="200"}} {n}.0\n'
            "# HELP qianru_queue_tokens Tokens that wait\n# TYPE qianru_queue_tokens gauge\nqianru_queue_tokens 128.0\n"
            "# HELP qianru_request_seconds How long\n# TYPE qianru_request_seconds histogram\n"
            f'qianru_request_seconds_bucket{{le="0.01"}} {n}.0\nqianru_request_seconds_bucket{{le="+Inf"}} {n}.0\n'
            f"qianru_request_seconds_count {n}.0\nqianru_request_seconds_sum {n * 0.004}\n")

    @app.get("/collections")
    def every() -> Any:
        return {"collections": [{"name": name, "n_documents": one.count(), "kinds": one.info()["kinds"],
                                 "model": one.model.spec.name, "writable": False} for name, one in collections.items()]}

    @app.post("/collections/{name}/search")
    def search(name: str, asked: dict[str, Any]) -> Any:
        one = collections[name]
        began = time.perf_counter()
        hits = one.search(asked["query"], asked.get("k", 10), where=asked.get("filter"), plan=asked.get("plan"))
        return {"results": [{"query": asked["query"], "took_ms": (time.perf_counter() - began) * 1000, "hits": [
            {"id": hit.id, "text": hit.text, "fields": dict(hit.fields), "score": hit.score, "scores": dict(hit.scores),
             "ranks": dict(hit.ranks), "highlights": one.matches(asked["query"], hit.text)} for hit in hits]}]}

    @app.post("/collections/{name}/explain")
    def explain(name: str, asked: dict[str, Any]) -> Any:
        return collections[name].explain(asked["query"], asked["id"]).to_dict()

    @app.post("/collections/{name}/documents/get")
    def documents(name: str, asked: dict[str, Any]) -> Any:
        found = [collections[name].get(id) for id in asked["ids"]]
        return {"documents": [{"id": one.id, "text": one.text, "fields": dict(one.fields)} for one in found]}

    @app.get("/collections/{name}/map")
    def drawn(name: str, limit: int = 50_000) -> Any:
        asked_for_map[name] = asked_for_map.get(name, 0) + 1
        if asked_for_map[name] < 3:
            return JSONResponse({"state": "working", "progress": asked_for_map[name] / 3}, 202, {"Retry-After": "0"})
        if maps is not None and name in maps:
            return maps[name]
        from qianru.use.map import map_of

        return map_of(collections[name], limit).to_dict()

    @app.post("/v1/similarity")
    def similarity(asked: dict[str, Any]) -> Any:
        made = whole(asked["texts"])
        if asked.get("kind") == "sparse":
            return JSONResponse({"error": {"type": "BadInput", "message": "字面 makes no sparse vectors."}}, 400)
        return {"matrix": (made @ made.T).round(5).tolist(), "texts": asked["texts"], "metric": asked["metric"]}

    @app.post("/v1/align")
    def align(asked: dict[str, Any]) -> Any:
        matrix = letters(asked["query"]) @ letters(asked["passage"]).T
        return {"query_tokens": list(asked["query"]), "passage_tokens": list(asked["passage"]),
                "matrix": matrix.round(5).tolist(), "best": matrix.argmax(axis=1).tolist(),
                "score": float(matrix.max(axis=1).mean())}

    @app.post("/v1/score")
    def score(asked: dict[str, Any]) -> Any:
        dim = 64 if asked["model"] == "字面" else 512
        values = whole([asked["text_1"]], dim) @ whole(asked["text_2"], dim).T
        return {"data": [{"index": i, "object": "score", "score": float(value)} for i, value in enumerate(values[0])]}

    @app.post("/collections/{name}/ask")
    async def ask(name: str, asked: dict[str, Any]) -> StreamingResponse:
        hits = collections[name].search(asked["question"], 3)
        passages = [{"number": i, "id": hit.id, "text": hit.text, "source": None, "line": None}
                    for i, hit in enumerate(hits, 1)]
        text = f"答：𠮷人如是说 [1]。还有人说 [9]。<b>{len(asked.get('history', []))}</b>"
        places = [(text.index(mark), mark) for mark in ("[1]", "[9]")]

        async def told() -> AsyncIterator[str]:
            def line(event: str, data: object) -> str:
                return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"

            yield line("passages", {"passages": passages})
            if "断" in asked["question"]:
                yield line("error", {"type": "ServerFailed", "message": "chat.example answers 500."})
                return
            for start in range(0, len(text), 5):
                await asyncio.sleep(0.01)
                yield line("text", {"text": text[start : start + 5]})
            yield line("done", {"extractive": False, "citations": [
                {"number": int(mark[1]), "start": at, "end": at + len(mark), "resolved": mark == "[1]"}
                for at, mark in places]})

        return StreamingResponse(told(), media_type="text/event-stream")

    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of the application, which runs in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
