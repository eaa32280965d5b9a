"""What one model got on one task: its scores in mteb's JSON layout, and the value of every item beside them.

    results/bge-m3/1f0c9a7be2d4/   with other vectors than dense ones: 1f0c9a7be2d4-sparse, …-dense-sparse-multi
        model_meta.json            which model it was
        STSB.json                  mteb's layout: {"task_name": …, "scores": {"test": [{"main_score": …, …}]}, …}
        STSB.items.jsonl.gz        ours: {"id": …, "value": …, "gold": …, "similarity": …, "texts": […]} a line
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qianru.errors import BadFile, BadInput, StorageFailed

FORMAT = 1
META = "model_meta.json"
ITEMS = ".items.jsonl.gz"
LANGUAGES = {"zh": "cmn-Hans", "zh-hant": "cmn-Hant", "en": "eng-Latn"}
"""Ours -> mteb's: the language of ISO 639-3 and the script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One model's scores on one task.

    task, task_type, split, subset, revision: what was measured; revision: of the data, empty if it is not known
    languages: "zh", "en", …
    model, fingerprint: who was measured;  kinds: of vectors that were compared
    main_score: the name of the score that counts
    scores: name -> value, a share of 1, all metrics of the type
    repeats: the same for each draw, where a task is a mean over draws
    per_item: id -> value for one item, by the type:
        Retrieval, Reranking: a query's main metric;  BitextMining: a pair's share of F1;  Classification: a text's
        share of the draws that labelled it right;  Clustering: a draw's v-measure; the mean of these is the main score
        STS, PairClassification: a pair's similarity, to be held against gold; the main score is no mean of these.
        Where that is the best of several similarities, as max_ap is, it is the one that is best
    gold: id -> what the data says of a pair: its score or label; empty for the other types
    similarities: id -> a pair's similarity by the model's own measure, where per_item is of another; else empty
    texts: id -> what the item reads, for people: the query, the two sides of a pair, the text; may be empty
    n_texts, n_truncated: texts that were embedded, and those of them that were too long for the model
    prompts: role -> what was asked for with it;  seconds: that it took;  versions: package -> version
    """

    task: str
    task_type: str
    model: str
    fingerprint: str
    main_score: str
    scores: Mapping[str, float]
    languages: tuple[str, ...] = ("zh",)
    split: str = "test"
    subset: str = "default"
    revision: str = ""
    kinds: tuple[str, ...] = ("dense",)
    per_item: Mapping[str, float] = field(default_factory=dict)
    gold: Mapping[str, float] = field(default_factory=dict)
    similarities: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    repeats: tuple[Mapping[str, float], ...] = ()
    n_texts: int = 0
    n_truncated: int = 0
    prompts: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.main_score not in self.scores:
            raise BadInput(f"{self.task} is scored by {self.main_score}, which is not among its scores: "
                           f"{', '.join(self.scores)}.")
        for name, value in self.scores.items():
            if not math.isfinite(value):
                raise BadInput(f"{self.model} gets {name} = {value} on {self.task}, which is no finite number. Look "
                               "for NaN, infinity or rows of zeros in its vectors.")
        told = (self.gold, self.similarities, self.texts)
        stray = [name for part in told for name in part if name not in self.per_item]
        if stray:
            raise BadInput(f"{self.task} tells something of {stray[0]!r}, which has no value of its own.")

    @property
    def main(self) -> float:
        """The score that counts."""
        return self.scores[self.main_score]

    def write(self, folder: Path) -> Path:
        """Writes both files below the folder, each whole or not at all; returns the path of the scores.

        Raises StorageFailed if that cannot be done.
        """
        way = "" if self.kinds == ("dense",) else "-" + "-".join(self.kinds)
        home = Path(folder) / plain_name(self.model) / plain_name((self.fingerprint[:12] or "unknown") + way)
        path = home / f"{plain_name(self.task)}.json"
        try:
            home.mkdir(parents=True, exist_ok=True)
            meta = {"name": self.model, "revision": self.fingerprint[:12], "languages": None, "loader": None}
            _write(home / META, _json(meta))
            _write(path.with_name(path.stem + ITEMS), gzip.compress(b"".join(self._item_lines()), mtime=0))
            _write(path, _json(self._mteb()))         # last: what is there is complete
        except OSError as error:
            raise StorageFailed(f"The result of {self.task} could not be written to {home}: {error.strerror or error}. "
                                "Free some space, or name another folder with -o.") from error
        return path

    @classmethod
    def read(cls, path: Path) -> Result:
        """The result of a file that write made; one of mteb's own comes without items.

        Raises BadFile for anything else.
        """
        path = Path(path)
        said = _parse(path)
        try:
            ((split, entries),) = said["scores"].items()
            (entry,) = entries
            ours = said.get("qianru") or {}
            return cls(
                task=said["task_name"], task_type=ours.get("task_type", ""), split=split,
                subset=entry["hf_subset"], languages=tuple(_short(code) for code in entry["languages"]),
                revision=said.get("dataset_revision") or "", seconds=said.get("evaluation_time") or 0.0,
                model=ours.get("model") or _model_beside(path), fingerprint=ours.get("fingerprint", path.parent.name),
                main_score=ours.get("main_score", "main_score"), scores=_scores(entry, ours),
                repeats=tuple(entry.get("scores_per_experiment") or ()),
                kinds=tuple(ours.get("kinds", ("dense",))),
                n_texts=ours.get("n_texts", 0), n_truncated=ours.get("n_truncated", 0),
                prompts=ours.get("prompts", {}),
                versions=ours.get("versions", {"mteb": said.get("mteb_version") or ""}),
                **_read_items(path),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadFile(f"{path} is not the result of one task on one split: {error!r}. "
                          "Evaluate the model again.") from error

    def _mteb(self) -> dict[str, Any]:
        languages = [LANGUAGES.get(language, language) for language in self.languages]
        scores: dict[str, Any] = dict(self.scores)
        if self.repeats:
            scores["scores_per_experiment"] = [dict(repeat) for repeat in self.repeats]
        return {
            "dataset_revision": self.revision,
            "task_name": self.task,
            "mteb_version": self.versions.get("mteb", "2.0.0"),     # whose layout this is
            "scores": {self.split: [scores | {"main_score": self.main, "hf_subset": self.subset,
                                              "languages": languages}]},
            "evaluation_time": self.seconds,
            "kg_co2_emissions": None,
            "qianru": {
                "format": FORMAT, "model": self.model, "fingerprint": self.fingerprint, "task_type": self.task_type,
                "kinds": list(self.kinds), "main_score": self.main_score,
                "n_texts": self.n_texts, "n_truncated": self.n_truncated,
                "prompts": dict(self.prompts), "versions": dict(self.versions),
            },
        }

    def _item_lines(self) -> Iterator[bytes]:
        for name, value in self.per_item.items():
            line: dict[str, Any] = {"id": name, "value": value}
            if name in self.gold:
                line["gold"] = self.gold[name]
            if name in self.similarities:
                line["similarity"] = self.similarities[name]
            if name in self.texts:
                line["texts"] = list(self.texts[name])
            yield _json(line, indent=None)


def read_results(folder: Path) -> list[Result]:
    """Every result below the folder, by path; BadFile if there is no such folder or one of them is damaged."""
    folder = Path(folder)
    if folder.is_file():
        return [Result.read(folder)]
    if not folder.is_dir():
        raise BadFile(f"There is no folder of results {folder}. Make one with: qianru evaluate MODEL -o {folder}")
    return [Result.read(path) for path in sorted(folder.rglob("*.json"))
            if path.name != META and not path.name.startswith(".")]


def plain_name(name: str) -> str:
    """A name as part of a path: slashes as mteb has them, nothing that leads elsewhere.

    >>> plain_name("BAAI/bge-m3"), plain_name("../词")
    ('BAAI__bge-m3', '_.__词')
    """
    plain = re.sub(r"[\x00-\x1f:*?\"<>|\\]", "_", name.replace("/", "__"))
    return "_" + plain[1:] if plain.startswith(".") or not plain else plain[:120]


def _read_items(path: Path) -> dict[str, dict[str, Any]]:
    """per_item and what belongs to it from the file beside; empty if there is none."""
    items = path.with_name(path.stem + ITEMS)
    found: dict[str, dict[str, Any]] = {"per_item": {}, "gold": {}, "similarities": {}, "texts": {}}
    try:
        lines = gzip.decompress(items.read_bytes()).splitlines()
        for line in lines:
            said = json.loads(line)
            found["per_item"][said["id"]] = float(said["value"])
            if "gold" in said:
                found["gold"][said["id"]] = float(said["gold"])
            if "similarity" in said:
                found["similarities"][said["id"]] = float(said["similarity"])
            if "texts" in said:
                found["texts"][said["id"]] = tuple(said["texts"])
    except FileNotFoundError:
        return found
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{items} is damaged: {error}. Evaluate the model again.") from error
    return found


def _scores(entry: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an entry; main_score only where no other name for it is known."""
    dropped = {"hf_subset", "languages", "scores_per_experiment"} | ({"main_score"} if ours else set())
    return {name: float(value) for name, value in entry.items()
            if name not in dropped and isinstance(value, int | float) and math.isfinite(value)}


def _model_beside(path: Path) -> str:
    """The name of the model in mteb's file beside a result, else that of the folder."""
    meta = path.with_name(META)
    name = _parse(meta).get("name") if meta.is_file() else None
    return str(name or path.parent.parent.name)


def _short(code: str) -> str:
    return next((ours for ours, theirs in LANGUAGES.items() if theirs == code), code)


def _parse(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read: {error}. Evaluate the model again.") from error
    if not isinstance(said, dict):
        raise BadFile(f"{path} is not the result of a task. Evaluate the model again.")
    return said


def _json(value: Any, indent: int | None = 2) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def _write(path: Path, content: bytes) -> None:
    """The file, whole or not at all."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
