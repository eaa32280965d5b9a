"""All texts of data sets, whatever their task: what vocabularies and word vectors are learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qianru.train.data.examples import Example, Labelled, Plain, Ranked
from qianru.train.data.sets import DataSet


def texts_in(sets: Sequence[DataSet]) -> Iterator[str]:
    """Text after text, in the order of the sets and their rows; one that stands in several rows comes several times."""
    for data in sets:
        for i in range(len(data)):
            yield from texts_of(data[i])


def texts_of(example: Example) -> list[str]:
    """Query, positives and negatives; left and right; or the one text."""
    if isinstance(example, Ranked):
        return [example.query, *example.positives, *example.negatives]
    return [example.text] if isinstance(example, (Labelled, Plain)) else [example.left, example.right]
