"""All that is known of some runs, gathered to be shown: scores with intervals, comparisons, similarities, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qianru.evaluate.atlas import Atlas, alike_by_gold
from qianru.evaluate.cautions import cautions
from qianru.evaluate.compare import (
    AGREES,
    Comparison,
    Key,
    Run,
    Win,
    compare,
    compared_results,
    largest_wins,
    title_of,
)
from qianru.evaluate.resampling import N_RESAMPLES, Estimate, estimate, resample
from qianru.evaluate.result import Result
from qianru.evaluate.statistics import statistic_of
from qianru.evaluate.threshold import PRECISION, Suggestion, suggest
from qianru.types import FloatArray

N_WINS = 8
MEAN_PARTS = 2           # tasks from which on a mean is told


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """How alike a model finds what belongs together and what does not, and from where on it can be trusted."""

    model: str
    task: str
    together: FloatArray
    apart: FloatArray
    suggestion: Suggestion | None


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What a page shows.

    scores: (title, metric, label of the run -> score) for each task;  means: label -> mean, of runs that have all tasks
    wins: (task, winner, loser, items) of the comparisons
    """

    labels: tuple[str, ...]
    scores: tuple[tuple[str, str, Mapping[str, Estimate]], ...]
    means: Mapping[str, float]
    comparisons: tuple[Comparison, ...]
    wins: tuple[tuple[str, str, str, tuple[Win, ...]], ...]
    splits: tuple[Split, ...]
    atlases: tuple[Atlas, ...]
    cautions: tuple[str, ...]
    versions: Mapping[str, str]


def make_report(
    runs: Sequence[Run], atlases: Sequence[Atlas] = (), *, precision: float = PRECISION,
    n_resamples: int = N_RESAMPLES, seed: int = 0,
) -> Report:
    """Everything that can be told of the runs; the first is held against each of the others.

    precision: that the suggested thresholds are for
    """
    keys: dict[Key, None] = dict.fromkeys(key for run in runs for key in run.results)
    scores = tuple(
        (title_of(key), next(run.results[key].main_score for run in runs if key in run.results),
         {run.label: score_of(run.results[key], n_resamples, seed) for run in runs if key in run.results})
        for key in sorted(keys))
    means = {run.label: float(np.mean([result.main for result in run.results.values()]))
             for run in runs if len(keys) >= MEAN_PARTS and run.results.keys() == keys.keys()}
    comparisons = tuple(compare(runs, n_resamples=n_resamples, seed=seed)) if len(runs) > 1 else ()
    wins = [(left.task, winner.label, loser.label, tuple(largest_wins(left, right, N_WINS)))
            for other in runs[1:] for winner, loser in ((runs[0], other), (other, runs[0]))
            for left, right in compared_results(winner, loser) if left.texts]
    splits = [_split(run.label, result, precision, seed) for run in runs for result in run.results.values()
              if result.gold]
    splits += [Split(atlas.model, atlas.task, atlas.together, atlas.apart, _suggested(atlas.together, atlas.apart,
                                                                                      precision, seed))
               for atlas in atlases if not any(split.model == atlas.model and split.task == atlas.task
                                               for split in splits)]
    results = [result for run in runs for result in run.results.values()]
    versions = {name: version for result in results for name, version in result.versions.items()}
    return Report(tuple(run.label for run in runs), scores, means, comparisons, tuple(won for won in wins if won[3]),
                  tuple(splits), tuple(atlases), tuple(cautions(results)), versions)


def score_of(result: Result, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Estimate:
    """The main score with its interval; without one (NaN) where the single items are not there or do not give it."""
    ids = list(result.per_item)
    statistic = statistic_of(result, ids) if ids else None
    if statistic is None or abs(statistic(np.ones((1, len(ids))))[0] - result.main) > AGREES:
        return Estimate(result.main, np.nan, np.nan)
    draws = resample([statistic], len(ids), n_resamples=n_resamples, seed=seed, name=result.task)[0]
    return estimate(result.main, draws, len(ids))


def _split(label: str, result: Result, precision: float, seed: int) -> Split:
    values = np.array([(result.similarities or result.per_item)[name] for name in result.per_item])
    alike = alike_by_gold(np.array([result.gold[name] for name in result.per_item]))
    together, apart = values[alike == 1], values[alike == 0]
    return Split(label, result.task, together, apart, _suggested(together, apart, precision, seed))


def _suggested(together: FloatArray, apart: FloatArray, precision: float, seed: int) -> Suggestion | None:
    right = np.concatenate([np.ones(len(together), np.bool_), np.zeros(len(apart), np.bool_)])
    return suggest(np.concatenate([together, apart]), right, precision, seed=seed)
