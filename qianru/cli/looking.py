"""qianru info, list, get, count: what a collection or a model holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import columns, one_line
from qianru.cli.options import (
    CARE,
    AsJson,
    CollectionPath,
    Where,
    collection_path,
    examples,
    note_unknown_fields,
    open_to_read,
)
from qianru.cli.terminal import show, show_json

if TYPE_CHECKING:
    from qianru.types import Document

LISTED = 72       # characters of each text


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    def add(name: str, command: Callable[..., None], *lines: str) -> None:
        app.command(name, rich_help_panel=CARE, epilog=examples(*lines))(command)

    add("info", info, "qianru info", "qianru info novels.qianru", "qianru info word2vec-folder")
    add("list", listing, "qianru list --where 'line < 20' -n 5", "qianru list --json | jq .id")
    add("get", get, "qianru get notes/faq.md#3")
    add("count", count, "qianru count --where 'path ^= \"notes/\"'")


def info(
    path: Annotated[
        Path | None, typer.Argument(metavar="COLLECTION|MODEL", help="A folder; else the collection here.",
                                    show_default=False)
    ] = None,
    collection: CollectionPath = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a collection or a saved model is."""
    from qianru.index.home import DATABASE

    folder = path or collection_path(collection)
    if path is not None and path.is_dir() and not (path / DATABASE).exists():
        facts = model_facts(path)
    else:
        with open_to_read(folder, to_search=False) as library:
            facts = library.info()
    if as_json:
        show_json(facts)
    else:
        show_facts(facts)


def model_facts(folder: Path) -> dict[str, Any]:
    """What the model in the folder is."""
    from qianru.models import load

    spec = load(str(folder)).spec
    facts = {"path": str(folder), "model": spec.name, "family": spec.family, "kinds": list(spec.kinds),
             "dim": spec.dim, "max_tokens": spec.max_tokens, "fingerprint": spec.fingerprint}
    return {name: value for name, value in facts.items() if value is not None}


def show_facts(facts: Mapping[str, Any]) -> None:
    """Prints names and values, one a line."""
    from rich.text import Text

    told = {name.removeprefix("n_").removesuffix("_bytes").replace("_", " "): _told(name, value)
            for name, value in facts.items() if value is not None}
    width = max(map(columns, told), default=0)
    for name, value in told.items():
        show(Text.assemble((name + " " * (width - columns(name)), "cyan"), f"  {value}"))


def _told(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{part} {_told(name, of_it)}" for part, of_it in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name.endswith("_bytes"):
        return f"{value / 1e6:,.1f} MB"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else one_line(str(value))


def listing(
    where: Where = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over.")] = 0,
    collection: CollectionPath = None,
    as_json: AsJson = False,
) -> None:
    """List documents in the order of first adding.

    With --json one a line.
    """
    with open_to_read(collection, to_search=False) as library:
        documents = library.documents(where, limit, offset)
        for document in documents:
            if as_json:
                show_json(_document_json(document))
            else:
                text = one_line(document.text)
                show(f"{one_line(document.id)}\t{text[:LISTED]}{'…' if len(text) > LISTED else ''}")
        if not documents:
            note_unknown_fields(library, where)


def get(
    id: Annotated[str, typer.Argument(metavar="ID", help="As search and list show it.")],
    collection: CollectionPath = None,
    as_json: AsJson = False,
) -> None:
    """Print one document."""
    with open_to_read(collection, to_search=False) as library:
        document = library.get(id)
    if as_json:
        show_json(_document_json(document))
    else:
        show_facts({"id": document.id} | {name: json.dumps(value, ensure_ascii=False) for name, value in
                                          document.fields.items()})
        show("", "\n".join(map(one_line, document.text.splitlines())))


def count(where: Where = None, collection: CollectionPath = None, as_json: AsJson = False) -> None:
    """Count documents."""
    with open_to_read(collection, to_search=False) as library:
        n = library.count(where)
        if not n:
            note_unknown_fields(library, where)
    if as_json:
        show_json({"count": n})
    else:
        show(str(n))


def _document_json(document: Document) -> dict[str, Any]:
    return {"id": document.id, "text": document.text, "fields": dict(document.fields)}
