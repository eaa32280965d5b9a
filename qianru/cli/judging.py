"""qianru compare and report: which model is better and how sure that is; all of it as one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import one_line
from qianru.cli.options import AsJson, examples
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput

if TYPE_CHECKING:
    from rich.table import Table

    from qianru.evaluate.atlas import Atlas
    from qianru.evaluate.compare import Comparison, Row, Run, Win
    from qianru.evaluate.contamination import Contamination
    from qianru.evaluate.report import Report
    from qianru.evaluate.resampling import Estimate

TEXT = 60              # characters of a text in a table
RESULTS = Path("results")

Results = Annotated[Path, typer.Option("--results", metavar="FOLDER", help="Where names of models are looked up.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=examples(
        "qianru compare bge-base-zh-v1.5 m3e-base",
        "qianru compare results/new results/old --show 10 --task T2Retrieval",
        "qianru compare new old --train pairs.jsonl        [dim]# was the test in the training data?[/dim]",
    ))(compare)
    app.command(epilog=examples(
        "qianru report results",
        "qianru report results/new results/old -o report.html",
        "qianru report results -o report.html --model m3e-base --task my-task.toml      [dim]# with a map[/dim]",
    ))(report)


def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="A B", help="Results: names of models, folders or files.")
    ],
    results: Results = RESULTS,
    train: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Training data in which to look for the test's texts; may "
                                                             "be given again.", show_default=False)
    ] = None,
    n_shown: Annotated[int, typer.Option("--show", min=0, help="Show so many items that one model wins most.")] = 0,
    task: Annotated[str | None, typer.Option(help="Show those of this task alone.", show_default=False)] = None,
    n_resamples: Annotated[int, typer.Option("--resamples", min=100, help="Samples that are drawn.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Tell which of two models is better, and whether that is more than chance.

    Points are scores x 100. Intervals are of 95 %, by drawing the items of each task again, the same for both models.
    p is corrected by Holm for all tasks and models of the comparison. Several models are held against the first.
    """
    from qianru.evaluate.cautions import cautions
    from qianru.evaluate.compare import compare as compare_runs, find_runs

    runs = find_runs(models, results)
    found = compare_runs(runs, n_resamples=n_resamples, seed=seed)
    warned = cautions([result for run in runs for result in run.results.values()])
    seen = _contaminations(runs, train) if train else {}
    wins = [_wins(runs[0], other, task, n_shown) for other in runs[1:]] if n_shown or task else []
    if as_json:
        show_json({"comparisons": [_facts(part) for part in found], "cautions": warned,
                   "contamination": {name: _leaks(part) for name, part in seen.items()},
                   "wins": [{name: [[win._asdict() for win in side] for side in sides] for name, sides in part.items()}
                            for part in wins]})
        return
    for i, part in enumerate(found):
        show(*([""] if i else []), _table(part))
        for line in (*part.differs, *(f"left out: {line}" for line in part.left_out), *part.notes):
            note(one_line(line))
        for name, sides in (wins[i] if wins else {}).items():
            _show_wins(name, part, sides)
    for line in warned:
        note(f"warning: {one_line(line)}")
    for name, leaked in seen.items():
        _tell_leaks(name, leaked)


def report(
    models: Annotated[
        list[str], typer.Argument(metavar="RESULTS", help="Results: names of models, folders or files.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.html", help="Write one page that needs no network.",
                                  show_default=False)
    ] = None,
    results: Results = RESULTS,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="Draw maps of texts as this model sees "
                                                                            "them.", show_default=False)
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="Whose texts; may be given again.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where data of known tasks lies.", show_default=False)
    ] = None,
    precision: Annotated[
        float, typer.Option(min=0.01, max=1, help="That the suggested thresholds are for.")
    ] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Show results: a table of scores with intervals, or a page with all there is to see.

    The page holds scores, comparisons with the first model, from which similarity on pairs can be trusted, the items
    that one model wins, and maps of texts with their neighbours, if a model and a task are named.
    """
    from qianru.evaluate.compare import find_runs
    from qianru.evaluate.page import write_page
    from qianru.evaluate.report import make_report

    if (model is None) != (not task):
        raise BadInput("A map needs both a model and a task. Give --model and --task, or neither.")
    runs = find_runs(models, results)
    found = make_report(runs, _atlases(model, task or [], data) if model else (), precision=precision)
    if output is not None:
        write_page(found, output)
    if as_json:
        show_json({"scores": [{"task": name, "metric": metric, "models": {
            label: {end: None if value != value else value for end, value in score._asdict().items()}
            for label, score in scores.items()}} for name, metric, scores in found.scores],
            "means": found.means, "cautions": found.cautions, "page": None if output is None else str(output)})
        return
    show(_scores(found))
    for line in found.cautions:
        note(f"warning: {one_line(line)}")
    if output is not None:
        note(f"The page is {output}")


def points(score: float) -> str:
    """A share as points of 100.

    >>> points(0.71234), points(float("nan"))
    ('71.23', '-')
    """
    return "-" if score != score else f"{score * 100:.2f}"


def _table(found: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", style="cyan")
    table.add_column("score")
    for title in (one_line(found.a), one_line(found.b), "difference", "95 %", "p", "won/alike/lost"):
        table.add_column(Text(title), justify="right", no_wrap=True)
    table.add_column("")
    for row in (*found.rows, *([found.mean] if found.mean else [])):
        difference = row.difference
        table.add_row(
            Text(one_line(row.task)), row.metric, points(row.a.value), points(row.b.value),
            f"{difference.value * 100:+.2f}", _interval(difference), _p(row.p_holm),
            f"{row.wins}/{row.ties}/{row.losses}",
            Text(_verdict(row), style={"better": "green", "worse": "red"}.get(row.verdict, "dim")),
        )
    return table


def _scores(found: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", style="cyan")
    table.add_column("score")
    for label in found.labels:
        table.add_column(Text(one_line(label)), justify="right", no_wrap=True)
    for name, metric, scores in found.scores:
        table.add_row(Text(one_line(name)), metric, *(_score(scores.get(label)) for label in found.labels))
    if found.means:
        table.add_row("mean", "", *(points(found.means.get(label, float("nan"))) for label in found.labels))
    return table


def _score(score: Estimate | None) -> str:
    """The score with half the width of its interval."""
    if score is None:
        return "-"
    half = (score.high - score.low) / 2
    return points(score.value) if half != half else f"{points(score.value)} ±{half * 100:5.2f}"


def _atlases(model: str, tasks: Sequence[str], data: Path | None) -> list[Atlas]:
    """A map of the texts of each task."""
    from qianru.evaluate.atlas import survey
    from qianru.evaluate.data import read_data
    from qianru.evaluate.encode import encoder_for
    from qianru.evaluate.fitting import FRESH, fitted_on
    from qianru.evaluate.places import Places
    from qianru.evaluate.task import find_tasks
    from qianru.models import load

    loaded = None if model in FRESH else load(model)
    atlases = []
    for task in (found for name in tasks for found in find_tasks(name)):
        texts = read_data(task, Places(data))
        ready = loaded or fitted_on(model, texts)
        with progress(f"Embedding {one_line(task.name)}", "texts") as watch:
            atlases.append(survey(encoder_for(ready, task, None, None, progress=watch), task.name, texts))
    return atlases


def _interval(difference: Estimate) -> str:
    return "-" if difference.low != difference.low else f"{difference.low * 100:+.2f} {difference.high * 100:+.2f}"


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _verdict(row: Row) -> str:
    return row.verdict if row.task != "mean" else f"{row.verdict} on these tasks"


def _facts(found: Comparison) -> dict[str, Any]:
    def told(row: Row) -> dict[str, Any]:
        return asdict(row) | {"verdict": row.verdict} | {
            side: {end: None if value != value else value for end, value in getattr(row, side)._asdict().items()}
            for side in ("a", "b", "difference")}

    return {"a": found.a, "b": found.b, "rows": [told(row) for row in found.rows],
            "mean": told(found.mean) if found.mean else None, "differs": found.differs, "left_out": found.left_out,
            "notes": found.notes}


def _wins(a: Run, b: Run, task: str | None, k: int) -> dict[str, tuple[list[Win], list[Win]]]:
    """task -> the items that a wins most, and those that b does."""
    from qianru.evaluate.compare import compared_results, largest_wins, task_of

    pairs = compared_results(a, b) if task is None else [(task_of(a, task), task_of(b, task))]
    return {left.task: (largest_wins(left, right, k or 10), largest_wins(right, left, k or 10))
            for left, right in pairs}


def _show_wins(name: str, found: Comparison, sides: tuple[list[Win], list[Win]]) -> None:
    for winner, won in zip((found.a, found.b), sides, strict=True):
        if won:
            show("", f"{one_line(name)}: where {one_line(winner)} does better")
        for win in won:
            text = " | ".join(one_line(part)[:TEXT] for part in win.texts) or win.id
            show(f"  {win.a:.3f}  {win.b:.3f}  {text}")


def _contaminations(runs: Sequence[Run], train: Sequence[Path]) -> dict[str, Contamination]:
    """task -> what of its texts stands in the training files."""
    from qianru.evaluate.contamination import find_contaminations, train_texts

    texts: dict[str, dict[str, None]] = {}
    for run in runs:
        for result in run.results.values():
            known = texts.setdefault(result.task, {})
            known.update(dict.fromkeys(text for parts in result.texts.values() for text in parts))
    for name, known in texts.items():
        if not known:
            note(f"{one_line(name)}: its results hold no texts, so they cannot be looked for in the training data.")
    with progress("Reading the training data", "texts") as watch:
        tests = {name: list(known) for name, known in texts.items() if known}
        return find_contaminations(tests, train_texts(train), progress=watch)


def _leaks(found: Contamination) -> dict[str, Any]:
    return {"n_texts": found.n_texts, "n_train": found.n_train, "n_exact": found.n_exact,
            "n_overlapping": found.n_overlapping, "mean_share": float(found.share.mean()) if found.n_texts else 0.0,
            "kept": found.kept, "examples": [asdict(leak) for leak in found.leaks]}


def _tell_leaks(name: str, found: Contamination) -> None:
    if not found.n_overlapping:
        note(f"{one_line(name)}: none of its {found.n_texts:,} texts stands in the {found.n_train:,} training texts.")
        return
    note(f"warning: {one_line(name)}: of its {found.n_texts:,} texts {found.n_exact:,} stand in the training data as "
         f"they are, {found.n_overlapping - found.n_exact:,} more by half of their n-grams or more. Its scores say "
         "little of texts that the model has not seen.")
    for leak in found.leaks[:5]:
        note(f"  {leak.share:4.0%}  {one_line(leak.text)[:TEXT]}  <-  {one_line(leak.place)}")
