"""Text fit for a terminal: made harmless, on one line, cut around what matters, wrapped by columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import category, combining, east_asian_width

Span = tuple[int, int]
NEVER_FIRST = set("，。、；：？！）》」』】〉”’…—％,.;:?!)]}%")     # a line does not begin with these
NEVER_LAST = set("（《「『【〈“‘([{")                                # nor end with these
_BREAK = re.compile(r"[ \t\r\n\f\v\u2028\u2029]+")


def columns(text: str) -> int:
    """How many terminal columns the text takes; a Chinese character takes two.

    >>> columns("嵌入 ok")
    7
    """
    return sum(_width(char) for char in text)


def one_line(text: str) -> str:
    """The text on one line and without control characters, which could drive the terminal.

    Between two Chinese characters a line break leaves nothing, elsewhere one space.

    >>> one_line("向量\\n检索 of\\ntexts\\x1b[31m")
    '向量检索 of texts�[31m'
    """
    return harmless(_BREAK.sub(lambda gap: _joint(text, gap), text.strip()))


def counted(n: int, what: str) -> str:
    """So many of these.

    >>> counted(1, "text"), counted(2000, "text")
    ('1 text', '2,000 texts')
    """
    return f"{n:,} {what}" + "s" * (n != 1)


def harmless(text: str) -> str:
    """The text without control characters but line breaks and tabs.

    >>> harmless("一\\x1b[2J二\\n")
    '一�[2J二\\n'
    """
    return "".join("\ufffd" if category(char) in ("Cc", "Cs") and char not in "\n\t" else char for char in text)


def _joint(text: str, gap: re.Match[str]) -> str:
    before, after = gap.string[gap.start() - 1], gap.string[gap.end()]
    return "" if "\n" in gap[0] and _width(before) == _width(after) == 2 else " "


def excerpt(text: str, spans: Sequence[Span], length: int) -> tuple[str, list[Span]]:
    """At most about that many characters of the text, those with the most matches, and the spans moved along.

    >>> excerpt("一二三四五六七八九十", [(7, 9)], 4)
    ('…七八九十', [(2, 4)])
    """
    if len(text) <= length:
        return text, list(spans)
    start = _best_start(spans, length)
    start = max(0, min(start - length // 8, len(text) - length))     # a little of what stands before
    end = min(start + length, len(text))
    left, right = "…" if start else "", "…" if end < len(text) else ""
    moved = [(a - start + len(left), b - start + len(left)) for a, b in spans if a >= start and b <= end]
    return left + text[start:end] + right, moved


def _best_start(spans: Sequence[Span], length: int) -> int:
    """Where a window of that length covers the most matched characters; the first such place."""
    best, best_cover = 0, 0
    for start, _ in spans:
        cover = sum(b - a for a, b in spans if a >= start and b <= start + length)
        if cover > best_cover:
            best, best_cover = start, cover
    return best


def wrap(text: str, width: int) -> list[int]:
    """Offsets at which the lines after the first begin, none wider than that many columns.

    Lines break at spaces and beside Chinese characters, but not before a closing or after an opening mark.

    >>> wrap("床前明月光，疑是地上霜", 10)
    [4, 9]
    """
    breaks: list[int] = []
    start = used = 0
    last = 0                      # the last place where the line may end
    for i, char in enumerate(text):
        if i > start and _may_break(text[i - 1], char):
            last = i
        used += _width(char)
        if used > width and char != " " and i > start:
            cut = last if last > start else i
            breaks.append(cut)
            start, used = cut, columns(text[cut : i + 1])
    return breaks


def _may_break(before: str, after: str) -> bool:
    if after in NEVER_FIRST or before in NEVER_LAST or after == " ":
        return False
    return before == " " or _width(before) == 2 or _width(after) == 2


def _width(char: str) -> int:
    if combining(char):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1
