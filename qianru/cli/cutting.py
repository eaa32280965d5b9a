"""Options that say how texts are cut into words: user words, stop words, runs, one script for both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from qianru.errors import BadInput

if TYPE_CHECKING:
    from qianru.models.bm25 import BM25
    from qianru.text.analyze import Analyzer

Ngrams = Annotated[str, typer.Option(metavar="N|A-B", help="Lengths of the runs of words to count.")]
Chars = Annotated[bool, typer.Option("--char", help="Count characters, not words.")]
UserWords = Annotated[
    Path | None,
    typer.Option("--user-words", metavar="FILE", show_default=False,
                 help="Words to keep whole, one a line: word, then if need be frequency and tag, as for jieba."),
]
StopWords = Annotated[
    str,
    typer.Option("--stop-words", metavar="zh,en,FILE", show_default=False,
                 help="Words to leave out: lists that come with Qianru, or files with a word a line."),
]
FoldScript = Annotated[bool, typer.Option("--fold-script", help="Traditional and Simplified count as the same.")]


class OwnWords(NamedTuple):
    """What the user says of words: those to keep whole, lists and words to leave out."""

    user_words: tuple[str, ...] = ()
    stop_lists: tuple[str, ...] = ()
    stop_words: tuple[str, ...] = ()

    def added_to(self, analyzer: Analyzer) -> Analyzer:
        """The analyzer with these words beside those that it has."""
        if not any(self):
            return analyzer
        return replace(
            analyzer, user_words=(*analyzer.user_words, *self.user_words),
            stop_lists=tuple(dict.fromkeys((*analyzer.stop_lists, *self.stop_lists))),
            stop_words=(*analyzer.stop_words, *self.stop_words),
        )


def own_words(user_words: Path | None, stop_words: str) -> OwnWords:
    """The words that the options name; a name among the stop words that is no list of ours is a file."""
    from qianru.text.segment import read_user_words
    from qianru.text.stopwords import read_stop_words, stop_lists

    names = [name.strip() for name in stop_words.split(",") if name.strip()]
    files = [Path(name) for name in names if name not in stop_lists() and (Path(name).suffix or Path(name).is_file())]
    return OwnWords(
        () if user_words is None else read_user_words(user_words),
        tuple(name for name in names if Path(name) not in files),
        tuple(word for file in files for word in read_stop_words(file)),
    )


def made_analyzer(ngrams: str, words: OwnWords, *, char: bool = False, fold_script: bool = False) -> Analyzer:
    """How to cut texts, by the options."""
    from qianru.text.analyze import Analyzer

    analyzer = Analyzer("char" if char else "word", ngram_range(ngrams, "1"), fold_script=fold_script)
    return words.added_to(analyzer)


def search_model(words: OwnWords, variant: str = "lucene", k1: float = 1.5, b: float = 0.75) -> BM25:
    """The built-in bm25 with the user's words and parameters."""
    from qianru.models import load
    from qianru.models.bm25 import BM25

    usual = load("bm25")
    assert isinstance(usual, BM25)
    return BM25(words.added_to(usual.analyzer), variant=variant, k1=k1, b=b,  # type: ignore[arg-type]   # checked there
                query_stop_lists=usual.query_stop_lists)


def ngram_range(given: str | None, default: str) -> tuple[int, int]:
    """The shortest and the longest run.

    >>> ngram_range("1-3", "1"), ngram_range(None, "3")
    ((1, 3), (3, 3))
    """
    first, _, last = (given or default).partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise BadInput(f"'{given}' is no range of lengths. Write one number, or two: 1-3.")
    return int(first), int(last or first)
