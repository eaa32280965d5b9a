"""Embedding to a folder on many machines: the job of embedding_folder.py as a Ray Data pipeline.

    reader (one)      texts -> shards, one row each; those that are there already are only named
    workers (many)    a model each; shard -> file, written whole or not at all
    here              holds the folder's lock, collects what was made, writes the manifest

A worker that dies is started anew and its shard made again; a shard that was written is recognised by its digest, so no
text is there twice. All machines see the same folder and the same input, under the same paths.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from qianru.errors import BadInput, ModelMismatch, QianruError, ServerFailed, require
from qianru.models.base import Model
from qianru.models.embedding_folder import (
    Card,
    EmbedPlan,
    EmbedReport,
    Entry,
    Shard,
    begin_card,
    entry_of,
    finish,
    make_shard,
    shards_of,
    writing,
)
from qianru.types import Progress

Texts: TypeAlias = Callable[[list[str]], Iterable[tuple[str, str]]]
"""Called on one of the machines with a list for what cannot be read; gives (id, text) pairs."""
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to run.

    workers: how many, each with a model of its own;  cpus, gpus: that each of them takes, also parts of one
    address: of a cluster that runs already, e.g. "auto" or "ray://host:10001"; None for one on this machine
    """

    workers: int = 2
    cpus: float = 1
    gpus: float = 0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or self.cpus < 0 or self.gpus < 0 or self.cpus + self.gpus == 0:
            raise BadInput(f"At least one worker and some part of a processor are needed, not {self.workers} workers "
                           f"with {self.cpus} CPUs and {self.gpus} GPUs.")


def embed_on_ray(
    folder: Path,
    load_model: Callable[[], Model],
    texts: Texts,
    plan: EmbedPlan | None = None,
    cluster: Cluster | None = None,
    *,
    progress: Progress | None = None,
    on_problem: Callable[[str], None] = lambda problem: None,
) -> EmbedReport:
    """Like embed_to, on the workers of a Ray cluster: the same files, and called again it goes on where it stopped.

    load_model, texts: called on other machines too; functions of an installed module, or partials of such
    on_problem: told what the reader could not read
    Raises what embed_to does, MissingExtra without Ray, ServerFailed if the cluster cannot be reached or gives up.
    """
    plan, cluster, folder = plan or EmbedPlan(), cluster or Cluster(), Path(folder)
    card = begin_card(load_model().spec, plan)
    here = str(Path.cwd())
    made: dict[int, Entry] = {}
    n_texts = n_before = 0
    with writing(folder, card), _connected(cluster) as data:
        read = partial(_read, here=here, folder=str(folder), texts=texts, card=card)
        pipeline = data.from_items([{"job": 0}]).flat_map(read, num_cpus=0).map(
            _Worker, fn_constructor_args=(here, str(folder), load_model, card),
            compute=data.ActorPoolStrategy(size=cluster.workers), num_cpus=cluster.cpus, num_gpus=cluster.gpus,
        )
        for row in _told(pipeline):
            for problem in row["problems"]:
                on_problem(problem)
            if row["entry"] is None:
                continue
            made[row["number"]] = row["entry"]
            n_texts += row["entry"]["n_texts"]
            n_before += row["entry"]["n_texts"] if row["before"] else 0
            if progress is not None:
                progress(n_texts, None)
        if sorted(made) != list(range(len(made))):
            raise ServerFailed("Ray lost a part of the work. The same command goes on from what is there.")
        if progress is not None:
            progress(n_texts, n_texts)
        return finish(folder, card, [made[number] for number in range(len(made))], n_before)


class _Worker:
    """One model; a row with a shard becomes a row with what the manifest says of it."""

    def __init__(self, here: str, folder: str, load_model: Callable[[], Model], card: Card) -> None:
        self._here, self._folder, self._card = here, Path(folder), card
        with chdir(here):
            self._model = load_model()
        if self._model.spec.fingerprint != card["fingerprint"]:
            raise ModelMismatch(f"A worker loaded another model than {card['model']} here. All machines need the same.")

    def __call__(self, row: Row) -> Row:
        told = json.loads(row["told"])
        if told["shard"] is not None:
            shard = Shard(*told.pop("shard"))
            try:
                with chdir(self._here):
                    told["entry"] = (entry_of(self._folder, shard)       # a worker that died may have written it
                                     or make_shard(self._folder, shard, self._model, self._card))
            except QianruError as error:
                told["error"] = [type(error).__name__, str(error)]
        return {"told": json.dumps(told)}


def _read(job: Row, *, here: str, folder: str, texts: Texts, card: Card) -> Iterator[Row]:
    """A row for each shard. JSON, because Arrow's texts cannot hold every Python text."""
    problems: list[str] = []
    told: dict[str, Any] = {"number": -1, "shard": None, "entry": None, "before": False, "error": None}
    with chdir(here):
        try:
            for shard in shards_of(texts(problems), card):
                entry = entry_of(Path(folder), shard)
                row = told | {"number": shard.number, "problems": problems.copy(), "entry": entry,
                              "before": entry is not None, "shard": shard if entry is None else None}
                problems.clear()
                yield {"told": json.dumps(row)}
        except QianruError as error:
            told |= {"error": [type(error).__name__, str(error)]}
    yield {"told": json.dumps(told | {"problems": problems})}


def _told(pipeline: Any) -> Iterator[Row]:
    """What the workers tell, as it comes; their errors raised here."""
    from ray.exceptions import RayError

    try:
        for row in pipeline.iter_rows():
            told = json.loads(row["told"])
            if told["error"] is not None:
                raise _same_error(*told["error"])
            yield told
    except RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
        raise ServerFailed(f"Ray gave up: {reason} The same command goes on from what is there.") from error


def _same_error(name: str, message: str) -> QianruError:
    """The error that another machine raised."""
    from qianru import errors

    kind = getattr(errors, name, QianruError)
    made: QianruError = kind.__new__(kind)
    made.args = (message,)
    return made


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """ray.data, on a cluster that is left as it was found: no telemetry, no dashboard, rows handed on one by one."""
    ray, _, data = (require(name, "ray", "Embedding on a cluster") for name in ("ray", "pandas", "ray.data"))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"       # read when a cluster starts; Ray sends statistics otherwise
    ours = not ray.is_initialized()
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ours:
        start = {} if cluster.address else {"include_dashboard": False, "num_cpus": _cpus(cluster)}
        try:
            ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR, **start)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise ServerFailed(f"There is no Ray cluster at {cluster.address or 'this machine'}: {error}") from error
    context = data.DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars, context.print_on_execution_start
    context.target_max_block_size = 1        # a shard is a row is a block, so that each can go to another worker
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield data
    finally:
        context.target_max_block_size, context.enable_progress_bars, context.print_on_execution_start = before
        if ours:
            ray.shutdown()


def _cpus(cluster: Cluster) -> int:
    """Of a cluster on this machine: as many as the workers ask for, whatever it has."""
    from math import ceil

    return max(1, ceil(cluster.workers * cluster.cpus))
