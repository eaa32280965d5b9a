"""The process: models are loaded, the address is checked, uvicorn runs until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qianru.errors import BadInput, ServerFailed, require
from qianru.models import load
from qianru.runtime.pages import keep_few_heaps
from qianru.serve.keys import Keys
from qianru.serve.options import Options, check_address

if TYPE_CHECKING:
    from fastapi import FastAPI

    from qianru.runtime.options import Runtime
    from qianru.serve.server import Server
    from qianru.use.ask.chat import Chat

SWITCH_S = 0.001        # Python's threads change places: 5 ms by default, longer than a short query takes
BACKLOG = 2048
PRIMITIVES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
N_PRIMITIVES = "64"     # torch keeps 1,024 of each sort by default, one for each number of tokens: a GB before it stops


def made(
    named: Sequence[str], options: Options, keys: Keys, runtime: Runtime | None = None, chat: Chat | None = None
) -> Server:
    """A server of the models that are named, loaded but not started.

    named: each NAME=PLACE or a place: for qianru.load, or of a collection
    chat: the model that writes answers from collections
    Raises BadInput for an address that is open to all without keys, ServerFailed for one where it cannot listen, and
    what loading raises.
    """
    require("fastapi", "serve", "Serving")
    for variable in PRIMITIVES:
        os.environ.setdefault(variable, N_PRIMITIVES)
    if "MALLOC_ARENA_MAX" not in os.environ:        # the C library's own name for it
        keep_few_heaps()
    check_address(options, keys.wanted)
    check_free(options.host, options.port)
    from qianru.index.home import is_collection
    from qianru.serve.models import Given, Models
    from qianru.serve.server import Server
    from qianru.serve.shelf import HIDDEN

    models = Models(options.limits)
    every = list(map(Given.parse, named))
    libraries = [given for given in every if is_collection(given.place)]
    for given in every:
        if is_collection(inside := Path(given.place) / HIDDEN):
            raise BadInput(f"{given.place} is no collection, but holds one: serve {inside}.")
        if given not in libraries:
            models.add(given.name, _loaded(given.place, runtime), given.place)
    server = Server(options, keys, models)
    for given in libraries:
        server.shelf.add(given.place, None if given.named_by_place else given.name)
    server.shelf.add_all()
    server.chat = chat
    if options.collections and not options.collections.is_dir() and not options.allow_write:
        raise BadInput(f"There is no folder {options.collections}. Make it, or let requests make it: "
                       "--allow-write.")
    if not len(models) and not len(server.shelf) and not (options.collections and options.allow_write):
        raise BadInput("There is nothing to serve. Name a model, a collection, or a folder of collections.")
    return server


def check_free(host: str, port: int) -> None:
    """Raises ServerFailed where nothing can listen: asked before models are loaded, which may take a minute."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)     # as asyncio does
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        raise ServerFailed(f"The server cannot start at {host}:{port}: {error.strerror or error}. Choose another "
                           "--port or --host, or stop what listens there.") from None


def serve(server: Server) -> None:
    """Runs the server until SIGTERM or Ctrl-C; then finishes what it has taken.

    Raises ServerFailed where it cannot start, as where the port has been taken meanwhile; the log has said why.
    """
    uvicorn = require("uvicorn", "serve", "Serving")
    from qianru.serve.app import build
    from qianru.serve.logs import log_as_json

    log_as_json()
    require("prometheus_client", "serve", "Serving").disable_created_metrics()
    sys.setswitchinterval(SWITCH_S)
    signal.signal(signal.SIGTERM, lambda number, frame: None)      # uvicorn raises it again when it has stopped
    try:
        uvicorn.Server(settings(build(server), server.options)).run()
    except SystemExit:          # uvicorn's way; the command line takes it for a reader that has gone, and answers 0
        raise ServerFailed(f"The server cannot start at {server.options.host}:{server.options.port}; the log says why. "
                           "If that is in use, choose another --port.") from None


def settings(app: FastAPI, options: Options) -> Any:
    """How uvicorn runs the application."""
    uvicorn = require("uvicorn", "serve", "Serving")
    return uvicorn.Config(
        app, host=options.host, port=options.port, log_config=None, access_log=False, server_header=False,
        backlog=BACKLOG, timeout_keep_alive=65, timeout_graceful_shutdown=int(options.stop_s), ws="none",
    )


def _loaded(place: str, runtime: Runtime | None) -> Any:
    """The model; the runtime is for those that it can be said of."""
    try:
        try:
            return load(place, runtime)
        except BadInput:
            if runtime is None:
                raise
            return load(place)
    except BadInput as error:
        if not Path(place).is_dir():
            raise
        raise BadInput(f"{error} Nor is it a collection.") from error
