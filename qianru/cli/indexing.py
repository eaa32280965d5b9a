"""qianru index, rebuild, delete: what changes a collection."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.cutting import OwnWords, StopWords, UserWords, own_words, search_model
from qianru.cli.layout import one_line
from qianru.cli.options import CARE, AsJson, CollectionPath, Encoding, collection_path, examples
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput, QianruError

if TYPE_CHECKING:
    from qianru.index.collection import Collection
    from qianru.index.folder import FolderReport
    from qianru.models.base import Model

PROBLEMS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=examples(
        "qianru index notes",
        "qianru index novels/*.txt --collection novels.qianru",
        "qianru index shop.csv --text-columns title,description --user-words products.txt",
        "qianru index notes --model bm25 --model qianru-zh-mini --plan hybrid    [dim]# words and meaning[/dim]",
    ))(index)
    app.command(rich_help_panel=CARE, epilog=examples("qianru rebuild"))(rebuild)
    app.command(rich_help_panel=CARE, epilog=examples("qianru delete notes/old.md#1 notes/old.md#2"))(delete)


def index(
    paths: Annotated[list[Path], typer.Argument(metavar="FOLDER|FILE", help="What to read; folders as a whole.")],
    collection: CollectionPath = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="bm25|FOLDER", help="How to make vectors (bm25). Twice: joined.",
                     show_default=False),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="NAME|JSON", help="How it is searched from now on, e.g. hybrid (see search).",
                                 show_default=False)
    ] = None,
    user_words: UserWords = None,
    stop_words: StopWords = "",
    text_columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns of CSV and JSON lines that hold the text.")
    ] = None,
    max_chars: Annotated[int, typer.Option(min=1, help="Characters of a passage at most.")] = 300,
    overlap: Annotated[int, typer.Option(min=0, help="Sentences that a passage repeats from the one before.")] = 1,
    encoding: Encoding = None,
    prune: Annotated[bool, typer.Option("--prune", help="Also remove the passages of files that are gone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read documents into a collection; again, only what changed."""
    from qianru.index.address import address_of
    from qianru.index.folder import Reading, add_folder

    path = collection_path(collection)
    columns = tuple(name.strip() for name in text_columns.split(",")) if text_columns else None
    reading = Reading(columns, max_chars, overlap, encoding)
    new = not path.exists()
    try:
        words = own_words(user_words, stop_words)
        check_inputs(paths, encoding, new)
        with open_or_create(path, model, words) as library:
            if plan is not None:
                library.set_plan(plan)
            with progress("Indexing", "MB", 1e6) as watch:
                report = add_folder(library, paths, reading, prune=prune, progress=watch)
            n_passages = library.count()
            if any(astuple(replace(report.passages, unchanged=0))):
                with progress("Preparing search", "passages") as watch:
                    library.prepare(progress=watch)
    except QianruError:
        if new:
            leave_none_empty(path)
        raise
    except KeyboardInterrupt:
        note(f"Stopped. What was stored in {path} stays and can be searched; the same command goes on from there.")
        raise
    where = address_of(path) or path
    if as_json:
        show_json(report_json(report, where, n_passages))
    else:
        show_report(report, where, n_passages, prune)


def check_inputs(paths: Sequence[Path], encoding: str | None, new: bool) -> None:
    """Raises where nothing can come of it; where the collection is new, so that none is left behind empty."""
    from qianru.text.decode import find_encoding
    from qianru.text.read import scan

    if encoding is not None:
        find_encoding(encoding)
    for path in paths if new else ():
        scan(path)


def leave_none_empty(path: Path) -> None:
    """Removes a collection that has just been made if nothing went in: the next attempt may want another model."""
    from qianru.index.collection import Collection
    from qianru.index.home import DATABASE

    if (path / DATABASE).exists():
        with Collection.open(path, read_only=True) as library:
            empty = not library.count()
        if empty:
            shutil.rmtree(path)


def open_or_create(path: Path, names: list[str] | None, words: OwnWords) -> Collection:
    """The collection there, checked to be made with that model if one is named; a new one where there is none."""
    from qianru.index.address import address_of
    from qianru.index.cluster_opening import is_there
    from qianru.index.collection import Collection
    from qianru.index.home import DATABASE

    named = names is not None or any(words)
    address = address_of(path)
    if (path / DATABASE).exists() if address is None else is_there(address):
        return Collection.open(path, model=chosen_model(names or ["bm25"], words) if named else None)
    check_own_words(names or ["bm25"], words)
    # by their names, so that a large model need not be copied
    return Collection.create(path, [search_model(words) if name == "bm25" else name for name in names or ["bm25"]])


def chosen_model(names: Sequence[str], words: OwnWords) -> Model:
    """The model by that name or folder; several are joined, e.g. one of sparse and one of dense vectors."""
    from qianru.models import load
    from qianru.models.joined import JoinedModel

    check_own_words(names, words)
    models = [search_model(words) if name == "bm25" else load(name) for name in names]
    return models[0] if len(models) == 1 else JoinedModel(models)


def check_own_words(names: Sequence[str], words: OwnWords) -> None:
    """Raises BadInput for own words where no model takes them."""
    if any(words) and "bm25" not in names:
        raise BadInput("--user-words and --stop-words are for bm25; any other model has its own since qianru fit.")


def report_json(report: FolderReport, path: Path | str, n_passages: int) -> dict[str, Any]:
    """The report as JSON knows it."""
    passages = report.passages
    return {
        "collection": str(path),
        "n_passages": n_passages,
        "n_files_read": report.n_files,
        "n_files_unchanged": report.n_same,
        "n_files_unread": report.n_unread,
        "n_bytes_read": report.n_bytes,
        "added": passages.added,
        "updated": passages.updated,
        "unchanged": passages.unchanged,
        "removed": passages.removed,
        "vanished": report.vanished,
        "problems": [str(problem) for problem in report.problems],
    }


def show_report(report: FolderReport, path: Path | str, n_passages: int, prune: bool) -> None:
    """Prints what was done; the problems and what to do about them go to stderr."""
    for problem in report.problems[:PROBLEMS_SHOWN]:
        note(f"warning: {one_line(str(problem))}")
    if len(report.problems) > PROBLEMS_SHOWN:
        note(f"warning: and {len(report.problems) - PROBLEMS_SHOWN:,} more; --json lists all")
    if report.vanished and not prune:
        note(f"{len(report.vanished):,} files of earlier times are gone; --prune removes their passages.")
    passages = report.passages
    changes = {"added": passages.added, "updated": passages.updated, "unchanged": passages.unchanged,
               "removed": passages.removed}
    told = ", ".join(f"{n:,} {what}" for what, n in changes.items() if n) or "nothing new"
    read = f"{report.n_files:,} {'file' if report.n_files == 1 else 'files'} read"
    read += f", {report.n_same:,} as before" if report.n_same else ""
    read += f", {report.n_unread:,} not readable" if report.n_unread else ""
    show(f"{read}; passages: {told}; {path} holds {n_passages:,}")


def rebuild(collection: CollectionPath = None, as_json: AsJson = False) -> None:
    """Check every document and make the engine's part anew."""
    from qianru.index.collection import Collection

    path = collection_path(collection)
    with Collection.open(path) as library, progress("Rebuilding", "documents") as report:
        n = library.rebuild(progress=report)
    if as_json:
        show_json({"collection": str(path), "n_documents": n})
    else:
        show(f"Checked {n:,} documents in {path} and made their index anew.")


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="As search and list show them.")],
    collection: CollectionPath = None,
    as_json: AsJson = False,
) -> None:
    """Remove documents by id."""
    from qianru.index.collection import Collection

    with Collection.open(collection_path(collection)) as library:
        n = library.delete(ids)
    if as_json:
        show_json({"deleted": n})
    else:
        show(f"Deleted {n:,} of {len(ids):,} documents.")
