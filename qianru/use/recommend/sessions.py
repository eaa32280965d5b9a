"""Sessions: what was seen, bought or played one after another, read from files.

    sessions.txt     one session a line: items separated by tabs, or by spaces where the file has no tab
    sessions.jsonl   {"items": ["甲", "乙"]}, or an event a line: {"user": "u1", "item": "甲", "time": 1699999999}
    sessions.csv     an event a row, with columns user (or session), item and perhaps time; .tsv too

Events of one user are one session, in the order of their times, else of the file. Times are numbers or dates with the
year first, all in one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qianru.errors import BadFile, BadInput, UnknownName
from qianru.text.read import Problem, Row, read_file, read_rows
from qianru.text.read.files import TABLES, check_there, kind_of
from qianru.use.moments import moments

USERS = ("user", "session", "user_id", "session_id", "userid", "sessionid", "用户", "会话")
ITEMS = ("item", "item_id", "itemid", "product", "product_id", "name", "商品", "物品", "菜名")
TIMES = ("time", "timestamp", "date", "时间", "日期")
LISTS = ("items", "session", "物品", "商品")


@dataclass(frozen=True, slots=True)
class Sessions:
    """Lists of items in their order, none of them empty; an item that follows itself counts once.

    timed: whether the sessions stand in the order of their last events, by time
    """

    lists: Sequence[Sequence[str]]
    timed: bool = False

    def __len__(self) -> int:
        return len(self.lists)

    @classmethod
    def of(cls, lists: Iterable[Sequence[str]], timed: bool = False) -> Sessions:
        """Made tidy.

        >>> Sessions.of([["甲", "甲", "乙"], []]).lists
        [['甲', '乙']]
        """
        kept: list[Sequence[str]] = []
        for number, session in enumerate(lists):
            if isinstance(session, str) or not all(isinstance(item, str) for item in session):
                raise BadInput(f"Session {number} (counting from 0) is no list of names of items: {session!r:.60}.")
            tidy = [item for i, item in enumerate(session) if item and (i == 0 or item != session[i - 1])]
            if tidy:
                kept.append(tidy)
        return cls(kept, timed)


def read_sessions(path: str | Path, encoding: str | None = None) -> Sessions:
    """The sessions of a file. Raises BadFile for one without any, UnknownName for a table without the columns."""
    path = Path(path)
    check_there(path)
    kind = kind_of(path)
    if kind == "plain":
        found = Sessions.of(_lines(path, encoding))
    elif kind not in TABLES:
        raise BadInput(f"{path} holds no sessions. They stand in files that end in .txt, .csv, .tsv or .jsonl.")
    else:
        rows: list[Row] = []
        for row in read_rows(path, encoding):
            if not isinstance(row, Row):
                raise BadInput(f"{row} Sessions are read whole or not at all.")
            rows.append(row)
        found = _of_rows(rows, path)
    if not found.lists:
        raise BadFile(f"There is no session in '{path}'. Write one a line, or a table of user, item and time.")
    return found


def _lines(path: Path, encoding: str | None) -> list[list[str]]:
    texts: list[str] = []
    for source in read_file(path, encoding=encoding):
        if isinstance(source, Problem):
            raise BadFile(str(source))
        texts.append(source.text)
    whole = "\n".join(texts)
    separator = "\t" if "\t" in whole else None
    return [[item.strip() for item in line.split(separator)] for line in whole.split("\n") if line.strip()]


def _of_rows(rows: Sequence[Row], path: Path) -> Sessions:
    header = list(dict.fromkeys(column for row in rows for column in row.values))
    listed = next((column for column in header if column.lower() in LISTS and rows
                   and all(isinstance(row.values.get(column), list) for row in rows)), None)
    if listed is not None:
        return Sessions.of([[str(item) for item in row.values[listed]] for row in rows])
    user, item = _column(header, USERS, path), _column(header, ITEMS, path)
    time = next((column for column in header if column.lower() in TIMES), None)
    for row in rows:
        for column in (user, item, *([time] if time else [])):
            if row.values.get(column) in (None, ""):
                raise BadInput(f"The event at {path}:{row.line} has no {column}: {row.values!r:.80}.")
    times = range(len(rows)) if time is None else \
        moments([row.values[time] for row in rows], lambda i: f"the {time} at {path}:{rows[i].line}")
    events: dict[str, list[tuple[float, str]]] = {}
    for row, when in zip(rows, times, strict=True):
        events.setdefault(str(row.values[user]), []).append((when, str(row.values[item])))
    for mine in events.values():
        mine.sort(key=lambda event: event[0])
    ordered = sorted(events.values(), key=lambda mine: mine[-1][0])
    return Sessions.of([[name for _, name in mine] for mine in ordered], timed=time is not None)


def _column(header: Sequence[str], known: Sequence[str], path: Path) -> str:
    for column in header:
        if column.lower() in known:
            return column
    raise UnknownName("column", known[0], header, f"in {path}")
