"""The words that a query and a text share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qianru.text.analyze import Analyzer
from qianru.text.stopwords import stop_words


def shared_words(analyzer: Analyzer, query: str, text: str) -> list[tuple[int, int]]:
    """(start, end) of what the text shares with the query, ascending and apart from each other.

    Characters inside the query's words count only where no word is shared, function words where nothing else is.
    """
    every = set(analyzer.tokens(query))
    words = set(replace(analyzer, characters=False).tokens(query))
    common = stop_words("zh") | stop_words("en")
    spans = analyzer.spans(text)
    for wanted in (words - common, every - common, every):
        if found := _merged([(start, end) for token, start, end in spans if token in wanted]):
            return found
    return []


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans ascending by start without overlaps: those that overlap are made one."""
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
