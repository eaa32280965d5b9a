"""What reading gives: texts that know where they stand, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qianru.types import Value


class Heading(NamedTuple):
    """A heading: where its line begins in the text, how deep it is (small is high), what it says."""

    offset: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Source:
    """One readable text: a txt, md, html or docx file, one page of a PDF, or one row of a table.

    path: as given, or as seen from the folder read, with forward slashes
    line: line of the file where the text begins, from 1; in a docx file the paragraph, in a PDF the line of the page;
        0 for a document of a collection, which has an id instead
    fields: the other columns of a row; title of a file that has one; page of a PDF
    headings: ascending by offset
    lines: the file's line for each line of the text; empty where they run on from `line`
    id: the row's own name, if a column was named for it
    columns: those that the text of a row was taken from
    row: all values of a row as the file has them, texts of CSV as texts; empty for what is no row
    """

    path: str
    text: str
    line: int = 1
    fields: dict[str, Value] = field(default_factory=dict)
    headings: tuple[Heading, ...] = ()
    lines: tuple[int, ...] = ()
    id: str = ""
    columns: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where the text stands, for people.

        >>> Source("诗.csv", "床前明月光", line=3).place, Source("诗.qianru", "床前明月光", line=0, id="静夜思").place
        ('诗.csv:3', "document '静夜思' of 诗.qianru")
        """
        return f"{self.path}:{self.line}" if self.line else f"document {self.id!r} of {self.path}"

    def line_at(self, offset: int) -> int:
        """The file's line of a place in the text.

        >>> Source("诗.txt", "床前明月光\\n疑是地上霜", line=3).line_at(7)
        4
        """
        return self.line_after(self.text.count("\n", 0, offset))

    def line_after(self, n_breaks: int) -> int:
        """The file's line of the text's line that follows n line breaks."""
        if not self.lines:
            return self.line + n_breaks
        return self.lines[min(n_breaks, len(self.lines) - 1)]


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or a row that could not be read, or not in full; the rest went on.

    >>> str(Problem("a.csv", 3, "2 fields where the header has 3."))
    'a.csv:3: 2 fields where the header has 3.'
    """

    path: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}" if self.line else f"{self.path}: {self.reason}"


def open_headings(headings: Iterable[Heading]) -> list[Heading]:
    """The headings that the text after the last one stands under, outermost first.

    >>> [h.title for h in open_headings([Heading(0, 1, "物权"), Heading(9, 2, "通则"), Heading(20, 2, "所有权")])]
    ['物权', '所有权']
    """
    above: list[Heading] = []
    for heading in headings:
        while above and above[-1].level >= heading.level:
            above.pop()
        above.append(heading)
    return above
