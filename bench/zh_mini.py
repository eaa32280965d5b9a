"""qianru-zh-mini on every open task, beside what it has to beat: rows of docs/zh-mini.md.

    python bench/zh_mini.py -o results [--word2vec FOLDER] [--model NAME] [--write]

Run bench/evaluate_all.py -o results first: it makes the results of counts, TF-IDF, BM25, LSA, word2vec on each task's
own texts and MiniLM. Added here: TF-IDF over characters and pairs of them; the mean of Tencent's vectors of characters
(for comparison only); word2vec on the texts that zh-mini learnt from (`qianru train` with model = "word2vec"); zh-mini;
and on retrieval BM25 + zh-mini, each document's BM25 score plus DENSE times the cosine, compared with BM25 by items.
--write puts the tables into docs/zh-mini.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from common import HERE, data_folder, report

sys.path[:0] = [str(HERE.parent)]

from qianru.evaluate.compare import compare, runs_of  # noqa: E402
from qianru.evaluate.data import read_data  # noqa: E402
from qianru.evaluate.fitting import fitted_on  # noqa: E402
from qianru.evaluate.places import Places  # noqa: E402
from qianru.evaluate.result import Result, read_results  # noqa: E402
from qianru.evaluate.run import Failed, How, evaluate, evaluate_all  # noqa: E402
from qianru.evaluate.task import Task, find_tasks  # noqa: E402
from qianru.models import MINI, load  # noqa: E402
from qianru.models.base import Model  # noqa: E402
from qianru.models.joined import JoinedModel  # noqa: E402

DOCS = HERE.parent / "docs" / "zh-mini.md"
BEGIN, END = "<!-- bench/zh_mini.py: begin -->", "<!-- end -->"
DENSE = 5.0            # a cosine of 1 counts as much as a BM25 score of 5; of 5, 10, 20 and 30 on CSL and CMRC
HYBRID, TENCENT, ON_G = "bm25 + zh-mini", "tencent-characters", "word2vec-same-text"
ORDER = ("counts", "characters", "tfidf", "bm25", "lsa", "word2vec", ON_G, TENCENT, "all-MiniLM-L6-v2", MINI, HYBRID)
CLASSICAL = ("counts", "characters", "tfidf", "bm25", "lsa", "word2vec", ON_G, TENCENT)


def called(result: Result, name: str) -> Result:
    """The same result under another name."""
    from dataclasses import replace

    return replace(result, model=name)


def missing(tasks: Sequence[Task], data: Path, output: Path, given: argparse.Namespace) -> None:
    """Makes the results that are not there yet."""
    done = {(one.model, one.task) for one in read_results(output)}
    vectors = data / "vectors" / "tencent_char_4762x200.npz"
    models: dict[str, Callable[[], Model | str]] = {"characters": lambda: "characters", TENCENT: lambda: load(vectors),
                                                    MINI: lambda: load(given.model)}
    if given.word2vec:
        models[ON_G] = lambda: load(given.word2vec)
    wanted = given.models.split(",") if given.models else [*models, HYBRID]
    for name, model in models.items():
        if name not in wanted:
            continue
        left = [task for task in tasks if (name, task.name) not in done]
        for found in evaluate_all([model], left, How(data)):
            if isinstance(found, Failed):
                print(f"error: {name} on {found.task}: {found.error}", file=sys.stderr)
            else:
                called(found, name).write(output)
                print(f"{name} {found.task} {found.main:.4f} {found.seconds:.1f} s", file=sys.stderr, flush=True)
    for task in tasks if HYBRID in wanted else ():
        if task.type == "Retrieval" and (HYBRID, task.name) not in done:
            both = JoinedModel([fitted_on("bm25", read_data(task, Places(data))), load(given.model)])
            called(evaluate(both, task, How(data, weights={"sparse": 1.0, "dense": DENSE})), HYBRID).write(output)


def tables(results: Sequence[Result], tasks: Sequence[Task]) -> str:
    """A row a task, then the mean of each type over the tasks that all models have done."""
    by = {(one.model, one.task): one.main for one in results}
    models = [name for name in ORDER if any((name, task.name) in by for task in tasks)]
    lines = [f"| task | {' | '.join(models)} |", "|---|" + "---:|" * len(models)]
    for kind in dict.fromkeys(task.type for task in tasks):
        some = [task for task in tasks if task.type == kind]
        for task in some:
            lines.append(_row(task.name, [by.get((name, task.name)) for name in models]))
        shared = [task for task in some if all((name, task.name) in by for name in models if name != HYBRID)]
        means = [sum(by[name, task.name] for task in shared) / len(shared) if shared and (name, shared[0].name) in by
                 else None for name in models]
        lines.append(_row(f"**{kind}, mean of {len(shared)}**", means))
    return "\n".join(lines)


def _row(name: str, values: Sequence[float | None]) -> str:
    best = max((value for value in values if value is not None), default=0)
    cells = ["–" if value is None else f"**{value * 100:.1f}**" if value == best else f"{value * 100:.1f}"
             for value in values]
    return f"| {name} | {' | '.join(cells)} |"


def intervals(results: Sequence[Result]) -> str:
    """BM25 + zh-mini less BM25, set by set, with what may be said."""
    runs = {run.label: run for run in runs_of([one for one in results if one.model in (HYBRID, "bm25")
                                               and one.task_type == "Retrieval"])}
    (found,) = compare([runs[HYBRID], runs["bm25"]])
    lines = ["| set | bm25 | bm25 + zh-mini | difference | 95 % | |", "|---|---:|---:|---:|---:|---|"]
    for row in found.rows:
        low, high = row.difference.low * 100, row.difference.high * 100
        lines.append(f"| {row.task} | {row.b.value * 100:.2f} | {row.a.value * 100:.2f} | "
                     f"{row.difference.value * 100:+.2f} | {low:+.2f} to {high:+.2f} | {row.verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluates what is missing, prints and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    parser.add_argument("--word2vec", type=Path)
    parser.add_argument("--model", default=MINI, help="in place of the package's")
    parser.add_argument("--models", default="", help="names of those to evaluate now; all if none is named")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    data = data_folder()
    tasks = sorted(find_tasks(str(HERE.parent / "tests" / "tasks")), key=lambda task: (task.type, task.name))
    missing(tasks, data, given.output, given)
    if given.models:
        return
    results = read_results(given.output)
    made = f"{tables(results, tasks)}\n\n{intervals(results)}"
    print(made)
    if given.write:
        before, _, rest = DOCS.read_text("utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCS.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", "utf-8")
    report("zh_mini", ["numpy", "scikit-learn"], n_tasks=len(tasks), n_results=len(results))


if __name__ == "__main__":
    main()
