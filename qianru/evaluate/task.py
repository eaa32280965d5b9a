"""Tasks as data: what is measured, where its texts come from, how they are asked. Known ones stand in tasks.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from qianru.errors import BadFile, BadInput, SpecMismatch, UnknownName
from qianru.models.catalogue import HubName
from qianru.types import Role

TaskType: TypeAlias = Literal["Answering", "BitextMining", "Classification", "Clustering", "PairClassification",
                              "Reranking", "Retrieval", "STS"]
TYPES: tuple[TaskType, ...] = get_args(TaskType)
LAYOUTS = ("hub", "table", "parts", "squad")
MAIN_SCORES: Mapping[TaskType, str] = {
    "Answering": "packed_at_1000", "BitextMining": "f1", "Classification": "accuracy", "Clustering": "v_measure",
    "PairClassification": "max_ap", "Reranking": "map_at_1000", "Retrieval": "ndcg_at_10", "STS": "cosine_spearman",
}
INSTRUCTIONS: Mapping[TaskType, str] = {
    "BitextMining": "Retrieve parallel sentences.", "Classification": "Classify user passages.",
    "Clustering": "Identify categories in user passages.", "STS": "Retrieve semantically similar text.",
    "PairClassification": "Retrieve text that are semantically similar to the given text.",
}
"""What mteb asks where a task says nothing. For queries the model's own prompt is better."""
ASYMMETRIC: tuple[TaskType, ...] = ("Retrieval", "Reranking", "Answering")
LABELLED: tuple[TaskType, ...] = ("Classification", "Clustering")
TASK_FILE = ".toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.

    name, type, languages, main_score: as mteb has them;  suites: the collections of tasks that it belongs to
    ids: hub -> what the data set is called there;  qrels_ids: the same of judgments, where they lie apart
    revision: commit of the data set on Hugging Face, as mteb pins it
    config: the part of a data set that holds several;  split, train_split: what is tested, what is learnt from
    layout: how the files lie (see qianru.evaluate.data);  files: part -> path, of all layouts but "hub"
    columns: what we call a column -> what the file does;  where: column -> the only value that counts
    form, header: of the tables, else as their names say
    prompts: role -> the instruction for models that follow one
    samples_per_label, draws: of Classification;  draws, draw_size: of Clustering; no draws: the data's own sets
    every: without a split for it, every so many-th row is tested and the others are learnt from
    max_rows: no more rows than these are read;  max_passage: of T2Ranking's subsets, the last passage
    ignore_identical_ids: whether a document with the id of the query is left out
    folder: where a task of the user's own was described; its paths start there
    """

    name: str
    type: TaskType
    main_score: str = ""
    languages: tuple[str, ...] = ("zh",)
    suites: tuple[str, ...] = ()
    ids: Mapping[HubName, str] = field(default_factory=dict)
    qrels_ids: Mapping[HubName, str] = field(default_factory=dict)
    revision: str = ""
    config: str = ""
    split: str = "test"
    train_split: str = "train"
    layout: str = "hub"
    files: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    form: str | None = None
    header: bool = True
    prompts: Mapping[Role, str] = field(default_factory=dict)
    samples_per_label: int = 8
    draws: int = 10
    draw_size: int = 16_384
    every: int = 0
    max_rows: int = 0
    max_passage: int = 0
    ignore_identical_ids: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise UnknownName("type of task", str(self.type), TYPES, f"which {self.name} names")
        if self.layout not in LAYOUTS:
            raise UnknownName("layout", self.layout, LAYOUTS, f"which {self.name} names")
        if not self.main_score:
            object.__setattr__(self, "main_score", MAIN_SCORES[self.type])

    @property
    def instruction(self) -> str | None:
        """What a model that follows instructions is told; None to leave it to its own prompt."""
        return self.prompts.get("query") or INSTRUCTIONS.get(self.type)


@cache
def known_tasks() -> tuple[Task, ...]:
    """Every task of tasks.toml, in its order."""
    said = tomllib.loads((files("qianru") / "data" / "tasks.toml").read_text(encoding="utf-8"))
    defaults: dict[str, dict[str, Any]] = said.get("defaults", {})
    return tuple(_task({**defaults.get(entry["type"], {}), **entry}, "tasks.toml", None) for entry in said["task"])


def find_tasks(name: str) -> list[Task]:
    """The tasks meant by a name: of a task, of a suite ("C-MTEB"), of a task file, or of a folder of these.

    Raises UnknownName for a name without a meaning, BadFile for a file that cannot be read or a folder without any.
    """
    for task in known_tasks():
        if name.lower() == task.name.lower():
            return [task]
    suite = [task for task in known_tasks() if name.lower() in (known.lower() for known in task.suites)]
    if suite:
        return suite
    path = Path(name)
    if path.is_dir():
        found = sorted(path.glob(f"*{TASK_FILE}"))
        if not found:
            raise BadFile(f"The folder {path} holds no task: no file that ends in {TASK_FILE}.")
        return [read_task(file) for file in found]
    if path.suffix == TASK_FILE or path.exists():
        return [read_task(path)]
    suites = sorted({suite for task in known_tasks() for suite in task.suites})
    raise UnknownName("task, suite of tasks or task file", name, [*suites, *(task.name for task in known_tasks())])


def read_task(path: Path) -> Task:
    """The task that a TOML file describes; docs/evaluation.md says how.

    Raises BadFile for a file that is not there or no TOML, SpecMismatch for one that says something else.
    """
    path = Path(path)
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(f"There is no task file {path}. Check the path.") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} is no task file: {error}. It is TOML with a name, a type and the files.") from error
    said = {"name": path.stem, "layout": "table", **said}
    for name, kind in (("type", str), ("files", dict)):
        if not isinstance(said.get(name), kind) or not said[name]:
            raise SpecMismatch(f"{path} says no {name}. Give the type ({', '.join(TYPES)}) and the [files].")
    return _task(said, str(path), path.parent)


def only_types(tasks: Iterable[Task], wanted: Iterable[str]) -> list[Task]:
    """The tasks of these types, each once; all if no type is named."""
    by_lower = {known.lower(): known for known in TYPES}
    types = []
    for name in wanted:
        if name.lower() not in by_lower:
            raise UnknownName("type of task", name, TYPES)
        types.append(by_lower[name.lower()])
    chosen: dict[str, Task] = {}
    for task in tasks:
        if types and task.type not in types:
            continue
        if chosen.setdefault(task.name, task) != task:
            raise BadInput(f"Two tasks are called {task.name}. Give one of them another name.")
    return list(chosen.values())


def _task(said: Mapping[str, Any], place: str, folder: Path | None) -> Task:
    """The task of a TOML table, every value checked."""
    kinds = {entry.name: str(entry.type) for entry in fields(Task) if entry.name != "folder"}
    values: dict[str, Any] = {}
    for name, value in said.items():
        if name not in kinds:
            raise SpecMismatch(f"{place}: {UnknownName('setting', name, kinds)}")
        values[name] = _checked(value, kinds[name], f"{place}: {name}")
    return Task(**values, folder=folder)


def _checked(value: Any, kind: str, place: str) -> Any:
    """The value as Task's field of that type takes it."""
    wanted: Any = dict if kind.startswith("Mapping") else list if kind.startswith("tuple") else \
        {"bool": bool, "int": int}.get(kind, str)
    if wanted is list and isinstance(value, str):
        value = [value]
    if not isinstance(value, wanted) or (kind == "int" and (isinstance(value, bool) or value < 0)):
        raise SpecMismatch(f"{place} is {value!r:.60}; it must be of type {wanted.__name__}.")
    if isinstance(value, list):
        return tuple(map(str, value))
    if isinstance(value, dict) and "Any" not in kind:
        return {key: str(inner) for key, inner in value.items()}      # columns without a name have a number
    return value
