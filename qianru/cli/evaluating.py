"""qianru evaluate: what models are worth, on known tasks and on your own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import one_line
from qianru.cli.options import AsJson, examples
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput

if TYPE_CHECKING:
    from rich.table import Table

    from qianru.evaluate.result import Result
    from qianru.evaluate.task import Task
    from qianru.models.base import Model
    from qianru.types import Kind, Progress

DATA_VARIABLE = "QIANRU_DATA"
FAILED = 1
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples(
        "qianru evaluate m3e-base --task C-MTEB -o results",
        "qianru evaluate bm25 tfidf bge-m3 --task T2Retrieval --task my.toml --memory 2GB",
        "qianru evaluate bge-m3 --task CSL.toml --kinds dense,sparse --weights 0.7,0.3",
        "qianru evaluate m3e-base bm25 --task my.toml --report my.html",
        "qianru evaluate --list",
    ))(evaluate)


def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="Names or folders; bm25, counts, tfidf, lsa and "
                                         "word2vec are fitted on each task's texts.", show_default=False)
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", metavar="NAME|FILE|FOLDER", help="A task, a suite such as "
                                       "C-MTEB, a task file (.toml), or a folder of these.", show_default=False)
    ] = None,
    types: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only tasks of these types: STS,Retrieval.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where results are kept.",
                                  show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help=f"Where files of tasks are looked for besides their own "
                                  f"folder; else ${DATA_VARIABLE}.", show_default=False)
    ] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="What scoring may take, the model aside.")] = "2GB",
    kinds: Annotated[
        str | None, typer.Option(metavar="dense,sparse,multi", help="Which vectors; else all that the model makes, "
                                 "together.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="A,B", help="Of the kinds that --kinds names.", show_default=False)
    ] = None,
    instructions: Annotated[
        bool, typer.Option("--instructions/--no-instructions", help="Give the task's to models that follow them.")
    ] = True,
    cache: Annotated[
        str, typer.Option(metavar="SIZE", help="Of vectors kept on disk for other tasks and after a stop; 0 for none.")
    ] = "20GB",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write all of it as one page that needs no network.",
                                  show_default=False)
    ] = None,
    list_tasks: Annotated[bool, typer.Option("--list", help="List the tasks that are known by name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure models on tasks: the known ones, or your own.

    Each result is written as soon as it is there, in the layout that mteb uses, with the value of every query beside.
    A task that fails is told and the others go on; the exit code is then 1.
    """
    from qianru.evaluate.run import Failed, How, evaluate_all
    from qianru.evaluate.task import find_tasks, known_tasks, only_types

    wanted_types = _names(types) or ()
    if list_tasks:
        _list(only_types(known_tasks(), wanted_types), as_json)
        return
    if not models or not task:
        raise BadInput("Name a model and a task: qianru evaluate bm25 --task my.toml. qianru evaluate --list tells "
                       "which tasks are known by name.")
    tasks = only_types([one for name in task for one in find_tasks(name)], wanted_types)
    if not tasks:
        raise BadInput(f"None of the tasks is of the type {types}.")
    chosen = _names(kinds)
    how = How(task_data(data), _cache(cache), n_bytes(memory), chosen, _weights(chosen, weights), instructions)   # type: ignore[arg-type]
    results: list[Result] = []
    failures: list[Failed] = []
    with ExitStack() as stack:
        def told(model: str, one: Task) -> Progress:
            stack.close()
            return stack.enter_context(progress(f"{model}  {one.name}", "texts"))

        for found in evaluate_all([_loader(name) for name in models], tasks, how, output=output, told=told):
            stack.close()
            if isinstance(found, Failed):
                failures.append(found)
                note(f"error: {one_line(found.model)} on {found.task}: {found.error}")
            else:
                results.append(found)
    if report is not None and results:
        _write_report(results, report)
    if as_json:
        show_json([_facts(result) for result in results]
                  + [{"model": bad.model, "task": bad.task, "error": str(bad.error)} for bad in failures])
    elif results:
        show(_table(results))
        cut = sum(result.n_truncated for result in results)
        if cut:
            note(f"warning: {cut:,} texts were too long for a model and were cut; --json tells where.")
        if output is not None:
            note(f"Results are in {output}.")
        if report is not None:
            note(f"The page is {report}.")
    if failures:
        raise typer.Exit(FAILED)


def task_data(given: Path | None) -> Path | None:
    """Where files of tasks are looked for: as given, else as the environment says."""
    return given or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)


def n_bytes(text: str) -> int:
    """A size in bytes.

    >>> n_bytes("2GB"), n_bytes("1.5 gb"), n_bytes("0")
    (2000000000, 1500000000, 0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B?)\s*", text.upper())
    unit = found.group(2) if found else ""
    unit = unit if unit in UNITS else unit + "B"
    if found is None or unit not in UNITS:
        raise BadInput(f"'{text}' is no size such as 500MB or 2GB.")
    return int(float(found.group(1)) * UNITS[unit])


def _loader(name: str) -> Callable[[], Model | str]:
    """Loads the model when it is its turn; a name of one that learns stays a name."""
    from qianru.evaluate.fitting import FRESH

    def load() -> Model | str:
        from qianru.models import load as load_model

        return name if name in FRESH else load_model(name)

    load.__name__ = name
    return load


def _write_report(results: list[Result], path: Path) -> None:
    from qianru.evaluate.compare import runs_of
    from qianru.evaluate.page import write_page
    from qianru.evaluate.report import make_report

    write_page(make_report(runs_of(results)), path)


def _cache(size: str) -> Any:
    from qianru.evaluate.vector_cache import VectorCache
    from qianru.models.environment import cache_folder

    limit = n_bytes(size)
    return VectorCache(cache_folder() / "vectors", limit) if limit else None


def _weights(kinds: tuple[str, ...] | None, given: str | None) -> dict[Kind, float] | None:
    if given is None:
        return None
    try:
        values = [float(part) for part in given.split(",")]
    except ValueError:
        raise BadInput(f"Weights are numbers such as 0.7,0.3, not '{given}'.") from None
    if kinds is None or len(kinds) != len(values):
        raise BadInput(f"{len(values)} weights need as many kinds: --kinds dense,sparse --weights 0.7,0.3.")
    return dict(zip(kinds, values, strict=True))     # type: ignore[return-value]   # the model checks the kinds


def _names(given: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in given.split(",") if name.strip()) if given else None


def _facts(result: Result) -> dict[str, Any]:
    return {
        "model": result.model, "task": result.task, "type": result.task_type, "split": result.split,
        "main_score": result.main_score, "score": result.main, "scores": dict(result.scores),
        "kinds": list(result.kinds), "n_texts": result.n_texts, "n_truncated": result.n_truncated,
        "prompts": dict(result.prompts), "seconds": result.seconds,
    }


def _table(results: list[Result]) -> Table:
    """A row a task, a column a model, the best of each row marked; means over the tasks that all models have done."""
    from rich.table import Table

    models = list(dict.fromkeys(result.model for result in results))
    tasks = list(dict.fromkeys(result.task for result in results))
    by_place = {(result.task, result.model): result for result in results}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", style="cyan", no_wrap=True)
    table.add_column("score")
    for model in models:
        table.add_column(one_line(model), justify="right")
    for task in tasks:
        row = [by_place.get((task, model)) for model in models]
        best = max(result.main for result in row if result is not None)
        star = "*" if len(models) > 1 else ""
        cells = ["-" if result is None else f"{100 * result.main:.2f}" + (star if result.main == best else "")
                 for result in row]
        table.add_row(task, next(result.main_score for result in row if result is not None), *cells)
    done = [task for task in tasks if all((task, model) in by_place for model in models)]
    if len(done) > 1:
        table.add_row("mean", "", *(f"{100 * sum(by_place[task, model].main for task in done) / len(done):.2f}"
                                    for model in models))
    return table


def _list(tasks: list[Task], as_json: bool) -> None:
    if as_json:
        show_json([{"name": task.name, "type": task.type, "suites": list(task.suites), "main_score": task.main_score,
                    "split": task.split, "ids": dict(task.ids), "revision": task.revision,
                    "languages": list(task.languages)} for task in tasks])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("name", "type", "suite", "score"):
        table.add_column(title, no_wrap=True)
    for task in tasks:
        table.add_row(task.name, task.type, ", ".join(task.suites), task.main_score)
    show(table)
