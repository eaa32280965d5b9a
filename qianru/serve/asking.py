"""From a request to its vectors or scores: read it, let it wait its turn, give up in time, or when nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from qianru.errors import RequestRefused
from qianru.serve.answers import PIECE, pieces
from qianru.serve.bodies import Parts, most_parts, parts
from qianru.serve.bounds import check_count
from qianru.serve.forms import Form
from qianru.serve.lanes import Ask, Embedder, PairScorer, Read
from qianru.serve.line import Job
from qianru.serve.models import Served
from qianru.serve.options import Limits
from qianru.serve.server import Note, Server, note_of, server_of
from qianru.types import Embeddings, FloatArray

MANY_ERRORS = 1000      # of one body: beyond them none is described, since pydantic describes all or none
SOON_CHARS = 4000       # or token ids, read at once; a thread's turn would take longer than that
T = TypeVar("T")
M = TypeVar("M", bound=Form)
Input = str | list[str] | list[int] | list[list[int]]


class ClientGone(Exception):
    """The client has left; there is nobody to answer."""


async def asked(request: Request, form: type[M], status: int = 422) -> M:
    """The body of a request as the form says. Raises RequestRefused for a body that is something else.

    status: that the dialect answers with
    """
    body = await body_of(request)
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise RequestRefused(_words_of(error), status) from None


async def body_of(request: Request) -> bytes:
    """The body. Raises RequestRefused for one of so many parts that reading it would hold up everyone."""
    body, limits = await request.body(), server_of(request).limits
    if not _few(most_parts(body), limits):
        found = await aside(request, lambda: parts(body))
        if not _few(found, limits):
            server_of(request).metrics.refused.labels("body").inc()
            raise RequestRefused(
                f"The body has {found.lists:,} lists and objects, {found.names:,} named values and up to "
                f"{found.values:,} values in all; the server reads {limits.body_lists:,}, {limits.body_names:,} and "
                f"{limits.body_values:,} (--limit body_lists=N, body_names=N, body_values=N). Send them in several "
                "requests.", 413)
    return body


def _few(found: Parts, limits: Limits) -> bool:
    return all(n <= most for n, most in zip(found, (limits.body_lists, limits.body_names, limits.body_values),
                                            strict=True))


def _words_of(error: ValidationError) -> str:
    """What is wrong with a body, in one line. Its words are never repeated."""
    if error.error_count() > MANY_ERRORS:
        return f"The body is not what is asked for, in {error.error_count():,} places."
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return f"The body is no JSON that can be read: {first['msg'].removeprefix('Invalid JSON: ')}."
    if not first["loc"]:
        return f"The body is not what is asked for: {first['msg']}."
    place = ".".join(str(part)[:60] for part in first["loc"])
    more = f" ({error.error_count() - 1} more like it.)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg'].removeprefix('Value error, ')}.{more}"


async def embed(
    request: Request, served: Served, lane: Embedder, input: Input, ask: Ask, *, truncate: bool, too_long: int = 400
) -> Embeddings:
    """The vectors of the texts, or of the token ids, of a request.

    truncate: whether texts that are too long are cut; else they are refused with the status too_long
    """
    server, note = server_of(request), note_of(request)
    ask = lane.ask(ask)
    texts = [input] if isinstance(input, str) or (input and isinstance(input[0], int)) else input
    check_count(server.limits, len(texts), "texts")
    if isinstance(texts[0], str):
        read = await _read(server, lambda: lane.read(texts, ask), sum(map(len, texts)))  # type: ignore[arg-type]
    else:
        read = await _read(server, lambda: lane.read_ids(texts, ask), sum(map(len, texts)))  # type: ignore[arg-type]
    _note_read(server, note, served, read, truncate, too_long)
    made: Embeddings = await computed(request, served, read)
    _count(server, note, served, len(made), int(made.n_tokens.sum()))
    if made.n_truncated and not truncate:
        raise _too_long(served, int(made.n_tokens.max()), too_long)
    return made


async def score(
    request: Request, served: Served, lane: PairScorer, pairs: Sequence[tuple[str, str]], *, truncate: bool,
    too_long: int = 400,
) -> FloatArray:
    """(n,) scores of the pairs of a request."""
    server, note = server_of(request), note_of(request)
    check_count(server.limits, len(pairs), "pairs")
    read = await _read(server, lambda: lane.read(pairs), sum(len(a) + len(b) for a, b in pairs))
    _note_read(server, note, served, read, truncate, too_long)
    made: FloatArray = await computed(request, served, read)
    _count(server, note, served, len(made), int(read.sizes.sum()))
    return made


async def computed(request: Request, served: Served, read: Read) -> Any:
    """What the lane makes of what was read. Raises RequestRefused when it takes too long, ClientGone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Job] = loop.create_future()

    def settle(job: Job) -> None:
        if not future.done():
            future.set_result(job)

    def on_done(job: Job) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, job)

    job = Job(served.lane, read, on_done)
    try:
        served.worker.line.put(job)
    except RequestRefused as error:
        server_of(request).metrics.refused.labels("queue" if error.status == 429 else str(error.status)).inc()
        raise
    try:
        await waited(request, future)
    except BaseException:
        job.dropped = True
        raise
    if job.error is not None:
        raise job.error
    return job.result


async def waited(request: Request, work: Awaitable[T]) -> T:
    """What the work gives, unless it takes longer than the server allows or the client leaves.

    Raises RequestRefused with 504, ClientGone.
    """
    server = server_of(request)
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        done, _ = await asyncio.wait({working, watching}, timeout=server.limits.request_s,
                                     return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})       # or a generator that it is inside could not be closed yet
    if working in done:
        return working.result()
    if watching in done:
        server.metrics.refused.labels("gone").inc()
        raise ClientGone
    server.metrics.refused.labels("time").inc()
    raise RequestRefused(f"No answer within {server.limits.request_s:g} seconds. Ask again in a while, or send fewer "
                         "texts.", 504, 5)


async def _gone(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def aside(request: Request, work: Callable[[], T], pool: Executor | None = None) -> T:
    """What the work gives, done in a thread, so that others are answered meanwhile; finished even if nobody waits.

    pool: whose threads; else those that read and write
    """
    doing = asyncio.get_running_loop().run_in_executor(pool or server_of(request).readers, work)
    return await asyncio.shield(doing)


async def sized(request: Request, n: int, work: Callable[[], T]) -> T:
    """What the work gives: in a thread if it is about more than a few numbers or letters."""
    return work() if n <= PIECE else await aside(request, work)


async def answered(request: Request, n: int, make: Callable[[], Any]) -> Response:
    """What make gives, as JSON; a large answer is made and written in a thread, so that others are answered meanwhile.

    n: numbers or letters that it holds
    """
    body = await sized(request, n, lambda: b"".join(pieces(make())))
    return Response(body, media_type="application/json")


async def _read(server: Server, read: Callable[[], Read], n: int) -> Read:
    if n <= SOON_CHARS:
        return read()
    return await asyncio.get_running_loop().run_in_executor(server.readers, read)


def numbers_of(made: Embeddings) -> int:
    """How many numbers the vectors hold."""
    arrays = [made.dense, *(ragged.data for ragged in (made.multi, made.tokens) if ragged is not None)]
    sparse = 0 if made.sparse is None else 2 * made.sparse.terms.size
    return sparse + sum(array.size for array in arrays if array is not None)


def _note_read(server: Server, note: Note, served: Served, read: Read, truncate: bool, too_long: int) -> None:
    note.model, note.n_texts = served.name, note.n_texts + len(read.items)
    if read.n_cut:
        if not truncate:
            raise _too_long(served, read.longest, too_long)
        note.n_truncated += read.n_cut
        server.metrics.truncated.labels(served.name).inc(read.n_cut)


def _count(server: Server, note: Note, served: Served, n_texts: int, n_tokens: int) -> None:
    note.n_tokens += n_tokens
    server.metrics.texts.labels(served.name).inc(n_texts)
    server.metrics.tokens.labels(served.name).inc(n_tokens)


def _too_long(served: Served, longest: int, status: int) -> RequestRefused:
    return RequestRefused(f"{served.name} reads {served.spec.max_tokens} tokens, special ones among them, and the "
                          f"longest text has {longest}. Shorten it, or have it cut: \"truncate\": true.", status)
