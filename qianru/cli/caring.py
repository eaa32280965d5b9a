"""qianru check, compact, reembed, snapshot, restore: a collection looked after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from qianru.cli.options import CARE, AsJson, collection_path, examples
from qianru.cli.terminal import note, progress, show, show_json

AnyCollection = Annotated[
    Path | None, typer.Argument(metavar="COLLECTION", help="Its folder; else the collection here.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    def add(command: Callable[..., None], *lines: str) -> None:
        app.command(rich_help_panel=CARE, epilog=examples(*lines))(command)

    add(check, "qianru check", "qianru check notes.qianru --repair")
    add(compact, "qianru compact", "qianru compact notes.qianru")
    add(reembed, "qianru reembed notes.qianru --model bm25 --model m3e-base",
        "qianru reembed notes.qianru    [dim]# goes on with what was interrupted[/dim]",
        "qianru reembed notes.qianru --stop")
    add(snapshot, "qianru snapshot notes.qianru notes.tar")
    add(restore, "qianru restore notes.tar copy.qianru")


def check(
    path: AnyCollection = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what can be derived from the documents.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell whether a collection is what was written.

    Reads every document and vector, counts BM25's statistics, compares the search engine with what is stored. The exit
    code is 1 if something is wrong and was not repaired.
    """
    from qianru.errors import CollectionBusy, StorageFailed
    from qianru.index.collection import Collection

    folder = collection_path(path)
    try:
        library = Collection.open(folder)
    except (CollectionBusy, StorageFailed) as error:
        if repair:
            raise
        note(f"{error} The search engine's part is not looked at.")
        library = Collection.open(folder, read_only=True)
    with library, progress("Checking", "documents") as watch:
        found = library.check(repair=repair, progress=watch)
    if as_json:
        show_json({"collection": str(folder), "clean": found.clean, **asdict(found)})
    else:
        for said in found.repaired:
            show(f"repaired: {said}")
        for said in (*found.lost, *found.derived):
            note(f"error: {said}")
        if found.clean:
            show(f"Checked {found.n_documents:,} documents in {folder}: all is as it was written.")
        if found.derived:
            note(f"Make it again: qianru check {folder} --repair")
        if found.lost:
            note("Only a copy has what was there: restore a snapshot, or delete these documents and add them again.")
    if not found.clean:
        raise typer.Exit(1)


def compact(path: AnyCollection = None, as_json: AsJson = False) -> None:
    """Give the room of deleted documents back to the disk, and make the engine's part and its graph anew."""
    from qianru.index.collection import Collection

    folder = collection_path(path)
    with Collection.open(folder) as library, progress("Compacting", "documents") as watch:
        before, after = library.compact(progress=watch)
    if as_json:
        show_json({"collection": str(folder), "bytes_before": before, "bytes_after": after})
    else:
        show(f"{folder} took {before / 1e6:,.1f} MB and takes {after / 1e6:,.1f} MB now.")


def reembed(
    path: AnyCollection = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Its new model, as for index; again for several kinds. None goes on with "
                     "what was interrupted.", show_default=False),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Give up what was interrupted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed a collection with another model beside the old one, and change over at the end.

    Stopped or killed, the collection is as it was, and the same command goes on with what is left.
    """
    from qianru.errors import BadInput
    from qianru.index.collection import Collection

    if stop and model:
        raise BadInput("--stop gives up what was interrupted and takes no --model.")
    folder = collection_path(path)
    facts: dict[str, Any] = {"collection": str(folder)}
    with Collection.open(folder) as library:
        if stop:
            stopped = library.stop_reembedding()
            said = f"{folder} keeps {library.model.spec.name}."
            said = said if stopped else f"Nothing was interrupted. {said}"
            facts["stopped"] = stopped
        else:
            with progress("Embedding", "documents") as watch:
                n = library.reembed(model, progress=watch)
            said = f"{folder} is searched by {library.model.spec.name}; {n:,} documents were embedded."
            facts |= {"model": library.model.spec.name, "n_embedded": n}
    if as_json:
        show_json(facts)
    else:
        show(said)


def snapshot(
    collection: Annotated[Path, typer.Argument(metavar="COLLECTION", help="Its folder.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="A file that does not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Write a collection to one file, as it is at this moment; others may search and change it meanwhile."""
    from qianru.index import snapshot as room

    _tell(room.snapshot(collection, file), f"{file} holds", file, as_json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="What qianru snapshot wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that does not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Make a collection of a snapshot, after every document in it was verified."""
    from qianru.index import snapshot as room

    _tell(room.restore(file, folder), f"{folder} holds", folder, as_json)


def _tell(done: Any, said: str, target: Path, as_json: bool) -> None:
    if as_json:
        show_json({"path": str(target), **done._asdict()})
        return
    show(f"{said} {done.n_documents:,} documents; the file has {done.size_bytes / 1e6:,.1f} MB.")
    if done.named_models:
        note(f"The model {', '.join(done.named_models)} is not in the file; it is named there and needed to search.")
