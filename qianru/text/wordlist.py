"""The lines of the user's own lists of words: user dictionaries and stop words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qianru.errors import BadFile


def listed_words(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """(line number, line) of each line that holds something, its spaces made single ones.

    what: names the list in errors
    Raises BadFile, naming file and line: a list of words is short and its owner's, so its encoding is not guessed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        broken = path.read_bytes()[: error.start].count(b"\n") + 1
        raise BadFile(f"{path}, line {broken}: the {what} is not UTF-8. Save it as UTF-8.") from None
    except OSError as error:
        raise BadFile(f"The {what} {path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if fields := line.split():
            yield number, " ".join(fields)
