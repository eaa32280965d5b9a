"""qianru cluster and dedup: what texts are about, and which say the same twice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import counted, one_line
from qianru.cli.options import AsJson, CollectionPath, Encoding, Where, examples, open_to_read
from qianru.cli.reading import check_apart, names_in, sources, streamed, told_problems
from qianru.cli.terminal import note, progress, show, show_json, stdout
from qianru.errors import BadInput

if TYPE_CHECKING:
    from qianru.text.read import Source
    from qianru.use.cluster import Clustering
    from qianru.use.duplicates import DedupReport
    from qianru.use.material import Material

GROUPS = "Group texts"            # the help page's panel of commands
CENTRAL_CHARS = 60

TextColumns = Annotated[
    str | None, typer.Option(metavar="A,B", help="Columns of tables that hold the text.", show_default=False)]
IdColumn = Annotated[
    str | None, typer.Option("--id", metavar="COLUMN", help="What names a row; else file:line.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel=GROUPS, epilog=examples(
        "qianru cluster reviews.csv --plot reviews.html -o clusters.csv",
        "qianru cluster -c notes.qianru --clusters 12",
        "qianru cluster questions.txt -m m3e-base --method hdbscan --min-size 10 --json",
    ))(cluster)
    app.command(rich_help_panel=GROUPS, epilog=examples(
        "qianru dedup reviews.jsonl -o kept.jsonl --groups groups.jsonl",
        "qianru dedup news.csv -o kept.csv --keep largest --by published",
        "qianru dedup *.txt -o kept.txt --labelled pairs.jsonl --precision 0.99",
    ))(dedup)


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
    check_apart(files or (), output, plot)
    if files and len(files) == 1 and collection is None and is_collection(files[0]):
        collection, files = files[0], None
    if files and (collection is not None or where is not None):
        raise BadInput("Give files or a collection, not both; --where is for collections.")
    if not files and (model, vectors, text_columns, id_column, encoding) != (None,) * 5:
        raise BadInput("A collection's texts and vectors are taken as they are: --model, --vectors, --text-columns, "
                       "--id and --encoding are for files. Name some, or leave these out.")
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


def dedup(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE|COLLECTION", help="Lines of .txt; rows of tables; documents.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="What is kept: .jsonl, .csv or .txt.")
    ],
    groups: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Also write each group with its similarities.",
                                  show_default=False)
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Similarity of near-duplicates, above 0.5; 0.8 when not given.",
                                   show_default=False)
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(metavar="PAIRS.jsonl", show_default=False,
                                  help='Lines with "left", "right" and "same" to learn the threshold from.')
    ] = None,
    precision: Annotated[float, typer.Option(help="Wanted share of right pairs, with --labelled.")] = 0.98,
    keep: Annotated[str, typer.Option(metavar="first|last|longest|largest", help="Which text of a group stays.")] =
    "first",
    by: Annotated[
        str | None, typer.Option(metavar="FIELD", help="What largest goes by, such as a date.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False,
                                  help="Draw the similarities (.png, .svg, .pdf) or the groups (.html).")
    ] = None,
    text_columns: TextColumns = None,
    id_column: IdColumn = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Drop near-duplicates: edited, reordered or shortened copies, and those in other signs or script.

    Every pair above the threshold is found. Files of any size; stopped, the same command goes on where it was.
    """
    from qianru.use.duplicates import THRESHOLD, DedupPlan, deduplicate
    from qianru.use.duplicates.labelled import learnt_threshold
    from qianru.use.duplicates.page import check_picture, draw_duplicates

    if labelled is not None and threshold is not None:
        raise BadInput("Give a threshold or labelled pairs to learn it from, not both.")
    if plot is not None:
        check_picture(plot, groups)
    check_apart(files, output, groups, plot)
    learnt = None if labelled is None else learnt_threshold(labelled, precision)
    plan = DedupPlan(learnt.min_score if learnt else THRESHOLD if threshold is None else threshold, keep, by)      # type: ignore[arg-type]
    problems: list[str] = []
    told: list[str] | None = problems

    def read() -> Iterator[Source]:
        nonlocal told
        now, told = told, None
        return streamed(files, names_in(text_columns), id_column, encoding, now)

    state = [_state(path) for path in files]
    bars = _Bars()
    with bars:
        report = deduplicate(read, output, plan, groups=groups, key="".join([*state, str(text_columns), str(id_column),
                             str(encoding)]), watch=bars.next)
    told_problems(problems)
    if plot is not None:
        draw_duplicates(report.similarities, groups, plot, plan.threshold)
    if as_json:
        show_json({"kept": str(output), "groups": None if groups is None else str(groups),
                   "threshold": plan.threshold, "n_texts": report.n_texts, "n_kept": report.n_kept,
                   "n_groups": report.n_groups, "largest_group": report.largest, "n_without_letters": report.n_empty,
                   **({} if learnt is None else {"precision": learnt.precision, "recall": learnt.recall}),
                   "problems": problems})
        return
    if learnt is not None:
        note(f"From a similarity of {learnt.min_score:.3f} on, {learnt.precision:.1%} of the labelled pairs are right, "
             f"and {learnt.recall:.1%} of the right ones are found.")
    _show_report(report, output)


def _state(path: Path) -> str:
    """What is another when the texts are."""
    from qianru.index.home import is_collection

    if is_collection(path):
        with open_to_read(path, to_search=False) as library:
            return str((path.resolve(), library.sequence or time.time_ns()))      # on a server nobody counts changes
    return str((path.resolve(), path.stat().st_size, path.stat().st_mtime_ns)) if path.exists() else ""


class _Bars:
    """One progress bar after another."""

    def __enter__(self) -> _Bars:
        self._open: Any = None
        return self

    def next(self, what: str) -> Any:
        """The next bar."""
        self.__exit__()
        self._open = progress(what, "texts")
        return self._open.__enter__()

    def __exit__(self, *error: object) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None


def _of_collection(collection: Path | None, where: str | None) -> Material:
    from qianru.use.material import from_collection

    library = open_to_read(collection, to_search=False)
    with library, progress("Reading", "documents") as watch:
        return from_collection(library, where, progress=watch)


def _of_files(
    files: Sequence[Path], model: str | None, vectors: Path | None, text_columns: str | None, id_column: str | None,
    encoding: str | None,
) -> Material:
    from qianru.models import load
    from qianru.use.material import from_folder, from_texts

    named = list(named_texts(files, text_columns, id_column, encoding))
    if not named:
        raise BadInput("There is no text in these files.")
    if vectors is not None:
        if model is not None:
            raise BadInput("Give a model or vectors that were made by one, not both.")
        return from_folder(named, vectors)
    with progress("Embedding", "texts") as watch:
        return from_texts(named, None if model is None else load(model), progress=watch)


def named_texts(
    files: Sequence[Path], text_columns: str | None, id_column: str | None, encoding: str | None
) -> Iterator[tuple[str, str]]:
    """(id, text) of lines, rows, and passages of files that have neither; problems are told on stderr."""
    from qianru.cli.reading import PASSAGE_CHARS
    from qianru.index.home import is_collection
    from qianru.text.chunk import chunk
    from qianru.text.read.stream import has_rows

    problems: list[str] = []
    for file in files:
        if is_collection(file) or (not file.is_dir() and has_rows(file)):
            for source in streamed([file], names_in(text_columns), id_column, encoding, problems):
                yield source.id or f"{source.path}:{source.line}", source.text
        else:
            for source in sources([file], names_in(text_columns), encoding):
                for i, piece in enumerate(chunk(source, max_chars=PASSAGE_CHARS, overlap=0), 1):
                    yield f"{source.path}#{i}", piece.text
    told_problems(problems)


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


def _show_report(report: DedupReport, output: Path) -> None:
    dropped = report.n_texts - report.n_kept
    show(f"{counted(report.n_texts, 'text')}: {report.n_kept:,} kept in {output}, "
         f"{counted(dropped, 'near-duplicate')} dropped"
         + (f" from {counted(report.n_groups, 'group')}, the largest of {report.largest:,}" if dropped else ""))
    if report.n_empty:
        note(f"Without any letter, digit or character, and kept: {counted(report.n_empty, 'text')}.")
