"""Answers and debates on a terminal: citations in colour, linked to their files, and where they stand below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.cli.layout import harmless, one_line
from qianru.cli.searching import SOURCE, file_line
from qianru.cli.terminal import note, stdout

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text as Styled

    from qianru.use.ask.debate import Debate
    from qianru.use.ask.events import Answer, Passage

CITED, INVENTED = "bold cyan", "bold red"
SIDE_BY_SIDE = 80          # columns from which on two fit beside each other
_CITATION = re.compile(r"\[\d+\??\]")


def print_piece(console: Console, text: str, passages: Sequence[Passage], root: Path) -> None:
    console.print(_coloured(text, passages, root), end="", soft_wrap=True)
    console.file.flush()


def _coloured(text: str, passages: Sequence[Passage], root: Path) -> Styled:
    """The text, its citations linked to their files and those that are invented in red."""
    from rich.text import Text

    styled = Text(harmless(text))
    for cited in _CITATION.finditer(styled.plain):
        number = cited[0].strip("[?]")
        if cited[0].endswith("?]") or not 0 < int(number) <= len(passages):
            styled.stylize(INVENTED, *cited.span())
        else:
            styled.stylize(f"{CITED}{_link(passages[int(number) - 1].source, root)}", *cited.span())
    return styled


def _link(source: str, root: Path) -> str:
    """What makes a terminal open the file; nothing where there is none."""
    try:
        path = (root / source).absolute()
        return f" link {path.as_uri()}" if path.is_file() else ""
    except (OSError, ValueError):
        return ""


def show_sources(answer: Answer, root: Path, every: bool) -> None:
    """Prints where what was cited stands, and what is to be known about the answer."""
    from rich.text import Text

    console = stdout()
    lines: dict[int, list[int]] = {}
    for cited in answer.citations:
        if cited.resolved:
            known = lines.setdefault(cited.number, [])
            known += [cited.line] if cited.line is not None and cited.line not in known else []
    for one in answer.passages:
        if one.number in lines or every:
            line = Text()
            line.append(f"[{one.number}] ", style=CITED)
            line.append(_places(one, lines.get(one.number, []), root), style=f"{SOURCE}{_link(one.source, root)}")
            line.append(f"  {one_line(one.heading)}" if one.heading else "", style="dim")
            console.print(line, soft_wrap=True)
            if every:
                console.print(Text(harmless(one.text) + "\n", style="dim"), soft_wrap=True)
    if invented := dict.fromkeys(f"[{cited.number}]" for cited in answer.citations if not cited.resolved):
        note(f"Marked with ?: the answer cites {', '.join(invented)}, and there is no such passage.")
    if answer.extractive and answer.answered:
        note("These are sentences of the documents, put together without a chat model.")


def _places(one: Passage, lines: Sequence[int], root: Path) -> str:
    """file:line of what is cited, then further lines of it."""
    first = lines[0] if lines else one.line
    return one_line(file_line(one.source, first, root)) + "".join(f", {line}" for line in lines[1:])


def show_debate(told: Debate, root: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    zh = not told.motion.isascii()
    titles = ("支持", "反对") if zh else ("For", "Against")
    sides = [[_told(one, root) for one in side] or [Text("没有找到" if zh else "Nothing found", style="dim")]
             for side in (told.support, told.oppose)]
    console.print(Text(one_line(told.motion), style="bold"))
    if console.is_terminal and console.width >= SIDE_BY_SIDE:
        table = Table(expand=True, show_lines=True)
        for title in titles:
            table.add_column(title, ratio=1, overflow="fold")      # Chinese has no spaces to break lines at
        for i in range(max(map(len, sides))):
            table.add_row(*(side[i] if i < len(side) else Text() for side in sides))
        console.print(table)
        return
    for title, side in zip(titles, sides, strict=True):
        console.print(Text(f"\n{title}", style="bold"))
        for one in side:
            console.print(one, soft_wrap=True)


def _told(one: Passage, root: Path) -> Styled:
    from rich.text import Text

    line = Text()
    line.append(f"[{one.number}] ", style=CITED)
    line.append(one_line(file_line(one.source, one.line, root)), style=f"{SOURCE}{_link(one.source, root)}")
    line.append(f"\n{one_line(one.text)}")
    return line
