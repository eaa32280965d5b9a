"""The words that a query and a text share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from qianru.text.analyze import Analyzer
from qianru.text.stopwords import stop_words

Stretch: TypeAlias = tuple[int, int]


def shared_words(analyzer: Analyzer, query: str) -> Callable[[str], list[Stretch]]:
    """text -> (start, end) of what it shares with the query, ascending and apart from each other.

    Characters inside the query's words count only where no word is shared, function words where nothing else is.
    """
    every = set(analyzer.tokens(query))
    words = set(replace(analyzer, characters=False).tokens(query))
    common = stop_words("zh") | stop_words("en")
    choices = (words - common, every - common, every)

    def shared(text: str) -> list[Stretch]:
        spans = analyzer.spans(text)
        for wanted in choices:
            if found := _merged([(start, end) for token, start, end in spans if token in wanted]):
                return found
        return []

    return shared


def _merged(spans: Sequence[Stretch]) -> list[Stretch]:
    """Spans ascending by start without overlaps: those that overlap are made one."""
    merged: list[Stretch] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
