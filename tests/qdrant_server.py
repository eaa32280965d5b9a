"""A stand-in for a Qdrant server: its HTTP interface over the client library's memory; it misbehaves when told to.

It shows that requests are well-formed and what happens when they fail; not how a real server searches.
"""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel
from qdrant_client import QdrantClient
from qdrant_client.http import models
from servers import Quiet, Trick


class QdrantServer:
    """tricks: what to do instead, each once, in order, for requests whose "METHOD /path" contains the key
    lost: how many answers to such requests get lost after the work was done
    asked: every "METHOD /path";  keys: the api-key of each
    """

    def __init__(self) -> None:
        self.url = ""
        self.memory = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.alone = threading.Lock()
        self.tricks: dict[str, list[Trick]] = {}
        self.lost: dict[str, int] = {}
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        self.made: dict[str, dict[str, Any]] = {}       # what each collection was made with
        self.schemas: dict[str, dict[str, Any]] = {}

    def handler(self) -> type[Quiet]:
        server = self

        class Handler(Quiet):
            def do_GET(self) -> None:
                server.answer(self)

            do_PUT = do_POST = do_DELETE = do_GET

        return Handler

    def answer(self, request: Quiet) -> None:
        path = urlsplit(request.path).path
        what = f"{request.command} {path}"
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"] or 0)) or b"null")
        with self.alone:
            self.asked.append(what)
            self.keys.append(request.headers["api-key"])
            trick = next((tricks.pop(0) for key, tricks in self.tricks.items() if key in what and tricks), None)
        if trick is not None and trick(request):
            return
        parts = [unquote(part) for part in path.strip("/").split("/")]
        with self.alone:
            if not self.memory.collection_exists(parts[1]) and (request.command, len(parts)) != ("PUT", 2) \
                    and parts[-1] != "exists":
                request.send_json({"status": {"error": f"Not found: Collection `{parts[1]}` doesn't exist!"}}, 404)
                return
            result = self._routes(request.command, parts[1], "/".join(parts[2:]), body)
            lose = next((key for key, n in self.lost.items() if key in what and n), None)
            if lose is not None:
                self.lost[lose] -= 1
        if lose is not None:
            request.close_connection = True
            return
        request.send_json({"result": _plain(result), "status": "ok", "time": 0.001})

    def _routes(self, method: str, name: str, rest: str, body: Any) -> Any:
        memory = self.memory
        done = {"operation_id": 1, "status": "completed"}
        match method, rest:
            case "GET", "exists":
                return {"exists": memory.collection_exists(name)}
            case "PUT", "":
                told = models.CreateCollection.model_validate(body)
                memory.create_collection(name, vectors_config=told.vectors, sparse_vectors_config=told.sparse_vectors)
                self.schemas[name], self.made[name] = {}, body
                return True
            case "DELETE", "":
                return memory.delete_collection(name)
            case "GET", "":
                info = _plain(memory.get_collection(name))
                info["payload_schema"] = {key: {"data_type": "keyword", "points": 0} for key in self.schemas[name]}
                return info
            case "PUT", "index":
                self.schemas[name][body["field_name"]] = body["field_schema"]
                return done
            case "PUT", "points":
                told = models.PointsList.model_validate(body)
                memory.upsert(name, told.points, update_filter=told.update_filter)
                return done
            case "POST", "points/delete":
                memory.delete(name, models.PointIdsList.model_validate(body))
                return done
            case "POST", "points":
                return memory.retrieve(name, body["ids"], with_payload=body.get("with_payload", True),
                                       with_vectors=body.get("with_vector", False))
            case "POST", "points/scroll":
                told = models.ScrollRequest.model_validate(body)
                points, offset = memory.scroll(
                    name, told.filter, told.limit or 10, told.order_by, told.offset,
                    with_payload=told.with_payload is None or told.with_payload, with_vectors=told.with_vector or False)
                return {"points": [_plain(point) for point in points], "next_page_offset": offset}
            case "POST", "points/count":
                return memory.count(name, models.CountRequest.model_validate(body).filter)
            case "POST", "facet":
                told = models.FacetRequest.model_validate(body)
                return memory.facet(name, told.key, told.filter, told.limit or 10)
            case "POST", "points/query/batch":
                requests = models.QueryRequestBatch.model_validate(body).searches
                plain = [request.model_copy(update={"params": None}) for request in requests]
                return memory.query_batch_points(name, plain)
            case "POST", "points/payload":
                told = models.SetPayload.model_validate(body)
                memory.set_payload(name, told.payload, models.FilterSelector(filter=told.filter) if told.filter
                                   else told.points)
                return done
            case "PUT", "points/vectors":
                told = models.UpdateVectors.model_validate(body)
                memory.update_vectors(name, told.points, update_filter=told.update_filter)
                return done
        raise AssertionError(f"The stand-in has no {method} {rest}")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
