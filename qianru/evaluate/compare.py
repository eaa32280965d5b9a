"""Two models on the same items: which differences are real, and where they come from.

The interval of a difference is that of the paired bootstrap (see resampling), its p value is corrected by Holm for all
tasks and models compared together. The mean is over these tasks as they are: it says nothing of tasks not taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from qianru.errors import BadFile, BadInput, UnknownName
from qianru.evaluate.fitting import FRESH
from qianru.evaluate.resampling import LEVEL, N_RESAMPLES, Estimate, estimate, holm, p_value, resample
from qianru.evaluate.result import Result, read_results
from qianru.evaluate.statistics import average_ranks, statistic_of
from qianru.types import FloatArray

ALPHA = 0.05
TIE = 1e-9               # items nearer than this are a tie
AGREES = 5e-4            # how far the score of the items may lie from the score in the file
MEAN = "mean"
NOT_SHOWN = "not shown"

Key: TypeAlias = tuple[str, str, str]
"""What is measured: task, split, subset."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one model got, used in one way: a result for each task."""

    label: str
    results: Mapping[Key, Result]


@dataclass(frozen=True, slots=True)
class Row:
    """Two models on one task, or on the mean of all.

    a, b: each model's score;  difference: a - b, all with their intervals
    p: that the difference is zero;  p_holm: the same, corrected for all tests of one comparison
    wins, ties, losses: items that a does better, alike, worse; in the mean: tasks with a difference that was shown
    n_items: queries, pairs, texts or draws that were resampled
    """

    task: str
    task_type: str
    metric: str
    n_items: int
    a: Estimate
    b: Estimate
    difference: Estimate
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int

    @property
    def verdict(self) -> str:
        """better, worse, or "not shown": what can be said of a at a corrected level of 5 %."""
        if self.p_holm >= ALPHA:
            return NOT_SHOWN
        return "better" if self.difference.value > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model a against model b.

    differs: in what they differ beside their names, where it is known: prompts, fingerprint, texts that were cut
    left_out: tasks that could not be compared, each with the reason;  notes: what to know of those that were
    """

    a: str
    b: str
    rows: tuple[Row, ...]
    mean: Row | None
    differs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Win(NamedTuple):
    """One item and how well both models do it; for pairs, how near their similarity is to where gold puts it."""

    id: str
    a: float
    b: float
    texts: tuple[str, ...]


def runs_of(results: Iterable[Result]) -> list[Run]:
    """The results by model, kinds of vectors and fingerprint; models of one name are told apart by these.

    A model that learns from each task anew has a fingerprint for each, and is one run.
    Raises BadInput if a run has two results of one task.
    """
    grouped: dict[tuple[str, tuple[str, ...], str], dict[Key, Result]] = {}
    for result in results:
        fingerprint = "" if result.model in FRESH else result.fingerprint
        run = grouped.setdefault((result.model, result.kinds, fingerprint), {})
        key = (result.task, result.split, result.subset)
        if key in run:
            raise BadInput(f"There are two results of {result.model} on {result.task} ({result.split}, "
                           f"{result.subset}). Keep one, or name the folder of one run.")
        run[key] = result
    names = [model for model, _, _ in grouped]
    kinds = [(model, kinds) for model, kinds, _ in grouped]
    runs = []
    for (model, made, fingerprint), run in grouped.items():
        apart = [model]
        if kinds.count((model, made)) < names.count(model):
            apart.append("+".join(made))
        if kinds.count((model, made)) > 1:
            apart.append(fingerprint[:6])
        runs.append(Run(" ".join(apart), run))
    return runs


def find_runs(named: Sequence[str], folder: Path) -> list[Run]:
    """The runs meant by names: paths of results or of folders of them, else models that have results in the folder.

    Runs of one name from different paths are told apart by the path. Raises UnknownName for a name that is neither.
    """
    runs: list[Run] = []
    for name in named:
        if Path(name).exists():
            found = runs_of(read_results(Path(name)))
            if not found:
                raise BadFile(f"There is no result in {name}. Make one with: qianru evaluate MODEL -o {name}")
        else:
            every = read_results(folder) if folder.is_dir() else []
            found = runs_of(result for result in every if result.model == name)
            if not found:
                raise UnknownName("model", name, sorted({result.model for result in every}),
                                  f"with results in {folder}, nor a path")
        taken = {run.label for run in runs}
        runs += [replace(run, label=f"{run.label} ({name})") if run.label in taken else run for run in found]
    return runs


def compare(
    runs: Sequence[Run], *, n_resamples: int = N_RESAMPLES, level: float = LEVEL, seed: int = 0
) -> list[Comparison]:
    """The first run against each of the others, on the tasks that both have.

    The p values of all tasks and all the others are corrected together, those of the means among themselves.
    """
    if len(runs) < 2:
        raise BadInput(f"A comparison needs two models or more, not {len(runs)}. Name another folder of results.")
    first, *others = runs
    drawn = [_drawn(first, other, n_resamples, level, seed) for other in others]
    corrected = iter(holm([row.p for part in drawn for row in part.rows]))
    means = [_mean(part, level) for part in drawn]
    mean_p = iter(holm([row.p for row in means if row is not None]))
    finished = []
    for part, mean, other in zip(drawn, means, others, strict=True):
        rows = tuple(replace(row, p_holm=next(corrected)) for row in part.rows)
        if mean is not None:
            better, alike, worse = map([row.verdict for row in rows].count, ("better", NOT_SHOWN, "worse"))
            mean = replace(mean, p_holm=next(mean_p), wins=better, ties=alike, losses=worse)
        finished.append(Comparison(first.label, other.label, rows, mean, what_differs(first, other),
                                   tuple(part.left_out), tuple(part.notes)))
    return finished


def merits(result: Result, ids: Sequence[str]) -> FloatArray:
    """(n,) how well each item is done, larger is better: its value, or for a pair how near it is to its place.

    A pair's place is its rank by gold among all pairs, as a share; its merit is 1 - the distance to its rank by
    similarity. Labels of 0 and 1 are ranks with ties.
    """
    values = np.array([result.per_item[name] for name in ids], np.float64)
    if not result.gold:
        return values
    gold = np.array([result.gold[name] for name in ids], np.float64)
    return 1 - np.abs(average_ranks(values) - average_ranks(gold)) / max(1, len(ids))


def largest_wins(a: Result, b: Result, k: int = 10) -> list[Win]:
    """The k items that a does better than b by most, those first; texts as far as the results hold them."""
    ids = _shared(a, b)
    if isinstance(ids, str):
        raise BadInput(ids)
    left, right = merits(a, ids), merits(b, ids)
    order = np.argsort(right - left, kind="stable")[:k]
    return [Win(ids[i], float(left[i]), float(right[i]), tuple(a.texts.get(ids[i]) or b.texts.get(ids[i], ())))
            for i in order if left[i] - right[i] > TIE]


def task_of(run: Run, name: str) -> Result:
    """The run's result on the task of that name; UnknownName if it has none."""
    for (task, _, _), result in run.results.items():
        if task == name:
            return result
    raise UnknownName("task", name, sorted({task for task, _, _ in run.results}), f"in the results of {run.label}")


def compared_results(a: Run, b: Run) -> list[tuple[Result, Result]]:
    """The results of both on the tasks that can be compared item by item."""
    both = [(a.results[key], b.results[key]) for key in sorted(a.results.keys() & b.results.keys())]
    return [(left, right) for left, right in both if not isinstance(_shared(left, right), str)]


def what_differs(a: Run, b: Run) -> tuple[str, ...]:
    """Prompts and truncation that two runs do not have alike; between runs of one model these are what is compared.

    A line for each, with both values.
    """
    found: dict[str, None] = {}
    cut_a = cut_b = n_a = n_b = 0
    for key in a.results.keys() & b.results.keys():
        left, right = a.results[key], b.results[key]
        for role in sorted({*left.prompts, *right.prompts}):
            before, after = left.prompts.get(role, ""), right.prompts.get(role, "")
            if before != after:
                found[f"prompt of a {role}: {before!r} in {a.label}, {after!r} in {b.label}"] = None
        cut_a, n_a = cut_a + left.n_truncated, n_a + left.n_texts
        cut_b, n_b = cut_b + right.n_truncated, n_b + right.n_texts
    if n_a and n_b and (shares := (cut_a / n_a, cut_b / n_b))[0] != shares[1]:
        found[f"texts that were cut: {shares[0]:.1%} in {a.label}, {shares[1]:.1%} in {b.label}"] = None
    return tuple(sorted(found))


class _Drawn(NamedTuple):
    """Rows before correction, with the draws behind each."""

    rows: list[Row]
    draws: list[FloatArray]
    left_out: list[str]
    notes: list[str]


def _drawn(a: Run, b: Run, n_resamples: int, level: float, seed: int) -> _Drawn:
    part = _Drawn([], [], [], [])
    for key in sorted(a.results.keys() | b.results.keys()):
        if key not in a.results or key not in b.results:
            missing = b if key in a.results else a
            part.left_out.append(f"{title_of(key)}: {missing.label} has no result")
            continue
        left, right = a.results[key], b.results[key]
        ids = _shared(left, right)
        if isinstance(ids, str):
            part.left_out.append(f"{title_of(key)}: {ids}")
            continue
        if left.revision != right.revision:
            part.notes.append(f"{title_of(key)}: the data is of revision {left.revision or 'unknown'} in {a.label} and "
                              f"{right.revision or 'unknown'} in {b.label}")
        statistics = [statistic_of(left, ids), statistic_of(right, ids)]
        values = [float(statistic(np.ones((1, len(ids))))[0]) for statistic in statistics]
        for run, result, value in ((a, left, values[0]), (b, right, values[1])):
            if abs(value - result.main) > AGREES:
                part.notes.append(f"{title_of(key)}: {run.label} has {result.main_score} {result.main:.4f} in the file "
                                  f"and {value:.4f} by its items; the items are compared")
        draws = resample(statistics, len(ids), n_resamples=n_resamples, seed=seed, name=key[0])
        better, worse = merits(left, ids), merits(right, ids)
        wins, losses = int((better - worse > TIE).sum()), int((worse - better > TIE).sum())
        gaps = draws[0] - draws[1]
        part.draws.append(draws)
        part.rows.append(Row(
            title_of(key), left.task_type, left.main_score, len(ids),
            estimate(values[0], draws[0], len(ids), level), estimate(values[1], draws[1], len(ids), level),
            estimate(values[0] - values[1], gaps, len(ids), level), p := p_value(gaps, len(ids)), p,
            wins, len(ids) - wins - losses, losses,
        ))
    return part


def _mean(part: _Drawn, level: float) -> Row | None:
    """The mean over tasks, each with samples of its own; wins, ties and losses are filled in later."""
    if len(part.rows) < 2:
        return None
    every = np.array(part.draws)                            # (tasks, 2, n_resamples)
    a, b = every.mean(axis=0)
    n = _effective_items(every[:, 0] - every[:, 1], [row.n_items for row in part.rows])
    mean_a, mean_b = (float(np.mean(values)) for values in zip(*((row.a.value, row.b.value) for row in part.rows),
                                                               strict=True))
    p = p_value(a - b, n)
    return Row(MEAN, "", "", sum(row.n_items for row in part.rows), estimate(mean_a, a, n, level),
               estimate(mean_b, b, n, level), estimate(mean_a - mean_b, a - b, n, level), p, p, 0, 0, 0)


def _effective_items(draws: FloatArray, n_items: Sequence[int]) -> int:
    """How many items a mean over tasks is as sure as: one task of ten draws does not make a mean over many unsure.

    Source: Welch 1947, whose degrees of freedom weigh each task by how much of the variance it brings.
    """
    spread = draws.var(axis=1)
    unsure = (spread**2 / np.maximum(np.array(n_items) - 1, 1)).sum()
    return min(n_items) if unsure == 0 else int(spread.sum() ** 2 / unsure) + 1


def _shared(a: Result, b: Result) -> list[str] | str:
    """The items of both, or why they cannot be compared one by one."""
    if a.main_score != b.main_score:
        return f"one is scored by {a.main_score}, the other by {b.main_score}"
    if not a.per_item or not b.per_item:
        return "values of single items are missing; evaluate again with Qianru"
    if a.per_item.keys() != b.per_item.keys():
        both = len(a.per_item.keys() & b.per_item.keys())
        return (f"the items differ: {len(a.per_item):,} and {len(b.per_item):,}, {both:,} of them the same; evaluate "
                "both on the same data")
    if any(not math.isclose(gold, b.gold.get(name, math.nan)) for name, gold in a.gold.items()):
        return "the gold values differ; evaluate both on the same data"
    return list(a.per_item)


def title_of(key: Key) -> str:
    """The task, with its subset where it has several.

    >>> title_of(("STSB", "test", "default")), title_of(("BUCC", "test", "zh-en"))
    ('STSB', 'BUCC zh-en')
    """
    task, _, subset = key
    return task if subset in ("default", "") else f"{task} {subset}"
