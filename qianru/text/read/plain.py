"""Plain text and markdown: the text as it is, with its headings."""

from __future__ import annotations

from collections.abc import Iterator

from qianru.text.decode import decode
from qianru.text.read.headings import chapter_headings, front_matter, front_title, markdown_headings
from qianru.text.read.source import Problem, Source
from qianru.types import Value


def read_plain(data: bytes, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    """The whole file; headings are the chapter lines of Chinese books."""
    decoded = decode(data, encoding)
    yield from (Problem(path, line, reason) for line, reason in decoded.warnings)
    yield Source(path, decoded.text, headings=chapter_headings(decoded.text))


def read_markdown(data: bytes, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    """The whole file, markup and all, after its front matter; the title that this names is a field."""
    decoded = decode(data, encoding)
    yield from (Problem(path, line, reason) for line, reason in decoded.warnings)
    front = front_matter(decoded.text)
    title = front_title(front)
    fields: dict[str, Value] = {"title": title} if title else {}
    text = decoded.text[len(front) :]
    yield Source(path, text, 1 + front.count("\n"), fields, markdown_headings(text))
