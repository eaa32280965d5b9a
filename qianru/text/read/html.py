"""HTML to the text that a reader sees, line by line, each knowing its line of the file.

A scanner of its own: Python's html.parser takes time in the square of the length on comments and tags that never end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from qianru.text.decode import decode
from qianru.text.read.headings import tidy
from qianru.text.read.source import Heading, Problem, Source
from qianru.types import Value

_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]{0,100}?encoding=[\"']([\w.:-]+)", re.IGNORECASE
)
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)((?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>")
_PLAIN_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)([^>]*+)>")
_ODD_TAGS = 10           # tags with a quote left open, after which quotes are no longer looked at
_RAW = frozenset(("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"))
_UNSEEN = frozenset(("script", "style", "iframe", "noembed", "noframes"))
_DROPPED = frozenset(("nav", "template", "noscript", "svg", "math", "object", "select", "datalist"))
_INLINE_GAP = frozenset(("td", "th"))
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details", "dialog",
    "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5",
    "h6", "head", "header", "hgroup", "hr", "html", "legend", "li", "main", "menu", "ol", "p", "pre", "section",
    "summary", "table", "tbody", "tfoot", "thead", "tr", "ul",
))      # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


def read_html(data: bytes, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    """The page's text; scripts, styles and navigation are left out, its title is a field."""
    found = _CHARSET.search(data, 0, 4096)
    hint = (found[1] or found[2]).decode("ascii", "replace") if found else None
    decoded = decode(data, encoding, hint)
    yield from (Problem(path, line, reason) for line, reason in decoded.warnings)
    page = _Page(decoded.text, _DROPPED)
    if page.dropping:      # a <nav> that is never closed would swallow the page
        page = _Page(decoded.text, frozenset())
    fields: dict[str, Value] = {"title": page.title} if page.title else {}
    first = page.numbers[0] if page.numbers else 1
    yield Source(path, "\n".join(page.lines), first, fields, tuple(page.headings), tuple(page.numbers))


class _Page:
    """One pass over the tags and the texts between them.

    lines: of the text;  numbers: the file's line of each
    """

    def __init__(self, source: str, dropped: frozenset[str]) -> None:
        self.lines: list[str] = []
        self.numbers: list[int] = []
        self.headings: list[Heading] = []
        self.title = ""
        self.dropping = 0       # how many elements of the kind that is dropped are open
        self._dropped_name = ""
        self._dropped = dropped
        self._n_chars = 0
        self._pieces: list[str] = []
        self._piece_at = -1
        self._level = 0         # of the heading that is open
        self._pre = 0
        self._counted, self._line = 0, 1
        self._scan(source)
        self._break(source)

    def _scan(self, source: str) -> None:
        at = n_odd = 0
        last = source.rfind(">")
        while at < len(source):
            start = source.find("<", at)
            if start < 0 or start > last:      # nothing more can be a tag
                self._say(source, at, len(source))
                return
            self._say(source, at, start)
            match = _TAG.match(source, start) if n_odd < _ODD_TAGS else None
            if match is None:
                match = _PLAIN_TAG.match(source, start)
                n_odd += match is not None
            if match is None:
                at = self._no_tag(source, start)
                continue
            at = match.end()
            closing, name = bool(match[1]), match[2].lower()
            if not closing and name in _RAW and not match[3].endswith("/"):
                at = self._raw(source, name, at)
            else:
                self._tag(source, name, closing, match[3].endswith("/"))

    def _no_tag(self, source: str, start: int) -> int:
        """Passes a comment or declaration; a lone < is text. What never ends goes to the end of the file."""
        if source.startswith("<!--", start):
            end = source.find("-->", start + 4)
            return len(source) if end < 0 else end + 3
        if source.startswith("<![CDATA[", start):
            end = source.find("]]>", start)
            self._say(source, start + 9, len(source) if end < 0 else end)
            return len(source) if end < 0 else end + 3
        if source[start + 1 : start + 2] in ("!", "?", "/"):
            end = source.find(">", start)
            return len(source) if end < 0 else end + 1
        self._say(source, start, start + 1)
        return start + 1

    def _raw(self, source: str, name: str, at: int) -> int:
        """Passes an element that holds no tags, such as a script."""
        closing = re.compile(f"</{name}", re.IGNORECASE).search(source, at)
        end = closing.start() if closing else len(source)
        if name == "title":
            self.title = self.title or (tidy(unescape(source[at:end][:1000])) if not self.dropping else "")
        elif name not in _UNSEEN:
            self._say(source, at, end)
        after = source.find(">", end)
        return len(source) if after < 0 else after + 1

    def _tag(self, source: str, name: str, closing: bool, empty: bool) -> None:
        if self.dropping:
            if name == self._dropped_name and not empty:
                self.dropping += -1 if closing else 1
            return
        if name in self._dropped:
            if not closing and not empty:
                self.dropping, self._dropped_name = 1, name
            return
        if name in _INLINE_GAP:
            self._pieces.append(" ")
        if name not in _BLOCKS:
            return
        self._break(source)
        if name == "pre":
            self._pre = max(0, self._pre + (-1 if closing else 1))
        self._level = 0 if closing else _HEADINGS.get(name, 0 if name != "br" else self._level)

    def _say(self, source: str, start: int, end: int) -> None:
        if start >= end or self.dropping:
            return
        text = unescape(source[start:end])
        if not self._pre:
            if self._piece_at < 0 and not text.isspace():
                self._piece_at = start + len(source[start:end]) - len(source[start:end].lstrip())
            self._pieces.append(text)
            return
        for i, line in enumerate(text.split("\n")):
            if i:
                self._break(source)
                start = source.find("\n", start, end) + 1 or end
            if self._piece_at < 0 and line.strip():
                self._piece_at = start
            self._pieces.append(line)

    def _break(self, source: str) -> None:
        """Ends the line, if it says anything."""
        pieces, self._pieces = "".join(self._pieces), []
        line = pieces.rstrip() if self._pre else " ".join(pieces.split())
        at, self._piece_at = self._piece_at, -1
        if not line.strip():
            return
        at = max(at, self._counted)
        self._line += source.count("\n", self._counted, at)
        self._counted = at
        if self._level:
            self.headings.append(Heading(self._n_chars, self._level, tidy(line)))
        self.lines.append(line)
        self.numbers.append(self._line)
        self._n_chars += len(line) + 1
