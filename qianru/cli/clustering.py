"""qianru cluster: what texts are about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import counted, one_line
from qianru.cli.options import (
    GROUPS,
    AsJson,
    CollectionPath,
    Encoding,
    IdColumn,
    TextColumns,
    Where,
    collection_path,
    examples,
    note_unknown_fields,
    open_to_read,
)
from qianru.cli.reading import check_apart, named_texts
from qianru.cli.terminal import note, progress, show_json, stdout
from qianru.errors import BadInput

if TYPE_CHECKING:
    from qianru.use.cluster import Clustering
    from qianru.use.material import Material

CENTRAL_CHARS = 60


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel=GROUPS, epilog=examples(
        "qianru cluster reviews.csv --plot reviews.html -o clusters.csv",
        "qianru cluster -c notes.qianru --clusters 12",
        "qianru cluster questions.txt -m m3e-base --method hdbscan --min-size 10 --json",
    ))(cluster)


def cluster(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE|FOLDER", show_default=False,
                                          help="Lines, rows or passages; or a collection.")
    ] = None,
    collection: CollectionPath = None,
    where: Where = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FOLDER", show_default=False,
                                 help="How to make vectors; else words and our own model.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Vectors of the same texts, by qianru embed.",
                                  show_default=False)
    ] = None,
    clusters: Annotated[
        int | None, typer.Option("--clusters", "-n", min=1, help="How many; chosen by silhouette when not given.",
                                 show_default=False)
    ] = None,
    method: Annotated[str, typer.Option(metavar="kmeans|hdbscan", help="How to find them.")] = "kmeans",
    min_size: Annotated[
        int | None, typer.Option(min=2, help="Of HDBSCAN: texts of the smallest cluster; else 1 %.",
                                 show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The cluster of each text: .csv or .jsonl.",
                                  show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a map: .html, .png, .svg or .pdf.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at random.")] = 0,
    text_columns: TextColumns = None,
    id_column: IdColumn = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Put texts in clusters; tell each by its words and its most central texts.

    Texts are lines of .txt, rows of tables, passages of other files, or the documents of a collection,
    whose vectors are taken as they are.
    """
    from qianru.index.home import is_collection
    from qianru.use.cluster import cluster as cluster_texts
    from qianru.use.plot import picture_path
    from qianru.use.writing import check_table

    check_table(output, "Clusters")
    if plot is not None:
        picture_path(plot, page=True)
    if files and len(files) == 1 and collection is None and is_collection(files[0]):
        collection, files = files[0], None
    if files and (collection is not None or where is not None):
        raise BadInput("Give files or a collection, not both; --where is for collections.")
    if not files and (model, vectors, text_columns, id_column, encoding) != (None,) * 5:
        raise BadInput("A collection's texts and vectors are taken as they are: --model, --vectors, --text-columns, "
                       "--id and --encoding are for files. Name some, or leave these out.")
    check_apart([*(files or [collection_path(collection)]), *([] if vectors is None else [vectors])], output, plot)
    material = _of_collection(collection, where) if not files else \
        _of_files(files, model, vectors, text_columns, id_column, encoding)
    with progress("Clustering", "steps") as watch:
        found = cluster_texts(material.views, material.texts, method=method,      # type: ignore[arg-type]   # checks
                              k=clusters, min_size=min_size, seed=seed, progress=watch)
    if output is not None:
        _write(found, material, output)
    if plot is not None:
        from qianru.use.cluster.page import draw_clusters

        draw_clusters(found, material.views, material.texts, plot, seed=seed)
    if as_json:
        show_json({"model": material.model, "criterion": found.criterion, "tried": dict(found.tried),
                   "n_texts": len(material.texts), "n_in_none": int((found.labels < 0).sum()),
                   "clusters": [_told(found, i, material) for i in range(found.k)]})
    else:
        _show(found, material)
    for path, done in ((output, "Written"), (plot, "Drawn")):
        if path is not None:
            note(f"{done} to {path}")


def _of_collection(collection: Path | None, where: str | None) -> Material:
    from qianru.index.home import is_collection
    from qianru.use.material import from_collection

    if collection is None and not is_collection(collection_path(None)):
        raise BadInput("Name files, a folder or a collection: qianru cluster reviews.csv. There is no collection at "
                       f"{collection_path(None)} either.")
    library = open_to_read(collection, to_search=False)
    with library:
        try:
            with progress("Reading", "documents") as watch:
                return from_collection(library, where, progress=watch)
        except BadInput:                # nothing passes the filter, perhaps for a misspelt field
            note_unknown_fields(library, where)
            raise


def _of_files(
    files: Sequence[Path], model: str | None, vectors: Path | None, text_columns: str | None, id_column: str | None,
    encoding: str | None,
) -> Material:
    from qianru.models import load
    from qianru.use.material import from_folder, from_texts

    named = named_texts(files, text_columns, id_column, encoding)
    if vectors is not None:
        if model is not None:
            raise BadInput("Give a model or vectors that were made by one, not both.")
        return from_folder(named, vectors)
    with progress("Embedding", "texts") as watch:
        return from_texts(named, None if model is None else load(model), progress=watch)


def _write(found: Clustering, material: Material, path: Path) -> None:
    from qianru.use.writing import write_table

    names = found.names
    header = ("id", "cluster", "name", "closeness", "text")
    rows = ((id, label + 1 if label >= 0 else None, names[label] if label >= 0 else None,
             round(close, 4) if label >= 0 else None, text)
            for id, label, close, text in zip(material.ids, found.labels.tolist(), found.closeness.tolist(),
                                              material.texts, strict=True))
    write_table(path, header, rows)


def _told(found: Clustering, i: int, material: Material) -> dict[str, Any]:
    return {"cluster": i + 1, "size": int(found.sizes[i]), "words": list(found.words[i]),
            "central": [{"id": material.ids[row], "text": material.texts[row]} for row in found.central[i]]}


def _show(found: Clustering, material: Material) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name, justify in (("", "right"), ("texts", "right"), ("words", "left"), ("most central text", "left")):
        table.add_column(name, justify=justify)      # type: ignore[arg-type]
    for i in range(found.k):
        central = one_line(material.texts[found.central[i][0]])
        table.add_row(str(i + 1), f"{found.sizes[i]:,}", Text(" ".join(found.words[i])),
                      Text(central[:CENTRAL_CHARS] + "…" * (len(central) > CENTRAL_CHARS)))
    stdout().print(table)
    alone = int((found.labels < 0).sum())
    note(f"{counted(len(material.texts), 'text')}, {counted(found.k, 'cluster')} ({found.criterion}) by "
         f"{material.model}" + (f"; {counted(alone, 'text')} in none" if alone else ""))
