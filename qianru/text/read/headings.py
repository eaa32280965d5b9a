"""Headings in plain text: markdown's own, and the chapter lines of Chinese books and laws."""

from __future__ import annotations

import re

from qianru.text.read.source import Heading

MAX_TITLE = 120
_LEVELS = {
    "部": 1, "集": 1, "编": 2, "編": 2, "篇": 2, "卷": 2, "分编": 3, "分編": 3, "章": 4, "回": 4, "节": 5, "節": 5,
}      # fmt: skip
_PREFACES = "楔子|引子|引首|引言|前言|序言|序章|序幕|尾声|尾聲|后记|後記|跋"
# After the number comes space, a colon or the end of the line; without that it is a sentence: 第四回中既将薛家…
_CHAPTER = re.compile(
    rf"""
    ^[ \t\u3000]*(?:《[^》\n]{{0,30}}》[ \t\u3000]*)?(?:(?:目录|目錄|正文)[ \t\u3000]+)?
    (?P<title>
        第[ \u3000]?[〇○零一二三四五六七八九十百千两兩廿卅0-9０-９]{{1,9}}[ \u3000]?
        (?P<unit>分[编編]|[部集编編篇卷章回节節])
        (?=[ \t\u3000：:]|$)
        [^\n。；，]{{0,60}}
      | (?:{_PREFACES})(?=[ \t\u3000：:]|$)[^\n。；，]{{0,40}}
    )$
    """,
    re.VERBOSE | re.MULTILINE,
)
_MARKDOWN = re.compile(
    r"""
    ^[ ]{0,3}(?:
        (?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)
      | (?P<marks>\#{1,6})(?:[ \t]+(?P<title>[^\n]*))?
      | (?P<rule>=+|-{2,})[ \t]*
    )$
    """,
    re.VERBOSE | re.MULTILINE,
)
_FRONT_MATTER = re.compile(r"---[ \t]*\n\s*[\w-]+[ \t]*:(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_HTML_TAG = re.compile(r"<!--.{0,500}?-->|</?[a-zA-Z][^<>\n]{0,500}>")
_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+)$", re.MULTILINE)
_SPACE = re.compile(r"\s+")
FRONT_MATTER_CHARS = 20_000


def chapter_headings(text: str) -> tuple[Heading, ...]:
    """The lines like 第一回　灵根育孕源流出, 第三章 合同的效力, 楔子; 条 is no heading, it begins a paragraph.

    >>> chapter_headings("第一编 总则\\n第一章 基本规定\\n第一条 为了保护民事主体的合法权益")
    (Heading(offset=0, level=2, title='第一编 总则'), Heading(offset=7, level=4, title='第一章 基本规定'))
    """
    found = _CHAPTER.finditer(text)
    return tuple(Heading(match.start(), _LEVELS[match["unit"] or "章"], tidy(match["title"])) for match in found)


def markdown_headings(text: str) -> tuple[Heading, ...]:
    """Headings marked by # or underlined, without the HTML in them; those of chapters if there are none.

    text: after its front matter; code has no headings
    """
    found: list[Heading] = []
    fence = ""
    for match in _MARKDOWN.finditer(text):
        marks = match["fence"]
        if marks:
            if not fence:
                fence = marks
            elif marks[0] == fence[0] and len(marks) >= len(fence) and not match["info"].strip():
                fence = ""
        elif fence:
            continue
        elif match["marks"]:
            title = _HTML_TAG.sub("", re.sub(r"(?:^|[ \t]+)#+[ \t]*$", "", match["title"] or ""))
            found.append(Heading(match.start(), len(match["marks"]), tidy(title)))
        else:
            _underlined(text, match, found)
    return tuple(found) or chapter_headings(text)


def front_matter(text: str) -> str:
    """The block between two lines of --- that a markdown file may begin with; one that begins with no key is text."""
    match = _FRONT_MATTER.match(text, 0, FRONT_MATTER_CHARS) if text.startswith("---") else None
    return match.group() if match else ""


def front_title(front: str) -> str:
    """The title that the front matter names."""
    match = _TITLE.search(front)
    return tidy(match[1].strip().strip("\"'")) if match else ""


def tidy(title: str) -> str:
    """One line, single spaces, of bounded length."""
    return _SPACE.sub(" ", title[: 4 * MAX_TITLE]).strip()[:MAX_TITLE]


def _underlined(text: str, match: re.Match[str], found: list[Heading]) -> None:
    """Adds the line above a row of = or -, if it is one line between blank ones."""
    end = match.start() - 1
    if end < 0:
        return
    start = text.rfind("\n", max(0, end - 4 * MAX_TITLE), end) + 1
    title = text[start:end]
    before = text[max(0, text.rfind("\n", max(0, start - 200), max(start - 1, 0)) + 1) : max(start - 1, 0)]
    if title.strip() and not before.strip() and not title.lstrip().startswith(("#", "|", ">", "-", "*")):
        found.append(Heading(start, 1 if match["rule"][0] == "=" else 2, tidy(_HTML_TAG.sub("", title))))
