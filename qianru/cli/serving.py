"""qianru serve and keys: the server, and who may ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qianru.cli.options import AsJson, examples
from qianru.cli.terminal import note, show, show_json
from qianru.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from qianru.runtime.options import Runtime
    from qianru.serve.options import Limits

SERVE = "Serve"         # the help page's panel of commands
SAFETY = "Who may ask"
RUNNING = "How models run"
KeyFile = Annotated[Path, typer.Option("--keys", metavar="FILE", help="The file of hashed keys.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel=SERVE, epilog=examples(
        "qianru serve m3e-base",
        "qianru serve m3e-base bge-reranker-base .qianru --precision int8",
        "qianru serve text-embedding-3-small=m3e-base --port 9000",
        "qianru serve bge-m3 --host 0.0.0.0 --keys keys.txt --collections shelf --allow-write",
        "qianru serve m3e-base --limit texts=512 --limit request_s=20",
    ))(serve)
    keys = typer.Typer(no_args_is_help=True, help="Make, list and take back the keys that a server asks for.")
    keys.command("new", epilog=examples("qianru keys new laptop --keys keys.txt"))(new_key)
    keys.command("list", epilog=examples("qianru keys list --keys keys.txt"))(list_keys)
    keys.command("remove", epilog=examples("qianru keys remove laptop --keys keys.txt"))(remove_key)
    app.add_typer(keys, name="keys", rich_help_panel=SERVE)


def serve(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL|COLLECTION...", show_default=False,
                                         help="Models by name or folder, NAME=MODEL for another name; collections.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535)] = 8000,
    collections: Annotated[
        Path | None, typer.Option(metavar="FOLDER", show_default=False,
                                  help="Serve the collections in it, and make new ones there.")
    ] = None,
    allow_write: Annotated[
        bool, typer.Option("--allow-write", help="Let requests create, change and delete collections.")
    ] = False,
    chat_url: Annotated[
        str | None, typer.Option(metavar="URL", show_default=False,
                                 help="Endpoint of a chat model that writes answers; else $QIANRU_CHAT_URL.")
    ] = None,
    chat_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name there; else $QIANRU_CHAT_MODEL.", show_default=False)
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, rich_help_panel=SAFETY,
                                  help="Ask for keys, whose hashes this file holds; also $QIANRU_API_KEYS.")
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open", help="Answer anybody without a key, from anywhere.", rich_help_panel=SAFETY)
    ] = False,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", show_default=False, rich_help_panel=SAFETY,
                                       help="Pages of this site may ask, e.g. https://example.org.")
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", show_default=False, rich_help_panel=SAFETY,
                                       help="What a local server without keys is called besides localhost.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N", show_default=False, rich_help_panel=SAFETY,
                                       help="One of the limits in docs/serving.md, e.g. texts=512.")
    ] = None,
    stop_s: Annotated[float, typer.Option(min=0, help="To finish what it has taken.", rich_help_panel=SAFETY)] = 30.0,
    precision: Annotated[
        str | None, typer.Option(metavar="float32|bfloat16|int8", show_default=False, rich_help_panel=RUNNING,
                                 help="Of transformers; else bfloat16 where the processor has it.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor; else all.", show_default=False, rich_help_panel=RUNNING)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="That transformers read of a text.", show_default=False,
                                 rich_help_panel=RUNNING)
    ] = None,
) -> None:
    """Serve models and collections over HTTP: OpenAI's, TEI's, Cohere's and ModelScope's routes, and a page."""
    from qianru.serve import keys as keyring, run
    from qianru.serve.options import Options
    from qianru.use.ask.chat import Chat

    options = Options(host, port, tuple(host_name or ()), open_to_all, allow_write, collections, tuple(cors or ()),
                      stop_s, limits_of(limit or ()))
    known = keyring.from_environment(keys)
    server = run.made(names or (), options, known, _runtime(precision, threads, max_tokens),
                      Chat.from_environment(chat_url, chat_model))
    if known.wanted and not len(known):
        note(f"{keys} holds no key yet, so nobody is let in. Make one: qianru keys new NAME --keys {keys}")
    note(f"Serving {', '.join(one.name for one in (*server.models, *server.shelf))} at http://{host}:{port}")
    run.serve(server)


def limits_of(given: Sequence[str]) -> Limits:
    """The limits with those changed that are given.

    >>> limits_of(["texts=16", "request_s=2.5"]).request_s
    2.5
    """
    from qianru.serve.options import Limits

    usual = Limits()
    known = {one.name: type(getattr(usual, one.name)) for one in fields(Limits)}
    changed: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            raise UnknownName("limit", name, known)
        try:
            changed[name] = known[name](value)
        except ValueError:
            whole = "a whole number" if known[name] is int else "a number"
            raise BadInput(f"{name} is {whole} such as {getattr(usual, name):g}, not {value!r}.") from None
    return Limits(**changed)  # type: ignore[arg-type]   # each of its own type, as above


def new_key(name: Annotated[str, typer.Argument(help="Whose it is.")], keys: KeyFile) -> None:
    """Make a key: it is printed once, and the file keeps its hash."""
    from qianru.serve.keys import add_key

    key = add_key(keys, name)
    note(f"The key of {name}. It is shown this once; {keys} holds its hash. A running server knows it in a second.")
    show(key)


def list_keys(keys: KeyFile, as_json: AsJson = False) -> None:
    """List whose keys there are."""
    from qianru.serve.keys import read_keys

    names = list(read_keys(keys).values())
    if as_json:
        show_json({"keys": names})
    else:
        show(*names)


def remove_key(name: Annotated[str, typer.Argument(help="Whose it was.")], keys: KeyFile) -> None:
    """Take a key back: a running server refuses it within a second."""
    from qianru.serve.keys import remove_key as removed

    removed(keys, name)
    note(f"{name} has no key any more.")


def _runtime(precision: str | None, threads: int | None, max_tokens: int | None) -> Runtime | None:
    if (precision, threads, max_tokens) == (None, None, None):
        return None
    from qianru.runtime.options import Runtime

    return Runtime(precision or "auto", threads=threads, max_tokens=max_tokens)  # type: ignore[arg-type]   # it checks
