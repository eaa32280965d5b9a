"""Texts to passages: whole sentences packed together, a few repeated, none across a heading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qianru.errors import BadInput
from qianru.text.read.source import Heading, Source, open_headings
from qianru.text.sentences import after_space, sentences

_PAUSES = "，、：,: \u3000\t"      # after these an overlong sentence may be cut
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: text == source.text[start:end].

    line: the file's line where it begins
    heading: the path of headings above it, "第二分编 所有权 > 第四章 一般规定"; empty if there is none
    """

    text: str
    start: int
    end: int
    line: int
    heading: str


def chunk(source: Source, *, max_chars: int = 300, overlap: int = 1) -> list[Chunk]:
    """The passages of a text, in order; together they hold every character that is not space.

    max_chars: a longer sentence is cut at a comma or space, else anywhere
    overlap: sentences repeated from the end of the passage before, as long as they take at most half of the new one

    >>> [piece.text for piece in chunk(Source("诗", "春眠不觉晓。处处闻啼鸟。夜来风雨声。"), max_chars=12)]
    ['春眠不觉晓。处处闻啼鸟。', '处处闻啼鸟。夜来风雨声。']
    """
    if max_chars < 1 or overlap < 0:
        raise BadInput(f"max_chars must be at least 1 and overlap at least 0; got {max_chars} and {overlap}.")
    text = source.text
    chunks: list[Chunk] = []
    at = n_breaks = 0
    for begin, end, heading in _sections(source):
        section = text[begin:end]
        spans = [span for s, e in sentences(section) for span in _cut(section, s, e, max_chars)]
        for first, last in _packed(spans, max_chars, overlap):
            start, stop = begin + first, begin + last
            n_breaks += text.count("\n", at, start)
            at = start
            chunks.append(Chunk(text[start:stop], start, stop, source.line_after(n_breaks), heading))
    return chunks


def _sections(source: Source) -> Iterator[tuple[int, int, str]]:
    """(start, end, path of headings) of the stretches between headings.

    Headings that follow one another with nothing between them open one section.
    """
    text, headings = source.text, source.headings
    if not headings:
        yield 0, len(text), ""
        return
    if headings[0].offset > 0:
        yield 0, headings[0].offset, ""
    above: list[Heading] = []
    begin = headings[0].offset
    for i, heading in enumerate(headings):
        above = open_headings([*above, heading])
        end = headings[i + 1].offset if i + 1 < len(headings) else len(text)
        if end < len(text) and not text[_line_end(text, heading.offset) : end].strip():
            continue
        yield begin, end, " > ".join(h.title for h in above if h.title)
        begin = end


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _packed(spans: list[Span], max_chars: int, overlap: int) -> Iterator[Span]:
    """(start, end) of runs of sentences no longer than max_chars, each begun with sentences of the run before."""
    first = 0
    for i, (_, end) in enumerate(spans):
        if end - spans[first][0] <= max_chars:
            continue
        yield spans[first][0], spans[i - 1][1]
        start = max(first + 1, i - overlap)
        while start < i and (
            end - spans[start][0] > max_chars or 2 * (spans[i - 1][1] - spans[start][0]) > max_chars
        ):
            start += 1
        first = start
    if spans:
        yield spans[first][0], spans[-1][1]


def _cut(text: str, start: int, end: int, max_chars: int) -> Iterator[Span]:
    """The sentence whole, or in pieces of at most max_chars if it is longer."""
    while end - start > max_chars:
        stop = start + max_chars
        pause = max(text.rfind(mark, start + max_chars // 2, stop) for mark in _PAUSES)
        stop = stop if pause < 0 else pause + 1
        yield start, start + len(text[start:stop].rstrip())      # not empty: a sentence or piece begins with no space
        start = after_space(text, stop)
    yield start, end
