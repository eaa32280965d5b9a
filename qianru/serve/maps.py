"""The map of a collection: every document a point, clusters with their words."""

from __future__ import annotations

import gzip

import orjson
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from qianru.serve.answers import json_answer
from qianru.serve.asking import aside
from qianru.serve.collections import ask, shelf_of
from qianru.serve.forms import Direct, answers
from qianru.serve.server import server_of
from qianru.use.map import LIMIT, Map, Working

router = APIRouter(tags=["Collections"], route_class=Direct)
AGAIN_S = 1
PACKED_BYTES = 4096         # from here on gzip is worth its time
LEVEL = 4


@router.get("/collections/{name}/map", responses={
    202: {"description": "It is being drawn; ask again after Retry-After seconds.",
          "content": {"application/json": {"example": {"state": "working", "progress": 0.4}}}},
    **answers({"points": "base64 of float32 (n, 2)", "clusters": "base64 of int16 (n,)", "ids": ["民法典#577"],
               "titles": ["当事人一方…"], "n_documents": 1260,
               "labels": [{"cluster": 0, "words": ["合同"], "x": 0.1, "y": 0.2, "size": 31}]})})
async def map_(request: Request, name: str, limit: int = Query(LIMIT, ge=1, le=LIMIT)) -> Response:
    """The map, or how far it has come. It is kept until the collection changes."""
    server, opened = server_of(request), shelf_of(request).get(name)
    found: Map | Working = await ask(request, opened, lambda: server.maps.ask(name, opened.library, limit))
    if isinstance(found, Working):
        return json_answer({"state": found.state, "progress": found.progress}, 202, {"retry-after": str(AGAIN_S)})
    packs = "gzip" in request.headers.get("accept-encoding", "")

    def written() -> tuple[bytes, bool]:
        body = orjson.dumps(found.to_dict())
        return (gzip.compress(body, LEVEL), True) if packs and len(body) > PACKED_BYTES else (body, False)

    body, packed = await aside(request, written)
    return Response(body, media_type="application/json", headers={
        "vary": "accept-encoding", **({"content-encoding": "gzip"} if packed else {})})
