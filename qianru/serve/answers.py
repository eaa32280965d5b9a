"""How answers are written: arrays as JSON without a detour, and errors in the words of the dialect that was spoken."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from qianru.errors import (
    BadInput,
    CollectionBusy,
    CollectionError,
    MissingExtra,
    NotFitted,
    QianruError,
    RequestRefused,
    ServerFailed,
    StorageFailed,
    UnknownName,
)
from qianru.types import FloatArray, Ragged, SparseRows

TEI = frozenset({"/", "/embed", "/embed_all", "/embed_sparse", "/similarity", "/rerank", "/tokenize", "/info"})
COHERE = frozenset({"/v1/rerank", "/v2/rerank"})
OPENAI = frozenset({"/v1/embeddings", "/v1/models", "/v1/score"})
STATUSES: tuple[tuple[type[QianruError], int], ...] = (     # the first that fits
    (UnknownName, 404), (CollectionBusy, 409), (StorageFailed, 507), (ServerFailed, 502), (CollectionError, 409),
    (NotFitted, 409), (MissingExtra, 501), (BadInput, 400),
)
OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
TEI_TYPES = {401: "unauthorized", 404: "validation", 413: "validation", 422: "validation", 400: "validation",
             424: "backend", 429: "overloaded", 503: "unhealthy", 504: "unhealthy"}
PIECE = 1 << 15     # numbers and letters, written in a millisecond
GONE = 499          # nginx's number for a client that did not wait


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Any value of plain types and NumPy arrays as JSON."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, headers,
                    media_type="application/json")


def pieces(value: Any) -> Iterator[bytes]:
    """The same, or what an iterator gives, in pieces: the writer holds Python's lock until it has written one.

    >>> b"".join(pieces({"月": [1, np.eye(2)]})).decode()
    '{"月":[1,[[1.0,0.0],[0.0,1.0]]]}'
    """
    if _weight(value) <= PIECE or not isinstance(value, dict | list | Iterator | np.ndarray):
        yield orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    elif isinstance(value, dict):
        for i, (key, one) in enumerate(value.items()):
            yield (b"," if i else b"{") + orjson.dumps(key) + b":"
            yield from pieces(one)
        yield b"}"
    elif isinstance(value, list | Iterator):
        i = -1
        for i, one in enumerate(value):
            yield b"," if i else b"["
            yield from pieces(one)
        yield b"]" if i >= 0 else b"[]"
    else:
        n = max(1, PIECE * len(value) // value.size)
        for start in range(0, len(value), n):
            rows = orjson.dumps(value[start : start + n], option=orjson.OPT_SERIALIZE_NUMPY)
            yield (b"," if start else b"[") + rows[1:-1]
        yield b"]"


def _weight(value: Any) -> int:
    """How many numbers and letters it holds, or more than a piece may."""
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Iterator):
        return PIECE + 1
    if not isinstance(value, dict | list):
        return 1
    n = len(value)
    for one in value.values() if isinstance(value, dict) else value:
        if n > PIECE:
            break
        n += _weight(one)
    return n


def status_of(error: QianruError) -> int:
    """The status that an error answers with."""
    if isinstance(error, RequestRefused):
        return error.status
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def refusal(error: QianruError, path: str, message: str | None = None) -> Response:
    """The answer to a request that ends in an error, in the dialect of its path. message: in place of the error's"""
    status, message = status_of(error), message or str(error)
    headers = {}
    if isinstance(error, RequestRefused) and error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    kind = type(error).__name__
    if path in OPENAI:
        type_ = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        return json_answer({"error": {"message": message, "type": type_, "param": None, "code": kind}}, status, headers)
    if path in TEI:
        return json_answer({"error": message, "error_type": TEI_TYPES.get(status, "backend")}, status, headers)
    if path in COHERE:
        return json_answer({"message": message}, status, headers)
    return json_answer({"error": {"type": kind, "message": message}}, status, headers)


def in_base64(array: FloatArray) -> str:
    """Its numbers as float32, little-endian, row by row."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def plain(array: FloatArray) -> FloatArray:
    """The array as the JSON writer takes it, without a copy where it is so already."""
    return np.ascontiguousarray(array, np.float32)


def sparse_rows(sparse: SparseRows) -> list[dict[str, Any]]:
    """Each row as {"indices": […], "values": […]}."""
    return [{"indices": np.ascontiguousarray(terms, np.int64), "values": plain(weights)} for terms, weights in sparse]


def matrices(multi: Ragged) -> list[FloatArray]:
    """The matrix of each text."""
    return [plain(multi.row(i)) for i in range(len(multi))]
