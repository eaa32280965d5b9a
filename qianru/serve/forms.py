"""Routes without detours, and what OpenAPI is told of their bodies and answers, which asking.asked reads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, GetCoreSchemaHandler
from starlette.requests import Request
from starlette.responses import Response

REFUSALS = {
    400: "What was sent cannot be used; the message says why and what to do.", 401: "A key is needed.",
    403: "Not allowed here.", 404: "No model, collection or document by that name.", 409: "Not now, or not like that.",
    408: "The body came too slowly.", 413: "More than the server takes at once.",
    422: "The body is not what is asked for.", 424: "This server has no model for it.",
    429: "Too much waits; Retry-After says when to ask again.", 500: "The server failed; its log has more.",
    501: "The server lacks a package for it.", 502: "A server that this one asks has failed.",
    503: "The server is stopping.", 504: "It took too long.", 507: "The disk is full, read-only or broken.",
}


def _hasty(schema: Any) -> Any:
    """The schema with every list left at its first error."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_hasty, schema))
    if not isinstance(schema, dict):
        return schema
    hasty = {key: _hasty(one) for key, one in schema.items() if key != "metadata"}
    kept = {"metadata": schema["metadata"]} if "metadata" in schema else {}
    return {**hasty, **kept, **({"fail_fast": True} if schema.get("type") == "list" else {})}


class Form(BaseModel):
    """A body, or a part of one. A list that is wrong is refused by its first wrong item.

    Pydantic would describe each: a list of two million takes it gigabytes and a quarter of a minute.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """What pydantic makes the form's reader of."""
        return _hasty(handler(source))


class Direct(APIRoute):
    """A route that hands the request to its function and the function's answer out, where it takes nothing else.

    FastAPI would look for dependencies and parameters first, which is a third of a short request's time.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls with a request."""
        if list(signature(self.endpoint).parameters) == ["request"]:
            direct: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
            return direct
        return super().get_route_handler()


def takes(form: type[Form]) -> dict[str, Any]:
    """openapi_extra of a route whose body is such a form."""
    schema = form.model_json_schema()
    examples = schema.pop("examples", [])
    content: dict[str, Any] = {"schema": _inlined(schema, schema.pop("$defs", {}))}
    if examples:
        content["examples"] = {f"example{i + 1}": {"value": example} for i, example in enumerate(examples)}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def answers(example: Any, *, status: int = 200, media: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """responses of a route that answers like the example."""
    return {status: {"description": "The answer.", "content": {media: {"example": example}}},
            **{code: {"description": words} for code, words in REFUSALS.items()}}


def _inlined(value: Any, definitions: dict[str, Any]) -> Any:
    """The schema with what it refers to in its place."""
    if isinstance(value, list):
        return [_inlined(one, definitions) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(definitions[value["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(one, definitions) for key, one in value.items()}
