"""Lists of words that say little: Chinese function words and NLTK's English list, as data."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from qianru.errors import UnknownName
from qianru.text.wordlist import listed_words

FOLDER = Path(__file__).parent.parent / "data" / "stopwords"


def stop_lists() -> tuple[str, ...]:
    """The names of the lists that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))


@lru_cache(maxsize=16)
def stop_words(name: str) -> frozenset[str]:
    """The words of a list.

    Raises UnknownName if there is none by that name.

    >>> "的" in stop_words("zh"), "the" in stop_words("en")
    (True, True)
    """
    known = stop_lists()
    if name not in known:
        raise UnknownName("list of stop words", name, known)
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def read_stop_words(path: Path) -> tuple[str, ...]:
    """The words of a list of the user's own: one a line, in UTF-8; lines that begin with # are remarks.

    Raises BadFile, naming file and line.
    """
    return tuple(line for _, line in listed_words(path, "list of stop words") if not line.startswith("#"))
