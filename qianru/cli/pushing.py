"""qianru push: a collection copied to a server, or from there into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qianru.cli.options import CARE, AsJson, examples, open_to_read
from qianru.cli.terminal import note, progress, show, show_json

if TYPE_CHECKING:
    from qianru.types import Progress

STEPS = {"copied": "Copying", "verified": "Verifying"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel=CARE, epilog=examples(
        "qianru push notes.qianru qdrant://localhost/notes",
        "qianru push notes.qianru https://db.example/notes --shards 6 --replicas 2",
        "qianru push qdrant://localhost/notes copy.qianru    [dim]# and back[/dim]",
    ))(push)


def push(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A collection: a folder, or qdrant://host:6333/name.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Likewise; made if it is not there.")],
    shards: Annotated[
        int | None, typer.Option(min=1, help="Of a new collection on a server.", show_default=False)
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Of each shard of a new collection.")] = 1,
    on_disk: Annotated[
        bool, typer.Option("--on-disk", help="A new collection's full vectors are read from the server's disk.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a collection to a Qdrant server or back.

    Nothing is embedded again. Stopped, the same command goes on; at the end every document is read back and compared.
    The key, if the server asks for one, is read from QIANRU_QDRANT_API_KEY.
    """
    from qianru.index import push as room
    from qianru.index.cluster_points import ClusterOptions

    options = ClusterOptions(shards=shards, replicas=replicas, on_disk=on_disk)
    with (open_to_read(Path(source)) as here, room.place_for(here, target, options=options) as there, _bars() as watch):
        done = room.push(here, there, progress=watch)
    if as_json:
        show_json(asdict(done))
        return
    show(f"{done.verified:,} documents in {target}: {done.copied:,} copied, {done.unchanged:,} there already; "
         "every one read back and equal.")
    if done.others:
        note(f"{target} holds {done.others:,} more documents, which are not in {source}. They stay.")


@contextmanager
def _bars() -> Iterator[Callable[[str], Progress]]:
    """One progress bar after the other."""
    with ExitStack() as shown:
        def next_bar(step: str) -> Progress:
            shown.close()
            return shown.enter_context(progress(STEPS[step], "documents"))

        yield next_bar
