"""A data set: rows of one file or folder, each checked before training, so that none stops it halfway.

Memory: about 20 bytes a row, whatever the size of the file.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from qianru.errors import BadFile, BadInput
from qianru.train.data.arrow import ArrowRows, dataset_files
from qianru.train.data.columns import Columns
from qianru.train.data.examples import Example, Labelled, Ranked, Scored, Task, n_chars
from qianru.train.data.lines import SUFFIXES, LineRows, kind_of
from qianru.types import IntArray

log = logging.getLogger("qianru")


class Rows(Protocol):
    """Rows of columns in any order."""

    @property
    def names(self) -> list[str]:
        """The columns."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Row i; BadInput, without the place, if it is damaged."""
        ...

    def place(self, i: int) -> str:
        """Where row i stands, for messages."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """All bytes, for a fingerprint."""
        ...


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What to train on, as the user says it.

    path: a .jsonl, .csv, .tsv, .parquet (each of the first three also .gz), or a folder of Hugging Face datasets
    columns: role -> column, where the names do not say it; see columns.NAMES for the roles
    header: whether the first line of a table names its columns; None to go by its words
    weight: how much more often its batches come than its size says
    query_prompt, document_prompt: what stands before its texts; None for the model's own prompts
    bad_rows: "stop" at the first row that cannot be used, or "skip" them and say how many
    """

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    header: bool | None = None
    weight: float = 1.0
    query_prompt: str | None = None
    document_prompt: str | None = None
    bad_rows: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise BadInput(f"The weight of {self.path} must be above 0; it is {self.weight}. Or leave "
                           "the set out.")
        if self.bad_rows not in ("stop", "skip"):
            raise BadInput(f"bad_rows is 'stop' or 'skip', not {self.bad_rows!r:.40}.")


class DataSet:
    """Examples of one task by number.

    n_chars: (n,) letters of each example
    fingerprint: SHA-256 of the file and of how its columns were read
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        path = Path(config.path)
        self._rows: Rows = _open(path, config.header)
        digest = sha256()
        for block in self._rows.blocks():
            digest.update(block)
        self._columns = Columns.find(self._rows.names, config.columns, str(path))
        digest.update(repr((self.task, sorted(self._columns.places.items()))).encode())
        self.fingerprint = digest.hexdigest()
        self._kept, self.n_chars, self.labels = self._checked()

    @property
    def task(self) -> Task:
        """What its examples are."""
        return self._columns.task

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> Example:
        return self._columns.example(self._rows[int(self._kept[i])])

    def split(self, share: float) -> tuple[DataSet, DataSet]:
        """(the rest, about that share of the rows), by a hash of the query or left text: no query is in both.

        So it is the same wherever the file lies and whatever else is trained on. Labels are not split.
        """
        assert self.labels is None
        apart = np.array([_fraction(self[i]) < share for i in range(len(self))])
        parts = copy(self), copy(self)
        for part, mask in zip(parts, (~apart, apart), strict=True):
            part._kept, part.n_chars = self._kept[mask], self.n_chars[mask]
        return parts

    def _checked(self) -> tuple[IntArray, IntArray, IntArray | None]:
        """(rows that can be used, letters of each, class of each labelled text); reads every row once."""
        kept, sizes = np.zeros(len(self._rows), np.int64), np.zeros(len(self._rows), np.int32)
        labels, numbers = array("q"), dict[str, int]()
        n, bad = 0, list[tuple[int, str]]()
        for i in range(len(self._rows)):
            try:
                example = self._columns.example(self._rows[i])
            except BadInput as error:
                if self.config.bad_rows == "stop":
                    raise BadFile(f"{self._rows.place(i)}: {error}. Mend the row, or say bad_rows = 'skip'.") from error
                bad.append((i, str(error)))     # at most as many as there are bad rows, which are few or all
                continue
            kept[n], sizes[n] = i, n_chars(example)
            if isinstance(example, Labelled):
                labels.append(numbers.setdefault(example.label, len(numbers)))
            n += 1
        for i, reason in bad[:3]:
            log.warning("%s: %s; skipped.", self._rows.place(i), reason)
        if bad:
            log.warning("%d of %d rows of %s were skipped.", len(bad), len(self._rows), self.config.path)
        if not n:
            raise BadInput(f"{self.config.path} holds no example.")
        if not labels:
            return kept[:n], sizes[:n], None
        classes = np.array(labels, np.int64)
        alone = (np.bincount(classes) == 1)[classes]
        if alone.all():
            raise BadInput(f"No class of {self.config.path} has two texts, so none has a positive.")
        if alone.any():
            log.warning("%d texts of %s are alone in their class and teach nothing; left out.",
                        alone.sum(), self.config.path)
        return kept[:n][~alone], sizes[:n][~alone], classes[~alone]


def _fraction(example: Example) -> float:
    """A number from 0 to 1 that the query or left text decides."""
    if isinstance(example, Ranked):
        text = example.query
    else:
        text = example.left if isinstance(example, Scored) else example.text
    return int.from_bytes(sha256(text.encode()).digest()[:8]) / 2**64


def _open(path: Path, header: bool | None) -> Any:
    if path.is_dir():
        return ArrowRows(path, dataset_files(path))
    if not path.exists():
        raise BadFile(f"{path} does not exist.")
    if path.suffix in (".parquet", ".arrow"):
        return ArrowRows(path, [path])
    if kind_of(path) in SUFFIXES:
        return LineRows(path, header=header)
    raise BadInput(f"{path} is no file of examples. Readable are {', '.join(SUFFIXES)} (each also .gz), .parquet, "
                   ".arrow and folders of Hugging Face datasets.")
