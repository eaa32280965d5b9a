"""The column names that people use, and how a row of them becomes an Example."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qianru.errors import BadInput, UnknownName
from qianru.train.data.examples import Example, Labelled, Plain, Ranked, Scored, Task

NAMES: dict[str, tuple[str, ...]] = {
    "query": ("query", "anchor", "question"),
    "positive": ("positive", "positives", "pos", "positive_passages", "positive_passage", "answer", "document",
                 "passage", "response"),
    "negative": ("negative", "negatives", "neg", "negative_passages", "hard_negatives"),
    "positive_scores": ("positive_scores", "pos_scores"),
    "negative_scores": ("negative_scores", "neg_scores"),
    "text1": ("text1", "sentence1", "sentence_a", "text_a"),
    "text2": ("text2", "sentence2", "sentence_b", "text_b"),
    "score": ("score", "similarity", "similarity_score", "label"),
    "text": ("text", "sentence", "content", "review"),
    "label": ("label", "category", "class", "label_desc"),
}
"""role -> the names of it: FlagEmbedding's, sentence-transformers', GTE's and DuReader's, FewCLUE's."""
LAYOUTS: tuple[tuple[Task, tuple[str, ...], tuple[str, ...]], ...] = (
    ("ranked", ("query", "positive"), ("negative", "positive_scores", "negative_scores")),
    ("scored", ("text1", "text2", "score"), ()),
    ("labelled", ("text", "label"), ()),
    ("plain", ("text",), ()),
)
"""(task, roles that it needs, roles that it may have), the first that fits is taken."""
NUMBERED = re.compile(r"(negative|neg)_\d+")   # sentence-transformers: one column for each
KNOWN = {name for names in NAMES.values() for name in names}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns play which role.

    places: role -> columns; several only for negatives
    """

    task: Task
    places: Mapping[str, tuple[str, ...]]

    @classmethod
    def find(cls, present: Iterable[str], given: Mapping[str, str] | None, place: str) -> Columns:
        """The roles of the columns of a file, by their names or as given: role -> column.

        Raises UnknownName for a given role or column that is not there, BadInput if the names say nothing.
        """
        columns = list(present)
        if given:
            return cls._given(columns, given, place)
        by_name = {column.strip().lower(): column for column in reversed(columns)}
        found: dict[str, tuple[str, ...]] = {}
        for role, names in NAMES.items():
            held = [by_name[name] for name in names if name in by_name]
            if held:
                found[role] = (held[0],)
        numbered = tuple(column for column in columns if NUMBERED.fullmatch(column.strip().lower()))
        if numbered:
            found["negative"] = (*found.get("negative", ()), *numbered)
        if "text1" in found and "text2" in found and "score" not in found:
            found["query"], found["positive"] = found["text1"], found["text2"]   # pairs of texts that are alike
        made = cls._fitting(found)
        if made is None:
            raise BadInput(f"The columns of {place} are {', '.join(columns)}, which say nothing that is known. Say "
                           "which is which, e.g. columns = {query = \"title\", positive = \"abstract\"}; for columns "
                           "without names, by number: {text1 = \"0\", text2 = \"1\", score = \"2\"}.")
        return made

    @classmethod
    def _given(cls, columns: list[str], given: Mapping[str, str], place: str) -> Columns:
        for role, column in given.items():
            if role not in NAMES:
                raise UnknownName("role of a column", role, NAMES)
            if str(column) not in columns:
                raise UnknownName("column", str(column), columns, f"in {place}")
        made = cls._fitting({role: (str(column),) for role, column in given.items()})
        if made is None:
            needs = "; ".join(" + ".join(needed) for _, needed, _ in LAYOUTS)
            raise BadInput(f"The roles {', '.join(given)} given for {place} make no example. Needed are {needs}.")
        return made

    @classmethod
    def _fitting(cls, found: Mapping[str, tuple[str, ...]]) -> Columns | None:
        for task, needed, optional in LAYOUTS:
            if all(role in found for role in needed):
                return cls(task, {role: found[role] for role in (*needed, *optional) if role in found})
        return None

    def example(self, row: Mapping[str, Any]) -> Example:
        """What the row says; BadInput, without the place, for one that cannot be used."""
        if self.task == "ranked":
            return self._ranked(row)
        if self.task == "scored":
            return Scored(self._text(row, "text1"), self._text(row, "text2"), _number(self._value(row, "score")))
        if self.task == "labelled":
            label = self._value(row, "label")
            if label is None or not str(label).strip():
                raise BadInput(f"'{self.places['label'][0]}' is empty")
            return Labelled(self._text(row, "text"), str(label).strip())
        return Plain(self._text(row, "text"))

    def _ranked(self, row: Mapping[str, Any]) -> Ranked:
        positives = self._texts(row, "positive")
        if not positives:
            raise BadInput(f"'{self.places['positive'][0]}' is empty")
        negatives = self._texts(row, "negative")
        scores: tuple[float, ...] | None = None
        given = [role for role in ("positive_scores", "negative_scores") if self._value(row, role) is not None]
        if given:
            held = [_numbers(self._value(row, role)) for role in ("positive_scores", "negative_scores")]
            for role, numbers, texts in zip(("positive", "negative"), held, (positives, negatives), strict=True):
                if len(numbers) != len(texts):
                    raise BadInput(f"there are {len(texts)} {role} texts and {len(numbers)} scores of them")
            scores = (*held[0], *held[1])
        return Ranked(self._text(row, "query"), positives, negatives, scores)

    def _value(self, row: Mapping[str, Any], role: str) -> Any:
        return row.get(self.places[role][0]) if role in self.places else None

    def _text(self, row: Mapping[str, Any], role: str) -> str:
        name = self.places[role][0]
        if name not in row:
            raise BadInput(f"there is no '{name}'")
        return _text(row[name], name)

    def _texts(self, row: Mapping[str, Any], role: str) -> tuple[str, ...]:
        found: list[str] = []
        for name in self.places.get(role, ()):
            value = row.get(name)
            if value is None or value == "":
                continue
            found += [_text(one, name) for one in (value if isinstance(value, (list, tuple)) else [value])]
        return tuple(found)


def _text(value: Any, name: str) -> str:
    """A text, or a passage with title and text, joined by a space as GTE and DPR do."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        title = value.get("title")
        value = f"{title} {value['text']}".strip() if isinstance(title, str) else value["text"]
    if not isinstance(value, str):
        raise BadInput(f"'{name}' is {type(value).__name__}, not a text: {value!r:.60}")
    if not value.strip():
        raise BadInput(f"'{name}' is empty")
    return value


def _numbers(value: Any) -> list[float]:
    if value is None:
        return []
    return [_number(one) for one in (value if isinstance(value, (list, tuple)) else [value])]


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{value!r:.60} is not a number") from None
    if not math.isfinite(number):
        raise BadInput(f"{value!r:.60} is not a finite number")
    return number
