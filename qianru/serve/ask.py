"""Questions answered from a collection: as a stream of events while the answer is written, or as a whole."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import asdict
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qianru.errors import QianruError, RequestRefused
from qianru.serve.answers import json_answer
from qianru.serve.asking import asked, waited
from qianru.serve.bounds import check_chars, check_k
from qianru.serve.collections import shelf_of
from qianru.serve.forms import Direct, Form, answers, takes
from qianru.serve.server import Server, note_of, server_of
from qianru.use.ask.events import Done, Event, Passages, Text
from qianru.use.ask.knowledge import BUDGET, N_FOUND, KnowledgeBase

router = APIRouter(tags=["Collections"], route_class=Direct)
MOST_TOKENS = 100_000       # of the passages for one answer
log = logging.getLogger("qianru.serve")


class Said(Form):
    """What was said before."""

    role: Literal["user", "assistant"]
    content: str


class QuestionAsked(Form):
    """A question to a collection."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"question": "违约怎么赔？", "stream": False}]})

    question: str = Field(min_length=1)
    history: list[Said] = Field(default=[], max_length=100)
    stream: bool = True
    k: int = Field(N_FOUND, ge=1, description="Passages that are looked at.")
    budget: int = Field(BUDGET, ge=1, le=MOST_TOKENS, description="Tokens of them that the answer is made from.")


@router.post("/collections/{name}/ask", openapi_extra=takes(QuestionAsked), responses=answers(
    {"text": "应当承担违约责任[1]。", "citations": [{"number": 1, "start": 8, "end": 11, "resolved": True}],
     "passages": [{"number": 1, "id": "民法典#577", "text": "当事人一方…", "source": "民法典#577", "line": None}],
     "extractive": True}))
async def ask(request: Request, name: str) -> Response:
    """An answer with citations, by the server's chat model, or of the passages' own sentences if it has none.

    As a stream (text/event-stream): event passages, then text as it comes, then done with the citations; or error.
    """
    body = await asked(request, QuestionAsked)
    server, opened = server_of(request), shelf_of(request).get(name)
    check_k(server.limits, "k", body.k)
    for question in (body.question, *(said.content for said in body.history if said.role == "user")):
        check_chars(server.limits, "question", question)
    note_of(request).n_texts = 1
    base = KnowledgeBase(opened.library, server.chat, budget=body.budget, k=body.k)
    events = _told(server, base, body)
    try:
        first = await waited(request, anext(events))        # what cannot be answered is no stream yet
    except BaseException:
        await events.aclose()
        raise
    if body.stream:
        return StreamingResponse(_streamed(server, first, events), media_type="text/event-stream",
                                 headers={"cache-control": "no-store", "x-accel-buffering": "no"})
    whole: dict[str, Any] = {"text": ""}
    try:
        await waited(request, _gathered(whole, first, events))
    finally:
        await events.aclose()
    return json_answer(whole)


async def _gathered(whole: dict[str, Any], first: Event, events: AsyncIterator[Event]) -> None:
    _add(whole, first)
    async for event in events:
        _add(whole, event)


def _add(whole: dict[str, Any], event: Event) -> None:
    if isinstance(event, Text):
        whole["text"] += event.text
    else:
        whole.update(asdict(event))


async def _streamed(server: Server, first: Event, events: Any) -> AsyncIterator[bytes]:
    try:
        yield _line(first)
        async for event in events:
            yield _line(event)
    except QianruError as error:
        yield _written("error", {"message": server.shelf.without_places(str(error)), "type": type(error).__name__})
    finally:
        await events.aclose()


def _line(event: Event) -> bytes:
    name = {Passages: "passages", Text: "text", Done: "done"}[type(event)]
    return _written(name, asdict(event))


def _written(name: str, value: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"


async def _told(server: Server, base: KnowledgeBase, body: QuestionAsked) -> Any:
    """The events of an answer, which a thread of its own writes; it stops when nobody listens any more."""
    if server.n_answers >= server.limits.answers:
        server.metrics.refused.labels("answers").inc()
        raise RequestRefused(f"{server.limits.answers} answers are being written already. Ask again in a while.", 429,
                             2)
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
    stopped = threading.Event()

    def put(event: Event | BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, event)

    def finish() -> None:
        server.n_answers -= 1

    def write() -> None:
        try:
            with closing(base.stream(body.question, [said.model_dump() for said in body.history])) as written:
                for event in written:
                    put(event)
                    if stopped.is_set():
                        return
            put(None)
        except Exception as error:
            put(error)
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish)

    server.n_answers += 1
    threading.Thread(target=write, name="qianru-answer", daemon=True).start()
    try:
        while (event := await queue.get()) is not None:
            if isinstance(event, QianruError):
                raise event
            if isinstance(event, BaseException):
                log.error("An answer failed.", exc_info=event)
                raise RequestRefused(f"The answer failed ({type(event).__name__}); the server's log has more.", 500)
            yield event
    finally:
        stopped.set()
