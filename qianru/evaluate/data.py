"""The texts of a task, read from where they lie: a task's type says what they are, its layout where.

    hub     as on Hugging Face and ModelScope: files named by part and split, judgments perhaps in a data set apart
    table   one file (and one to learn from): text + label; left + right (+ score or label); query + document; for
            reranking query + document + grade, or query + lists of positive and negative documents
    parts   corpus, queries and qrels in files of their own, as BEIR has them
    squad   SQuAD's JSON: questions are the queries, paragraphs the documents
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from qianru.errors import BadFile, SpecMismatch
from qianru.evaluate.places import Places
from qianru.evaluate.tables import Row, rows
from qianru.evaluate.task import Task

Label: TypeAlias = str | int
USUAL = {
    "text": ("text", "sentence", "content", "review"), "label": ("label", "labels"),
    "left": ("sentence1",), "right": ("sentence2",), "score": ("score", "label", "labels"),
    "document": ("_id", "id", "pid", "document"), "query": ("_id", "id", "qid", "query"), "title": ("title",),
    "judged query": ("query-id", "qid"), "judged": ("corpus-id", "pid"), "grade": ("score", "rel", "label"),
    "candidates": ("corpus-ids",), "query text": ("text", "query"), "document text": ("text", "title"),
    "positive": ("positive",), "negative": ("negative",),
}
"""What we call a column -> what files usually do; the first that a file has is taken."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with labels, and those to learn from."""

    train_texts: Sequence[str]
    train_labels: Sequence[Label]
    texts: Sequence[str]
    labels: Sequence[Label]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Sets of texts with the cluster that each belongs to."""

    sets: Sequence[tuple[Sequence[str], Sequence[Label]]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts side by side; gold: their score or label, None where row i on the left just means row i on the right."""

    left: Sequence[str]
    right: Sequence[str]
    gold: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Search:
    """Queries, documents and judgments.

    corpus: makes an iterator of (id, text) anew at each call
    qrels: query -> document -> grade, from 1 relevant
    candidates: query -> the documents to rank; None to rank all
    answers: query -> the sentence of a document that holds its answer; None where it is the document that counts
    """

    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    corpus: Callable[[], Iterator[tuple[str, str]]]
    candidates: Mapping[str, Sequence[str]] | None = field(default=None)
    answers: Mapping[str, str] | None = field(default=None)


Data: TypeAlias = Labelled | Clusters | Pairs | Search


def read_data(task: Task, places: Places) -> Data:
    """The task's texts.

    Raises BadFile for files that are not there, empty or damaged, SpecMismatch for a column that they lack.
    """
    reader = _Reader(task, places)
    if task.type == "Classification":
        return reader.labelled()
    if task.type == "Clustering":
        return reader.clusters()
    if task.type in ("STS", "PairClassification", "BitextMining"):
        return reader.pairs()
    if task.type == "Answering":
        from qianru.evaluate.answering import read_answers

        return read_answers(task, places)
    from qianru.evaluate.searches import read_search

    return read_search(task, places)


class _Reader:
    """Reads the types whose texts lie in one table."""

    def __init__(self, task: Task, places: Places) -> None:
        self.task, self.places = task, places

    def labelled(self) -> Labelled:
        task = self.task
        if task.every:
            both = list(self._texts_and_labels("file"))
            test = [i % task.every == task.every - 1 for i in range(len(both))]
            train = [row for row, tested in zip(both, test, strict=True) if not tested]
            tested = [row for row, chosen in zip(both, test, strict=True) if chosen]
        else:
            train = list(self._texts_and_labels("train"))
            tested = list(self._texts_and_labels("file"))
        if len({label for _, label in train}) < 2:
            raise BadFile(f"{task.name} has fewer than two labels to learn; classification needs some.")
        if not tested:
            raise BadFile(f"{task.name} has nothing to test.")
        return Labelled([text for text, _ in train], [label for _, label in train],
                        [text for text, _ in tested], [label for _, label in tested])

    def clusters(self) -> Clusters:
        sets: list[tuple[list[str], list[Label]]] = []
        flat: tuple[list[str], list[Label]] = ([], [])
        for row in table(self.task, self.places, "file"):
            text, label = cell(self.task, row, "text"), cell(self.task, row, "label")
            if isinstance(text, list) and isinstance(label, list):
                sets.append(([str(one) for one in text], list(label)))
            else:
                flat[0].append(as_text(self.task, text, "text"))
                flat[1].append(_label(self.task, label))
        return Clusters([*sets, *([flat] if flat[0] else [])])

    def pairs(self) -> Pairs:
        task = self.task
        left: list[str] = []
        right: list[str] = []
        gold: list[float] = []
        bare = task.type == "BitextMining"
        for row in table(task, self.places, "file"):
            parts = [cell(task, row, "left"), cell(task, row, "right")]
            parts += [] if bare else [cell(task, row, "score" if "label" not in task.columns else "label")]
            # mteb's first pair classification sets are one row of lists
            for one in zip(*parts, strict=True) if isinstance(parts[0], list) else [parts]:
                left.append(as_text(task, one[0], "left"))
                right.append(as_text(task, one[1], "right"))
                if not bare:
                    gold.append(_number(task, one[2]))
        if task.type == "PairClassification" and not {0.0, 1.0} >= set(gold):
            raise SpecMismatch(f"{task.name} has labels {sorted(set(gold))[:5]}; pair classification needs 0 and 1.")
        return Pairs(left, right, None if bare else gold)

    def _texts_and_labels(self, part: str) -> Iterator[tuple[str, Label]]:
        for row in table(self.task, self.places, part):
            yield (as_text(self.task, cell(self.task, row, "text"), "text"),
                   _label(self.task, cell(self.task, row, "label")))


def table(task: Task, places: Places, part: str) -> Iterator[Row]:
    """The rows of a part of the task that its `where` lets pass, at most max_rows of them."""
    n = 0
    for path in places.files(task, part):
        for row in rows(path, task.form, header=task.header):
            if any(row.get(name) != value for name, value in task.where.items()):
                continue
            if task.max_rows and n == task.max_rows:
                return
            n += 1
            yield row
    if not n:
        raise BadFile(f"{task.name}: no row has {dict(task.where)}. Look at the values of these columns.")


def cell(task: Task, row: Row, ours: str, *, optional: bool = False) -> Any:
    """A value by what we call its column; None if it is optional and not there.

    Raises SpecMismatch if there is no such column.
    """
    named = task.columns.get(ours)
    for name in (named,) if named is not None else USUAL[ours]:
        if name in row:
            return row[name]
    if optional:
        return None
    wanted = named if named is not None else " or ".join(USUAL[ours])
    raise SpecMismatch(f"{task.name} needs a column '{wanted}' for the {ours}; there are {', '.join(row) or 'none'}. "
                       f"Name it: columns = {{ {ours} = … }}")


def as_text(task: Task, value: Any, ours: str) -> str:
    """The text of a cell; BadFile for what is none."""
    if not isinstance(value, str):
        raise BadFile(f"{task.name}: the {ours} is {value!r:.60}, which is no text.")
    return value


def read_json(path: Path) -> Any:
    """What a JSON file says, packed or not; BadFile if it says nothing."""
    import gzip
    import zlib

    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}. Check the path.") from None
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise BadFile(f"{path} is no JSON: {error}.") from error


def _label(task: Task, value: Any) -> Label:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadFile(f"{task.name}: a label is {value!r:.60}; labels are texts or whole numbers.")
    return value


def _number(task: Task, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise BadFile(f"{task.name}: a score is {value!r:.60}, which is no number.")
    return number
