"""qianru dedup: which texts say the same twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import counted
from qianru.cli.options import GROUPS, AsJson, Encoding, IdColumn, TextColumns, examples, open_to_read
from qianru.cli.reading import check_apart, names_in, streamed, told_problems
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput

if TYPE_CHECKING:
    from qianru.text.read import Source
    from qianru.use.duplicates import DedupReport

PRECISION = 0.98


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel=GROUPS, epilog=examples(
        "qianru dedup reviews.jsonl -o kept.jsonl --groups groups.jsonl",
        "qianru dedup news.csv -o kept.csv --keep largest --by published",
        "qianru dedup *.txt -o kept.txt --labelled pairs.jsonl --precision 0.99",
    ))(dedup)


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
    precision: Annotated[
        float | None, typer.Option(help="Wanted share of right pairs, with --labelled; 0.98 when not given.",
                                   show_default=False)
    ] = None,
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
    if labelled is None and precision is not None:
        raise BadInput("--precision is what the threshold shall reach on labelled pairs. Give them with --labelled.")
    if plot is not None:
        check_picture(plot, groups)
    check_apart([*files, *([] if labelled is None else [labelled])], output, groups, plot)
    learnt = None if labelled is None else learnt_threshold(labelled, PRECISION if precision is None else precision)
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


def _show_report(report: DedupReport, output: Path) -> None:
    dropped = report.n_texts - report.n_kept
    show(f"{counted(report.n_texts, 'text')}: {report.n_kept:,} kept in {output}, "
         f"{counted(dropped, 'near-duplicate')} dropped"
         + (f" from {counted(report.n_groups, 'group')}, the largest of {report.largest:,}" if dropped else ""))
    if report.n_empty:
        note(f"Without any letter, digit or character, and kept: {counted(report.n_empty, 'text')}.")
