"""Is it there, does it take requests, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from qianru.serve.answers import json_answer
from qianru.serve.forms import Direct, answers
from qianru.serve.server import server_of

router = APIRouter(tags=["Operating"], route_class=Direct)


@router.get("/health", responses=answers({"status": "ok"}))
async def health(request: Request) -> Response:
    """Whether the process answers. Needs no key."""
    return json_answer({"status": "ok"})


@router.get("/ready", responses=answers({"status": "ready"}))
async def ready(request: Request) -> Response:
    """Whether it takes requests: 503 while it starts or stops. Needs no key."""
    there = server_of(request).ready
    return json_answer({"status": "ready" if there else "not ready"}, 200 if there else 503)


@router.get("/metrics", responses=answers("qianru_queue_tokens 0.0", media="text/plain"))
async def metrics(request: Request) -> Response:
    """Queue, batches, latencies and counts, for Prometheus."""
    return Response(server_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
