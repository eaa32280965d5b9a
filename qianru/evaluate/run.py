"""One model on one task, or several on several: the Results, and what went wrong beside them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from qianru import __version__
from qianru.errors import QianruError
from qianru.evaluate.answering import answer
from qianru.evaluate.data import Clusters, Data, Labelled, Pairs, Search, read_data
from qianru.evaluate.encode import Encoder, encoder_for, prompts_used, roles_of
from qianru.evaluate.fitting import fitted_on
from qianru.evaluate.labels import classify, cluster
from qianru.evaluate.outcome import Outcome
from qianru.evaluate.pairs import judge_pairs, mine_bitext
from qianru.evaluate.places import Places
from qianru.evaluate.result import Result
from qianru.evaluate.retrieval import DEPTH, rerank, retrieve
from qianru.evaluate.search import SearchPlan, n_passes
from qianru.evaluate.task import Task
from qianru.evaluate.vector_cache import VectorCache
from qianru.models.base import Model
from qianru.types import Kind, Progress

PACKAGES = ("numpy", "scikit-learn", "scipy", "tokenizers", "torch")


@dataclass(frozen=True, slots=True)
class How:
    """How to evaluate.

    data: where files of tasks are besides their own folder;  cache: of vectors, None for none
    memory_bytes: that scoring may take, the model aside
    kinds: of vectors, None for all;  weights: of these where they are several
    instructions: whether models that follow one are given that of the task
    """

    data: Path | None = None
    cache: VectorCache | None = None
    memory_bytes: int = 2 << 30
    kinds: tuple[Kind, ...] | None = None
    weights: Mapping[Kind, float] | None = None
    instructions: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """A task that could not be evaluated."""

    model: str
    task: str
    error: QianruError


def evaluate(model: Model | str, task: Task, how: How = How(), *, progress: Progress | None = None) -> Result:
    """The model's scores on the task.

    model: one that is ready, or a name of qianru.evaluate.fitting.FRESH: one that learns, fitted on the task's texts
    progress: counts texts
    Raises BadFile where the task's texts are not there or damaged, BadInput where the model makes too few vectors or
    some with NaN.
    """
    begun = time.perf_counter()
    data = read_data(task, Places(how.data))
    name = model if isinstance(model, str) else model.spec.name
    ready = fitted_on(model, data) if isinstance(model, str) else model
    with tempfile.TemporaryDirectory(prefix="qianru-evaluate-") as place:
        cache = how.cache
        if cache is None and isinstance(data, Search) and n_passes(len(data.queries), how.memory_bytes) > 1:
            cache = VectorCache(Path(place))         # the second pass must not embed the corpus again
        encoder = encoder_for(ready, task, how.kinds, cache, how.instructions, progress)
        outcome = _judged(encoder, task, data, how)
    spec = ready.spec
    roles = {role for kind in encoder.kinds for role in roles_of(task, kind, encoder)}
    return Result(
        task=task.name, task_type=task.type, languages=task.languages, split=task.split, revision=task.revision,
        model=name + _mixture(encoder, how), fingerprint=spec.fingerprint, kinds=encoder.kinds,
        main_score=task.main_score,
        scores=outcome.scores, per_item=outcome.per_item, gold=outcome.gold, texts=outcome.texts,
        similarities=outcome.similarities, repeats=outcome.repeats,
        n_texts=encoder.n_texts, n_truncated=encoder.n_truncated,
        prompts=prompts_used(ready, encoder, sorted(roles)), seconds=time.perf_counter() - begun, versions=_versions(),
    )


def evaluate_all(
    models: Sequence[Model | str | Callable[[], Model | str]], tasks: Sequence[Task], how: How = How(), *,
    output: Path | None = None, told: Callable[[str, Task], Progress | None] | None = None,
) -> Iterator[Result | Failed]:
    """Every model on every task; what is finished is written to output at once, whatever becomes of the others.

    models: also as functions that load one, so that one at a time is in memory
    told: called with model and task before each, it may give back where to tell the progress
    """
    for given in models:
        try:
            model = given() if callable(given) and not isinstance(given, Model) else given
        except QianruError as error:
            yield from (Failed(getattr(given, "__name__", "model"), task.name, error) for task in tasks)
            continue
        assert isinstance(model, str | Model)
        name = model if isinstance(model, str) else model.spec.name
        for task in tasks:
            try:
                result = evaluate(model, task, how, progress=told(name, task) if told is not None else None)
                if output is not None:
                    result.write(output)
            except QianruError as error:
                yield Failed(name, task.name, error)
            else:
                yield result


def _judged(encoder: Encoder, task: Task, data: Data, how: How) -> Outcome:
    if isinstance(data, Labelled):
        return classify(encoder, task, data)
    if isinstance(data, Clusters):
        return cluster(encoder, task, data)
    if isinstance(data, Pairs):
        mining = task.type == "BitextMining"
        return (mine_bitext if mining else judge_pairs)(encoder, task, data, how.weights)
    if data.answers is not None:
        return answer(encoder, data, how.weights, how.memory_bytes)
    if data.candidates is not None:
        return rerank(encoder, task, data, how.weights)
    return retrieve(encoder, task, data, SearchPlan(DEPTH, how.weights, how.memory_bytes))


def _mixture(encoder: Encoder, how: How) -> str:
    """The weights of several kinds, if they are not the usual: another mixture is another model."""
    if how.weights is None or len(encoder.kinds) == 1:
        return ""
    return " [" + " + ".join(f"{how.weights.get(kind, 0):g} {kind}" for kind in encoder.kinds) + "]"


def _versions() -> dict[str, str]:
    """package -> version, of those that are installed."""
    found = {"qianru": __version__}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
