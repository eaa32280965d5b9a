"""Tokens to sparse rows of counts: what every lexical model does first, in one flat pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple, Protocol

import numpy as np

from qianru.errors import QianruError, SpecMismatch
from qianru.models.base import ModelSpec, as_texts, check_role, chosen_kinds, refuse_instruction
from qianru.models.files import Stored
from qianru.text.analyze import Analyzer
from qianru.types import Embeddings, IntArray, Kind, Progress, Role, SparseRows

REPORT_EVERY = 256   # texts; often enough for a bar, too seldom to cost anything


class Tally(NamedTuple):
    """The tokens of n texts end to end.

    names: the distinct tokens, in order of first appearance
    flat: (total,) which name each token is;  lengths: (n,) tokens of each text
    """

    names: list[str]
    flat: IntArray
    lengths: IntArray

    def rows(self, columns: IntArray, width: int) -> SparseRows:
        """How often each text has each token, terms ascending; names whose column is -1 are left out.

        columns: (number of names,) where each name is counted
        """
        row = np.repeat(np.arange(len(self.lengths)), self.lengths)
        column = columns[self.flat]
        if len(columns) and columns.min() < 0:
            known = column >= 0
            row, column = row[known], column[known]
        bits = max(width, 1).bit_length()
        keys = row << bits | column   # one whole number for (row, column): sorting these is the whole work
        keys.sort()
        first = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]]))
        counts = np.diff(first, append=len(keys))
        keys = keys[first]
        offsets = np.searchsorted(keys, np.arange(len(self.lengths) + 1) << bits)
        return SparseRows(offsets, keys & ((1 << bits) - 1), counts.astype(np.float32), width)


def tally(analyzer: Analyzer, texts: Sequence[str], progress: Progress | None = None) -> Tally:
    """All tokens of the texts.

    >>> t = tally(Analyzer(unit="char"), ["天天向上", "上"])
    >>> t.names, t.flat.tolist(), t.lengths.tolist()
    (['天', '向', '上'], [0, 0, 1, 2, 2], [4, 1])
    """
    names: defaultdict[str, int] = defaultdict()
    names.default_factory = names.__len__   # a new name gets the next number, without a branch in Python
    lengths: list[int] = []

    def token_lists() -> Iterator[list[str]]:
        for text in watched(texts, progress):
            tokens = analyzer.tokens(text)
            lengths.append(len(tokens))
            yield tokens

    flat = np.fromiter(map(names.__getitem__, chain.from_iterable(token_lists())), np.int32)
    return Tally(list(names), flat, np.array(lengths, np.int64))


def look_up(columns: dict[str, int], names: Sequence[str]) -> IntArray:
    """(n,) column of each name, -1 where there is none."""
    return np.fromiter(map(columns.get, names, repeat(-1)), np.int64, len(names))


def watched(texts: Sequence[str], progress: Progress | None) -> Iterable[str]:
    """The texts, telling how far one is."""
    if progress is None:
        return texts
    return _watched(texts, progress)


def _watched(texts: Sequence[str], progress: Progress) -> Iterator[str]:
    for i, text in enumerate(texts):
        if i % REPORT_EVERY == 0:
            progress(i, len(texts))
        yield text
    progress(len(texts), len(texts))


def checked(
    spec: ModelSpec, texts: Iterable[str], role: Role, kinds: Sequence[Kind] | None, instruction: str | None
) -> list[str]:
    """The texts as a list, once all that encode was given is known to fit a model without instructions."""
    check_role(role)
    refuse_instruction(spec, instruction)
    chosen_kinds(spec, kinds)
    return as_texts(texts)


def stored_analyzer(stored: Stored) -> Analyzer:
    """The analyzer of a model's folder; SpecMismatch if an option is not of the type that it has to be."""
    options = stored.setting("analyzer", dict)
    for name, usual in Analyzer().to_json().items():
        given = options.get(name, usual)
        if isinstance(usual, list):
            kinds = [type(item) for item in given] if isinstance(given, list) else [type(None)]
            fits = kinds == [int, int] if name == "ngrams" else set(kinds) <= {str}
        else:
            fits = type(given) is type(usual) or (usual is None and isinstance(given, str))
        if not fits:
            raise SpecMismatch(f"The model's analyzer has {name} {given!r:.60}; it must be like {usual!r}. "
                               "Fit and save the model again.")
    try:
        return Analyzer.from_json(options)
    except QianruError as error:
        raise SpecMismatch(f"The model's analyzer makes no sense: {error}") from error


class Lexical(Protocol):
    """A sparse model whose terms are words that one can show."""

    @property
    def analyzer(self) -> Analyzer: ...

    @property
    def encode(self) -> Callable[..., Embeddings]: ...

    def columns(self, terms: Sequence[str]) -> IntArray:
        """(n,) column of each term, -1 where unknown."""
        ...


def contributions(
    model: Lexical, query: str, text: str, query_analyzer: Analyzer | None = None
) -> list[tuple[str, float]]:
    """The terms that query and text share, each with what it adds to the score, largest first; they sum up to it.

    query_analyzer: how the model may cut queries, where that is not always as it cuts documents
    """
    of_query = model.encode([query], role="query").sparse
    of_text = model.encode([text], role="document").sparse
    assert of_query is not None
    assert of_text is not None
    (columns, left), (others, right) = of_query.row(0), of_text.row(0)
    shared, i, j = np.intersect1d(columns, others, assume_unique=True, return_indices=True)
    analyzers = [model.analyzer] if query_analyzer is None else [model.analyzer, query_analyzer]
    terms = list(dict.fromkeys(token for analyzer in analyzers for token in analyzer.tokens(query)))
    names = dict(zip(model.columns(terms).tolist(), terms, strict=True))
    products = left[i].astype(np.float64) * right[j]
    found = [(names[column], float(product)) for column, product in zip(shared.tolist(), products, strict=True)]
    return sorted(found, key=lambda pair: (-abs(pair[1]), pair[0]))
