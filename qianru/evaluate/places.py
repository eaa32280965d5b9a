"""Where the files of a task lie: beside its description, below a folder of data, or in the cache of downloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qianru.errors import BadFile
from qianru.evaluate.task import Task

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".tsv", ".tsv.gz", ".csv", ".csv.gz")
PARTS: Mapping[str, tuple[str, ...]] = {
    "corpus": ("corpus",), "queries": ("queries", "query"), "qrels": ("qrels", "default", "data"),
    "top_ranked": ("top_ranked",),
}
"""Part -> what its folder or the beginning of its file's name is called on the hubs."""
OTHERS = {"corpus", "queries", "query", "top_ranked", "instruction"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look.

    data: a folder with the files of user tasks and, by name, with data sets of the hubs; None for none
    """

    data: Path | None = None

    def files(self, task: Task, part: str) -> list[Path]:
        """The files of a part: "file" (what is tested), "train", "corpus", "queries", "qrels", "top_ranked".

        Raises BadFile, naming the command that downloads them, where there are none.
        """
        if task.layout != "hub":
            return [self._named(task, part)]
        split = task.train_split if part == "train" else task.split
        for folder in self._folders(task, apart=part == "qrels"):
            found = _of_part(folder, part, split, task.config)
            if found:
                return found
        raise BadFile(f"{task.name} has no {part.replace('file', 'data')} of the split {split} on this machine. "
                      f"Download it with: qianru download --task {task.name}")

    def has(self, task: Task, part: str) -> bool:
        """Whether there are files of the part."""
        try:
            return bool(self.files(task, part))
        except BadFile:
            return False

    def _named(self, task: Task, part: str) -> Path:
        name = task.files.get(part) or (task.files.get("test") if part == "file" else None)
        if not name:
            raise BadFile(f"{task.name} names no {part} among its [files]; it has {', '.join(task.files)}.")
        folders = [folder for folder in (task.folder, self.data) if folder is not None]
        folders += list(self._folders(task, apart=False)) if task.ids else []
        for folder in folders:
            if (folder / name).exists():
                return folder / name
        if task.ids:
            raise BadFile(f"{task.name} is not on this machine. Download it with: qianru download --task {task.name}")
        raise BadFile(f"There is no {name} in {' or '.join(map(str, folders))}, where {task.name} looks for its "
                      f"{part}. Correct the path, or say --data FOLDER.")

    def _folders(self, task: Task, *, apart: bool) -> Iterator[Path]:
        """Folders of the data set that are there; first, where judgments lie apart, those of the judgments."""
        from qianru.models.data_sets import data_set_here

        every = [task.qrels_ids, task.ids] if apart else [task.ids]
        for ids in every:
            for hub, name in ids.items():
                if self.data is not None:
                    short = name.rpartition("/")[2]
                    for folder in (self.data / task.name, self.data / name, self.data / name.replace("/", "__"),
                                   self.data / short):
                        if folder.is_dir() and (ids is task.ids or folder.name != task.name):
                            yield folder
                here = data_set_here(hub, name, task.revision if hub == "huggingface" else "")
                if here is not None:
                    yield here


def _of_part(folder: Path, part: str, split: str, config: str) -> list[Path]:
    """The files of a part and split, by the names that the hubs give them."""
    every = [path for path in sorted(folder.rglob("*")) if path.name.lower().endswith(SUFFIXES) and path.is_file()]
    if config:
        every = [path for path in every if config.lower() in path.relative_to(folder).as_posix().lower()]
    names = PARTS.get(part)
    if names is None:
        plain = [path for path in every if not _is_other(path, folder)]
        return [path for path in plain if _has_split(path, split)]
    by_name = [path for path in every if _begins(path.name, names) and path.parent.name not in OTHERS]
    in_folder = [path for path in every if path.parent.name.lower() in names and not _is_other(path, folder, names)]
    for found in (in_folder, by_name):
        chosen = [path for path in found if _has_split(path, split)]
        if chosen:
            return chosen
    if part != "qrels":          # there, another split would be other judgments
        return in_folder or by_name
    return []


def _is_other(path: Path, folder: Path, but: tuple[str, ...] = ()) -> bool:
    """Whether a file is of a part that is not meant."""
    others = tuple(OTHERS - set(but))
    return _begins(path.name, others) or path.relative_to(folder).parts[0].lower() in others


def _begins(name: str, starts: tuple[str, ...]) -> bool:
    return name.lower().partition(".")[0].partition("-")[0] in starts


def _has_split(path: Path, split: str) -> bool:
    """Whether the file's name or its folder's is that of the split: test-00000-of-00001.parquet, test/0000.parquet."""
    first = path.name.lower().partition(".")[0].partition("-")[0]
    return first == split.lower() or path.parent.name.lower() == split.lower()
