"""Before every route: keys, sizes, origins, how many are in the house. After it: metrics and a line in the log.

Plain ASGI, since Starlette's middleware classes would copy every body and answer through a task of their own.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qianru.errors import QianruError, RequestRefused
from qianru.serve.answers import GONE, refusal
from qianru.serve.asking import ClientGone
from qianru.serve.options import is_loopback
from qianru.serve.server import Note, Server

OPEN = frozenset({"/", "/ui", "/health", "/ready"})        # tell nothing; with the page, whose files hold no data
PAGE = "/ui/"
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_ID = re.compile(rb"[\w-]{1,64}")
LINGER_S = 0.5      # where the line is full: clients that ask again at once would leave the models no processor
log = logging.getLogger("qianru.serve")


class Guard:
    """Stands before the application of a server."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self.app, self.server = app, server
        options = server.options
        self._local = not server.keys.wanted and not options.open and is_loopback(options.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        note = Note(given.decode() if _ID.fullmatch(given) else secrets.token_hex(8))
        scope["qianru.note"] = note
        visit = _Visit(self.server, note, receive, send)
        self.server.n_requests += 1
        try:
            await self._check(scope, headers, note)
            await self.app(scope, visit.receive, visit.send)
        except QianruError as error:
            await visit.refuse(error, scope)
        except (ClientGone, ClientDisconnect):
            visit.status = GONE
        except Exception as error:
            log.exception("A route failed.", extra={"facts": {"id": note.id}})
            if visit.status:
                raise           # half an answer is out; the connection must break
            await visit.refuse(RequestRefused(f"The server failed ({type(error).__name__}); its log has more under "
                                              f"{note.id}.", 500), scope)
        finally:
            self.server.n_requests -= 1
            self.server.held_bytes -= visit.n_bytes
            self._tell(scope, note, visit.status or GONE, time.perf_counter() - begun)

    async def _check(self, scope: Scope, headers: dict[bytes, bytes], note: Note) -> None:
        """Raises RequestRefused for a request that no route should see."""
        server, path = self.server, scope["path"]
        is_open = scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(PAGE))
        self._check_origin(headers)
        if server.keys.wanted and not is_open:
            note.key = server.keys.name_of(_key(headers))
            if note.key is None:
                server.metrics.refused.labels("key").inc()
                raise RequestRefused("A key is needed, as Authorization: Bearer KEY or x-api-key: KEY. None was sent, "
                                     "or one that is not known here.", 401)
        if not is_open and server.n_requests > server.limits.requests:
            server.metrics.refused.labels("requests").inc()
            raise RequestRefused(f"{server.limits.requests:,} requests are being answered already. Ask again in a "
                                 "while.", 429, 1)
        if scope["method"] == "POST":
            try:
                server.models.local.line.refuse_if_full()
            except RequestRefused:
                server.metrics.refused.labels("queue").inc()
                await asyncio.sleep(LINGER_S)
                raise
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > server.limits.body_bytes:
            server.metrics.refused.labels("body").inc()
            raise _too_large(server)

    def _check_origin(self, headers: dict[bytes, bytes]) -> None:
        """A page of another site, in the browser of somebody on this machine, is nobody that we know."""
        options = self.server.options
        origin, host = headers.get(b"origin"), headers.get(b"host", b"").decode("latin-1")
        if origin is not None:
            said = origin.decode("latin-1")
            if said.partition("://")[2] != host and said not in options.cors and "*" not in options.cors:
                raise RequestRefused("Pages of other sites may not ask this server. Allow theirs with --cors ORIGIN.",
                                     403)
        if self._local:
            name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
            if host and name.strip("[]") not in LOCAL and name not in options.hosts:
                raise RequestRefused(f"This server is called localhost, not {name[:80]!r}. Allow the name with "
                                     "--host-name NAME, or serve with --keys FILE.", 403)

    def _tell(self, scope: Scope, note: Note, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or ("page" if scope["path"].startswith(PAGE) else "none")
        metrics = self.server.metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if log.isEnabledFor(logging.INFO):
            facts = {"id": note.id, "method": scope["method"], "route": route, "status": status,
                     "ms": round(seconds * 1e3, 2)}
            for name in ("key", "model", "n_texts", "n_tokens", "n_truncated"):
                if value := getattr(note, name):
                    facts[name] = value
            log.info("request", extra={"facts": facts})


class _Visit:
    """One request's way in and out. n_bytes: of the body so far;  status: once the answer has begun"""

    def __init__(self, server: Server, note: Note, receive: Receive, send: Send) -> None:
        self.server, self.note = server, note
        self.status, self.n_bytes = 0, 0
        self._receive, self._send = receive, send
        self._until: float | None = None
        self._whole = False

    async def receive(self) -> Message:
        """The next part of the body; RequestRefused as soon as there is too much of it, or it comes too slowly."""
        if self._whole:
            return await self._receive()
        limits = self.server.limits
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + limits.body_s
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise RequestRefused(f"The body did not come within {limits.body_s:g} seconds. Send it faster.",
                                 408) from None
        size = len(message.get("body", b""))
        self.n_bytes += size
        self.server.held_bytes += size
        self._whole = not message.get("more_body", False)
        if self.n_bytes > limits.body_bytes:
            self.server.metrics.refused.labels("body").inc()
            raise _too_large(self.server)
        if self.server.held_bytes > limits.bodies_bytes:
            self.server.metrics.refused.labels("bodies").inc()
            raise RequestRefused("Other requests' bodies fill the memory that the server has for them. Ask again in a "
                                 "while.", 429, 1)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = [(b"x-request-id", self.note.id.encode()), (b"x-content-type-options", b"nosniff")]
            if self.note.n_truncated:
                extra.append((b"x-truncated-texts", str(self.note.n_truncated).encode()))
            message["headers"] = [*message.get("headers", []), *extra]
        await self._send(message)

    async def refuse(self, error: QianruError, scope: Scope) -> None:
        """Answers with an error."""
        await refusal(error, scope["path"])(scope, self._receive, self.send)


def _too_large(server: Server) -> RequestRefused:
    return RequestRefused(f"The body has more than {server.limits.body_bytes:,} bytes (--limit "
                          "body_bytes=N). Send fewer texts at once.", 413)


def _key(headers: dict[bytes, bytes]) -> str:
    kind, _, key = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer":
        return key.strip().decode("latin-1")
    return headers.get(b"x-api-key", b"").strip().decode("latin-1")
