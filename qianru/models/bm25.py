"""BM25 over living statistics: documents come and go, and every score is as if fitted on those that are there.

Documents carry the term-frequency part of the weight, queries the idf; the score is the dot product of the two.
Sources: Robertson & Zaragoza 2009 (robertson); Kamphuis et al. 2020 (lucene, without the constant factor k1 + 1);
Lv & Zhai 2011 (bm25+: delta is added for the query's terms that stand in the document, for those alone).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, compress
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self, TypeAlias, cast

import numpy as np

from qianru.errors import BadFile, BadInput, SpecMismatch, UnknownName
from qianru.models.base import ModelSpec, as_texts
from qianru.models.counting import checked, contributions, look_up, stored_analyzer, tally
from qianru.models.files import Stored, fingerprint, read_folder, write_folder
from qianru.text.analyze import Analyzer
from qianru.text.stopwords import stop_lists
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, Role, SparseRows

Variant: TypeAlias = Literal["lucene", "robertson", "bm25+"]
VARIANTS: tuple[Variant, ...] = ("lucene", "robertson", "bm25+")


class Statistics(Protocol):
    """What BM25 must know of the documents that are there.

    n_documents, n_tokens: totals over all documents
    width: columns given out so far
    """

    @property
    def n_documents(self) -> int: ...

    @property
    def n_tokens(self) -> int: ...

    @property
    def width(self) -> int: ...

    def ids(self, terms: Sequence[str], *, grow: bool = False) -> IntArray:
        """(n,) column of each term, -1 where unknown; grow gives unknown ones the next free columns."""
        ...

    def frequencies(self, ids: IntArray) -> IntArray:
        """(n,) in how many documents each column's term stands."""
        ...

    def update(self, ids: IntArray, deltas: IntArray, n_documents: int, n_tokens: int) -> None:
        """Adds deltas to the frequencies of the columns, and to the two totals."""
        ...


class MemoryStatistics:
    """Statistics in memory."""

    def __init__(self) -> None:
        self.n_documents = 0
        self.n_tokens = 0
        self._columns: defaultdict[str, int] = defaultdict()
        self._columns.default_factory = self._columns.__len__
        self._frequencies = np.zeros(0, np.int64)   # grows by doubling, so it may be longer than the width

    @property
    def width(self) -> int:
        """Columns given out so far."""
        return len(self._columns)

    @property
    def terms(self) -> list[str]:
        """The terms, column by column."""
        return list(self._columns)

    def ids(self, terms: Sequence[str], *, grow: bool = False) -> IntArray:
        """(n,) column of each term, -1 where unknown; grow gives unknown ones the next free columns."""
        if not grow:
            return look_up(self._columns, terms)
        found = np.fromiter(map(self._columns.__getitem__, terms), np.int64, len(terms))
        if self.width > len(self._frequencies):
            longer = np.zeros(max(self.width, 2 * len(self._frequencies)), np.int64)
            longer[: len(self._frequencies)] = self._frequencies
            self._frequencies = longer
        return found

    def frequencies(self, ids: IntArray) -> IntArray:
        """(n,) in how many documents each column's term stands."""
        return self._frequencies[ids]

    def update(self, ids: IntArray, deltas: IntArray, n_documents: int, n_tokens: int) -> None:
        """Adds deltas to the frequencies of the columns, and to the two totals."""
        np.add.at(self._frequencies, ids, deltas)
        self.n_documents += n_documents
        self.n_tokens += n_tokens


class BM25:
    """Texts as BM25 weights over the words of a corpus that may change.

    k1: how soon more of the same word adds nothing;  b: how much long documents are held back, 0 to 1
    delta: of bm25+ alone
    query_stop_lists: words of these lists are left out of queries that hold others ("zh", "en")
    statistics: where the living counts are kept; in memory unless told otherwise

    An unfitted BM25 is an empty corpus, and grows with add. spec.fingerprint depends on the analyzer and the parameters
    only, not on the statistics: whoever keeps the counts (a collection) weighs them anew at every change.
    """

    family: ClassVar[str] = "bm25"

    def __init__(
        self,
        analyzer: Analyzer = Analyzer(),
        *,
        variant: Variant = "lucene",
        k1: float = 1.5,
        b: float = 0.75,
        delta: float = 1.0,
        query_stop_lists: tuple[str, ...] = (),
        statistics: Statistics | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise UnknownName("BM25 variant", variant, VARIANTS)
        for name, value, most in (("k1", k1, 1e6), ("b", b, 1.0), ("delta", delta, 1e6)):
            if not 0 <= value <= most:
                raise BadInput(f"BM25's {name} must lie between 0 and {most:g}; it is {value}.")
        self.analyzer, self.variant, self.k1, self.b, self.delta = analyzer, variant, float(k1), float(b), float(delta)
        self.query_stop_lists = tuple(query_stop_lists)
        self._query_analyzer = replace(analyzer, stop_lists=(*analyzer.stop_lists, *self.query_stop_lists))
        self.statistics: Statistics = MemoryStatistics() if statistics is None else statistics
        self._idf_of: tuple[int, dict[int, float]] = (0, {})    # frequency -> idf among so many documents
        self.spec = ModelSpec(self.family, self.family, ("sparse",), fingerprint(Stored(self.family, self._settings())))

    @property
    def mean_length(self) -> float:
        """Tokens of the average document; 0 without documents."""
        return self.statistics.n_tokens / max(self.statistics.n_documents, 1)

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Starts anew, with statistics in memory, and adds the texts."""
        texts = as_texts(texts)
        self.statistics = MemoryStatistics()
        return self.add(texts, progress=progress)

    def add(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Takes more documents into the statistics."""
        self.learn(*self.count(as_texts(texts), grow=True, progress=progress))
        return self

    def remove(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Takes documents out again; BadInput, and nothing changed, if these cannot have been added."""
        counts, lengths = self.count(as_texts(texts), grow=False, progress=progress)
        if counts.weights.sum(dtype=np.float64) != lengths.sum():
            raise BadInput("A text to remove has words that no added document has. Remove only what was added.")
        self.forget(counts, lengths)
        return self

    def count(
        self, texts: Sequence[str], *, grow: bool, progress: Progress | None = None
    ) -> tuple[SparseRows, IntArray]:
        """How often each text has each term (float32), and its length in tokens.

        grow: unknown terms get a column; otherwise they are left out, but count towards the length
        """
        tokens = tally(self.analyzer, texts, progress)
        columns = self.statistics.ids(tokens.names, grow=grow)
        return tokens.rows(columns, self.statistics.width), tokens.lengths

    def learn(self, counts: SparseRows, lengths: IntArray) -> None:
        """Adds counted documents to the statistics."""
        ids, n = _frequencies(counts)
        self.statistics.update(ids, n, len(counts), int(lengths.sum()))

    def forget(self, counts: SparseRows, lengths: IntArray) -> None:
        """Takes counted documents out of the statistics; BadInput, and nothing changed, if there are not so many."""
        ids, n = _frequencies(counts)
        now = self.statistics
        if (now.frequencies(ids) < n).any() or now.n_documents < len(counts) or now.n_tokens < lengths.sum():
            raise BadInput(f"{len(counts)} texts cannot be removed: the {now.n_documents} documents that are there "
                           "do not hold their words so often. Remove only what was added, and only once.")
        now.update(ids, -n, -len(counts), -int(lengths.sum()))

    def weigh(self, counts: SparseRows, lengths: IntArray, mean_length: float | None = None) -> SparseRows:
        """The documents' side of the score: the term-frequency part, float64.

        mean_length: of the corpus; that of the statistics unless told otherwise
        """
        mean = self.mean_length if mean_length is None else mean_length
        relative = lengths / mean if mean > 0 else np.ones(len(lengths))   # (n,)
        held_back = self.k1 * (1 - self.b + self.b * relative)
        tf = counts.weights.astype(np.float64)
        weights = tf / (tf + np.repeat(held_back, np.diff(counts.offsets)))
        if self.variant == "bm25+":
            weights = (self.k1 + 1) * weights + self.delta
        return SparseRows(counts.offsets, counts.terms, weights, counts.width)

    def idf(self, frequencies: IntArray) -> FloatArray:
        """(n,) weight of terms for being in so few of the documents; 0 for a term that stands in none.

        robertson: 0 for terms in more than half of the documents, where the formula turns negative.
        """
        n, df = self.statistics.n_documents, np.maximum(frequencies, 1).astype(np.float64)
        if self.variant == "lucene":
            idf = np.log1p((n - df + 0.5) / (df + 0.5))
        elif self.variant == "robertson":
            idf = np.log(np.maximum((n - df + 0.5) / (df + 0.5), 1))
        else:
            idf = np.log((n + 1) / df)
        return np.where(frequencies > 0, idf, 0.0)

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Documents: the term-frequency part at the current mean length. Queries: idf, times the count in the query."""
        texts = checked(self.spec, texts, role, kinds, instruction)
        if role == "document":
            counts, lengths = self.count(texts, grow=False, progress=progress)
            return Embeddings(self.spec.name, lengths, sparse=self.weigh(counts, lengths))
        return self._encode_queries(texts)

    def columns(self, terms: Sequence[str]) -> IntArray:
        """(n,) column of each term, -1 where unknown."""
        return self.statistics.ids(terms)

    def contributions(self, query: str, text: str) -> list[tuple[str, float]]:
        """The words that query and document share, each with what it adds to the score, largest first."""
        return contributions(self, query, text, self._query_analyzer)

    def save(self, folder: Path) -> None:
        """Writes the model to a folder; its statistics too if they are in memory, else they are their keeper's."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        kept = self.statistics
        if not isinstance(kept, MemoryStatistics):
            return Stored(self.family, self._settings())
        frequencies = kept.frequencies(np.arange(kept.width))
        totals = np.array([kept.n_documents, kept.n_tokens])
        return Stored(self.family, self._settings(), {"frequencies": frequencies, "totals": totals},
                      {"vocabulary": kept.terms})

    @classmethod
    def from_stored(cls, stored: Stored) -> Self:
        """The model that a folder holds."""
        model = cls(
            stored_analyzer(stored),
            variant=cast(Variant, stored.setting("variant", str)),
            k1=stored.setting("k1", float),
            b=stored.setting("b", float),
            delta=stored.setting("delta", float),
            query_stop_lists=_names(stored.setting("query_stop_lists", list)),
        )
        if stored.arrays:
            terms = stored.word_list("vocabulary")
            frequencies, totals = stored.array("frequencies", (len(terms),), "i"), stored.array("totals", (2,), "i")
            n_documents, n_tokens = totals.tolist()
            if (frequencies < 0).any() or (frequencies > n_documents).any() or n_tokens < frequencies.sum():
                raise BadFile(f"{stored.folder}: a word stands in fewer than 0 or more than {n_documents} documents. "
                              "Fit and save the model again.")
            model.statistics.update(model.statistics.ids(terms, grow=True), frequencies, n_documents, n_tokens)
        return model

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model saved to the folder."""
        return cls.from_stored(read_folder(folder, cls.family))

    def _settings(self) -> dict[str, object]:
        return {"analyzer": self.analyzer.to_json(), "variant": self.variant, "k1": self.k1, "b": self.b,
                "delta": self.delta, "query_stop_lists": list(self.query_stop_lists)}

    def _encode_queries(self, texts: Sequence[str]) -> Embeddings:
        """Queries are short, so this goes without arrays: 20 microseconds for one, not 60."""
        found = [self._query_analyzer.tokens(text) for text in texts]
        # a query of nothing but function words means them
        found = [tokens or self.analyzer.tokens(text) for tokens, text in zip(found, texts, strict=True)]
        weight_of = self._query_weights(list(dict.fromkeys(chain.from_iterable(found))))
        rows: list[dict[int, float]] = []
        for tokens in found:
            row: dict[int, float] = {}
            for column, weight in filter(None, map(weight_of.get, tokens)):
                row[column] = row.get(column, 0.0) + weight
            rows.append(row)
        lengths = np.array(list(map(len, found)), np.int64)
        return Embeddings(self.spec.name, lengths, sparse=SparseRows.from_rows(rows, self.statistics.width, np.float64))

    def _query_weights(self, names: Sequence[str]) -> dict[str, tuple[int, float]]:
        """name -> (column, idf) of the terms that stand in some document."""
        columns = self.statistics.ids(names)
        known = columns >= 0
        if not known.all():
            names, columns = list(compress(names, known.tolist())), columns[known]
        frequencies = self.statistics.frequencies(columns).tolist()
        n, idf_of = self._idf_of
        if n != self.statistics.n_documents:
            n, idf_of = self._idf_of = self.statistics.n_documents, {}
        if new := [each for each in frequencies if each not in idf_of]:     # until a document comes or goes
            idf_of.update(zip(new, self.idf(np.array(new)).tolist(), strict=True))
        weights = map(idf_of.__getitem__, frequencies)
        return {name: (column, weight) for name, column, weight in
                zip(names, columns.tolist(), weights, strict=True) if weight > 0}


def _names(listed: list[object]) -> tuple[str, ...]:
    names = tuple(name for name in listed if isinstance(name, str))
    if len(names) != len(listed) or set(names) - set(stop_lists()):
        raise SpecMismatch(f"query_stop_lists must name lists of stop words ({', '.join(stop_lists())}); it is "
                           f"{str(listed)[:60]}. Save the model again.")
    return names


def _frequencies(counts: SparseRows) -> tuple[IntArray, IntArray]:
    """(columns, in how many rows each stands)."""
    if len(counts.terms) < counts.width // 8:   # a few texts in a large vocabulary
        return np.unique(counts.terms, return_counts=True)
    n = np.bincount(counts.terms, minlength=counts.width)
    ids = np.flatnonzero(n)
    return ids, n[ids]
