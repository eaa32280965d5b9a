"""The page of the server: its built files (from page/), held in memory and handed out under a strict policy."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from qianru.errors import BadFile

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from starlette.applications import Starlette
    from starlette.requests import Request

TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
FOREVER = "public, max-age=31536000, immutable"     # a file under assets/ has its hash in its name
LEAST_BYTES = 512                                   # below that gzip gains nothing
HEADERS = {
    "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page. packed: the same by gzip, None where that is no smaller"""

    body: bytes
    packed: bytes | None
    type: str
    tag: str
    cache: str


def mount(app: Starlette) -> None:
    """Serves the page at /ui/, to which / leads. Raises BadFile if it has not been built into the package."""
    assets = load()

    async def home(_: Request) -> Response:
        return RedirectResponse("ui/", 302)         # relative, so that it holds behind a proxy's prefix

    async def page(request: Request) -> Response:
        return answer(assets, request.path_params.get("path", ""), request.headers)

    async def add_slash(_: Request) -> Response:
        return RedirectResponse("ui/", 307)

    app.router.routes.extend([
        Route("/", home, methods=["GET"], include_in_schema=False),
        Route("/ui", add_slash, methods=["GET"], include_in_schema=False),
        Route("/ui/{path:path}", page, methods=["GET"], include_in_schema=False),
    ])


def load() -> Mapping[str, Asset]:
    """The page's files by their paths below /ui/; "" is the page itself."""
    folder = files("qianru.serve") / "page"
    if not (folder / "index.html").is_file():
        raise BadFile("The page is not in this installation. Build it with: make page")
    found = {"": _asset(folder / "index.html", "no-cache")}
    for file in (folder / "assets").iterdir():
        if file.name.rpartition(".")[2] in TYPES:
            found[f"assets/{file.name}"] = _asset(file, FOREVER)
    return found


def _asset(file: Traversable, cache: str) -> Asset:
    body = file.read_bytes()
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= LEAST_BYTES else body
    return Asset(body, packed if len(packed) < len(body) else None, TYPES[file.name.rpartition(".")[2]],
                 f'"{sha256(body).hexdigest()[:20]}"', cache)


def answer(assets: Mapping[str, Asset], path: str, asked: Mapping[str, str]) -> Response:
    """The file, packed where the client takes that; 304 where it has it already; 404."""
    asset = assets.get("" if path == "index.html" else path)
    if asset is None:
        return Response("There is no such file. The page is at /ui/\n", 404, HEADERS, "text/plain; charset=utf-8")
    headers = {**HEADERS, "Cache-Control": asset.cache, "ETag": asset.tag, "Vary": "Accept-Encoding"}
    if asset.tag in [tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    if asset.packed is not None and _takes_gzip(asked.get("accept-encoding", "")):
        return Response(asset.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.type)
    return Response(asset.body, headers=headers, media_type=asset.type)


def _takes_gzip(accepted: str) -> bool:
    """Whether gzip is among the codings that a client accepts.

    >>> [_takes_gzip(said) for said in ("gzip, deflate", "br;q=1.0, GZIP;q=0.8", "gzip;q=0", "identity")]
    [True, True, False, False]
    """
    for part in accepted.split(","):
        name, _, quality = part.partition(";")
        if name.strip().lower() == "gzip":
            return quality.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
