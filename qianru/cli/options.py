"""Options that several commands share, and the one place where the environment is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qianru.index.collection import Collection
    from qianru.runtime.options import Runtime

CARE, GROUPS = "Look after a collection", "Group texts"      # the help page's panels of commands
DEFAULT_COLLECTION = ".qianru"
COLLECTION_VARIABLE = "QIANRU_COLLECTION"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Where = Annotated[
    str | None,
    typer.Option("--where", "-w", help="Only documents whose fields pass: path ^= \"notes/\" and line > 10"),
]
TextColumns = Annotated[
    str | None, typer.Option(metavar="A,B", help="Columns of tables that hold the text.", show_default=False)]
IdColumn = Annotated[
    str | None, typer.Option("--id", metavar="COLUMN", help="What names a row; else file:line.", show_default=False)]
ItemName = Annotated[
    str | None, typer.Option("--name", "-n", metavar="COLUMN", show_default=False,
                             help="What names an item: name, title, id or the first column.")
]
Encoding = Annotated[str | None, typer.Option(help="Of text files; recognised when not given.", show_default=False)]
Precision = Annotated[
    str | None, typer.Option(metavar="float32|bfloat16|int8", show_default=False,
                             help="Of a transformer; else bfloat16 where the processor has it.")
]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Cut texts after so many; else after what the model was made for.",
                             show_default=False)
]
CollectionPath = Annotated[
    Path | None,
    typer.Option(
        "--collection", "-c",
        help=f"Folder of the collection; else ${COLLECTION_VARIABLE}, else {DEFAULT_COLLECTION}.",
        show_default=False,
    ),
]


def runtime_of(precision: str | None, max_tokens: int | None, truncate_dim: int | None = None) -> Runtime | None:
    """How to run a transformer; None if nothing was asked for, for other models take no such wishes."""
    from qianru.runtime.options import Runtime

    if (precision, max_tokens, truncate_dim) == (None, None, None):
        return None
    return Runtime(precision or "auto", max_tokens=max_tokens, truncate_dim=truncate_dim)   # type: ignore[arg-type]


def collection_path(given: Path | None) -> Path:
    """The collection to use: as given, else as the environment says, else .qianru here."""
    return given or Path(os.environ.get(COLLECTION_VARIABLE) or DEFAULT_COLLECTION)


def open_to_read(given: Path | None, *, to_search: bool = True) -> Collection:
    """The collection with its engine; read-only where another process is writing or the folder allows no more.

    to_search: False for what the documents alone can tell, which needs neither the engine nor the right to write
    """
    from qianru.cli.terminal import note
    from qianru.errors import CollectionBusy, StorageFailed
    from qianru.index.collection import Collection

    path = collection_path(given)
    if not to_search:
        return Collection.open(path, read_only=True)
    try:
        return Collection.open(path)
    except CollectionBusy:
        note(f"{path} is in use by another program; reading what is stored so far.")
    except StorageFailed:
        note(f"{path} cannot be written; reading it as it is.")
    return Collection.open(path, read_only=True)


def note_unknown_fields(library: Collection, where: str | None) -> None:
    """Tells of fields in a filter that no document has, where nothing has passed it."""
    from qianru.cli.terminal import note
    from qianru.errors import UnknownName
    from qianru.index.filter import Filter, field_names

    if where is None:
        return
    known = library.fields()
    for name in sorted(field_names(Filter.parse(where)) - set(known)):
        note(f"warning: {UnknownName('field', name, known)}")


def examples(*lines: str) -> str:
    """The examples at the end of a help page."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  [dim]$[/dim] {line}" for line in lines)])
