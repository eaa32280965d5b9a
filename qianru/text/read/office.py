"""Word and PDF files to text. Their libraries are an extra; whatever hostile files make them raise is a Problem."""

from __future__ import annotations

import io
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qianru.errors import BadFile, require
from qianru.text.read.headings import chapter_headings, tidy
from qianru.text.read.source import Heading, Problem, Source, open_headings
from qianru.types import Value

MAX_UNPACKED = 128 << 20      # of a docx; its XML takes about ten times as much memory
_HEADING_STYLE = re.compile(r"(?:heading|标题)\s*(\d)", re.IGNORECASE)
_SENTENCE_END = "。！？：；…”」』.!?:;"
_WIDE = re.compile(r"[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]")
# A line as wide as this, and as this part of the page's widest, was broken by the margin and not by the author.
_FULL_COLUMNS, _FULL_PART = 30, 0.75


def read_docx(data: bytes, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    """The paragraphs and rows of tables, one line each, with the paragraph's number for the line's."""
    docx = require("docx", "files", "Reading Word files")
    _check_zip(data)
    try:
        document = docx.Document(io.BytesIO(data))
        paragraphs = list(_paragraphs(document))
        title = tidy(document.core_properties.title or "")
    except Exception as error:      # lxml, zipfile and python-docx raise some twenty kinds on damaged files
        raise BadFile(f"It is no Word file that can be read: {_told(error)}") from error
    lines: list[str] = []
    numbers: list[int] = []
    headings: list[Heading] = []
    n_chars = 0
    for number, (level, text) in enumerate(paragraphs, 1):
        if level is not None and text.strip():
            headings.append(Heading(n_chars, level, tidy(text)))
        for line in text.split("\n"):
            lines.append(line)
            numbers.append(number)
            n_chars += len(line) + 1
    whole = "\n".join(lines)
    fields: dict[str, Value] = {"title": title} if title else {}
    yield Source(path, whole, 1, fields, tuple(headings) or chapter_headings(whole), tuple(numbers))


def read_pdf(data: bytes, path: str, encoding: str | None) -> Iterator[Source | Problem]:
    """One source for each page that holds text, with the field page; headings carry over to the pages after."""
    pypdf = require("pypdf", "files", "Reading PDF files")
    with _quiet("pypdf"):
        try:
            reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
            locked = reader.is_encrypted and not reader.decrypt("")
            n_pages = 0 if locked else len(reader.pages)
            title = "" if locked else tidy(str((reader.metadata or {}).get("/Title") or ""))
        except Exception as error:      # pypdf raises KeyError, TypeError, RecursionError and more on damaged files
            raise BadFile(f"It is no PDF that can be read: {_told(error)}") from error
    if locked:
        raise BadFile("It is encrypted. Save it without a password.")
    above: list[Heading] = []
    n_texts = 0
    for number in range(1, n_pages + 1):
        try:
            with _quiet("pypdf"):
                text = reader.pages[number - 1].extract_text()
        except Exception as error:      # as above: one bad page does not lose the others
            yield Problem(path, None, f"Page {number} cannot be read: {_told(error)}")
            continue
        joined, lines = joined_lines(text)
        if not joined.strip():
            continue
        n_texts += 1
        found = chapter_headings(joined)
        carried = [] if found and found[0].offset == 0 else [Heading(0, h.level, h.title) for h in above]
        above = open_headings([*above, *found])
        fields: dict[str, Value] = {"page": number, **({"title": title} if title else {})}
        yield Source(path, joined, lines[0], fields, (*carried, *found), tuple(lines))
    if n_pages and not n_texts:
        reason = f"Its {n_pages:,} pages hold no text; they may be pictures. Recognise their text first (OCR)."
        yield Problem(path, None, reason)


def joined_lines(text: str) -> tuple[str, list[int]]:
    """A page's text with the lines that only the margin broke put together, and the first line of each.

    >>> joined_lines("民法调整平等主体的自然人、法人和非法\\n人组织之间的关系。\\n第三条")
    ('民法调整平等主体的自然人、法人和非法人组织之间的关系。\\n第三条', [1, 3])
    """
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")
    raw = [line.strip() for line in text.split("\n")]
    widths = [len(line) + len(_WIDE.findall(line)) for line in raw]
    full = max(_FULL_COLUMNS, _FULL_PART * max(widths, default=0))
    lines: list[str] = []
    numbers: list[int] = []
    open_line = False
    for number, (line, width) in enumerate(zip(raw, widths, strict=True), 1):
        if not line:
            open_line = False
            continue
        if not open_line or chapter_headings(line):
            lines.append(line)
            numbers.append(number)
        elif lines[-1].endswith("-") and line[0].islower():
            lines[-1] = lines[-1][:-1] + line
        else:
            gap = "" if _WIDE.match(line) or _WIDE.match(lines[-1][-1]) else " "
            lines[-1] += gap + line
        open_line = width >= full and line[-1] not in _SENTENCE_END and not chapter_headings(line)
    return "\n".join(lines), numbers or [1]


def _check_zip(data: bytes) -> None:
    """Raises BadFile for what is no zip file or would swell beyond reason."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadFile(f"It is no Word file: {_told(error)}") from error
    if size > MAX_UNPACKED:
        raise BadFile(
            f"Unpacked it would take {size >> 20:,} MiB, more than {MAX_UNPACKED >> 20}. Save it without pictures."
        )


def _paragraphs(document: Any) -> Iterator[tuple[int | None, str]]:
    """(level of a heading or None, text) of each paragraph and of each row of a table, in order."""
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                # merged cells come twice
                cells = {id(cell._tc): cell.text.replace("\n", " ") for cell in row.cells}
                yield None, "\t".join(cells.values())
        else:
            style = block.style.name or "" if block.style is not None else ""
            match = _HEADING_STYLE.match(style)
            yield int(match[1]) if match else 0 if style == "Title" else None, block.text


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keeps a library's remarks on damaged files off stderr; what matters becomes a Problem."""
    logger = logging.getLogger(name)
    before = logger.disabled, logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled, logger.propagate, logger.level = before


def _told(error: Exception) -> str:
    said = " ".join(str(error).split())[:200]
    return f"{said or type(error).__name__}."
