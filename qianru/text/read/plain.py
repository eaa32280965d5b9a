"""Plain text and markdown: the text as it is, with its headings."""

from __future__ import annotations

from collections.abc import Iterator

from qianru.text.decode import decode
from qianru.text.read.headings import chapter_headings, front_title, markdown_headings
from qianru.text.read.source import Problem, Source
from qianru.types import Value


def read_plain(data: bytes, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    """The whole file; headings are the chapter lines of Chinese books."""
    decoded = decode(data, encoding)
    yield from (Problem(path, line, reason) for line, reason in decoded.warnings)
    yield Source(path, decoded.text, headings=chapter_headings(decoded.text))


def read_markdown(data: bytes, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    """The whole file, markup and all; the title that the front matter names is a field."""
    decoded = decode(data, encoding)
    yield from (Problem(path, line, reason) for line, reason in decoded.warnings)
    title = front_title(decoded.text)
    fields: dict[str, Value] = {"title": title} if title else {}
    yield Source(path, decoded.text, fields=fields, headings=markdown_headings(decoded.text))
