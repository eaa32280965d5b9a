"""Word counts and TF-IDF, with scikit-learn's exact definitions; what counts as a word is the analyzer's business."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeAlias, cast

import numpy as np

from qianru.errors import BadInput, NotFitted, UnknownName
from qianru.models.base import ModelSpec, as_texts
from qianru.models.counting import checked, contributions, look_up, stored_analyzer, tally
from qianru.models.files import Stored, fingerprint, read_folder, write_folder
from qianru.text.analyze import Analyzer
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, Role, SparseRows

Norm: TypeAlias = Literal["l2", "l1"]


class Counts:
    """Texts as how often they have each word of the corpus (binary: whether they have it).

    min_df, max_df: words in fewer or more documents are left out; a whole number counts documents, a float is a share
    max_features: only so many words, the most frequent of the corpus; equals in alphabetical order
    """

    family: ClassVar[str] = "counts"

    def __init__(
        self,
        analyzer: Analyzer = Analyzer(),
        *,
        binary: bool = False,
        min_df: float = 1,
        max_df: float = 1.0,
        max_features: int | None = None,
    ) -> None:
        _check_share("min_df", min_df)
        _check_share("max_df", max_df)
        if max_features is not None and max_features < 1:
            raise BadInput(f"max_features must be 1 or more, or None for all words; it is {max_features}.")
        self.analyzer = analyzer
        self.binary, self.min_df, self.max_df, self.max_features = binary, min_df, max_df, max_features
        self._terms: list[str] | None = None
        self._columns: dict[str, int] = {}
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec:
        """Family "counts", kind sparse."""
        if self._spec is None:
            self._spec = ModelSpec(self.family, self.family, ("sparse",), fingerprint(self.stored()))
        return self._spec

    @property
    def features(self) -> list[str]:
        """The words, column by column; sorted."""
        if self._terms is None:
            raise NotFitted(f"{self.family} has seen no corpus. Call fit(texts) first, or load a fitted model.")
        return self._terms

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Learns which words there are; BadInput if none is left."""
        self.learn(texts, progress=progress)
        return self

    def learn(self, texts: Iterable[str], *, progress: Progress | None = None) -> tuple[SparseRows, IntArray]:
        """fit, giving back the texts' counts and their lengths in tokens, so that nothing is segmented twice."""
        tokens = tally(self.analyzer, as_texts(texts), progress)
        order = sorted(range(len(tokens.names)), key=tokens.names.__getitem__)
        columns = np.empty(len(order), np.int64)
        columns[order] = np.arange(len(order))
        counts = _binary(tokens.rows(columns, len(order)), self.binary)
        kept = self._kept(counts)
        self._set_terms([tokens.names[order[column]] for column in kept.tolist()])
        return (counts if len(kept) == counts.width else _only(counts, kept)), tokens.lengths

    def count(self, texts: Sequence[str], *, progress: Progress | None = None) -> tuple[SparseRows, IntArray]:
        """Counts of the known words (float32) and the texts' lengths in tokens, unknown ones included."""
        width = len(self.features)
        tokens = tally(self.analyzer, texts, progress)
        return _binary(tokens.rows(self.columns(tokens.names), width), self.binary), tokens.lengths

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """One sparse row of counts a text; queries and documents alike."""
        counts, lengths = self.count(checked(self.spec, texts, role, kinds, instruction), progress=progress)
        return Embeddings(self.spec.name, lengths, sparse=counts)

    def columns(self, terms: Sequence[str]) -> IntArray:
        """(n,) column of each term, -1 where unknown."""
        return look_up(self._columns, terms)

    def contributions(self, query: str, text: str) -> list[tuple[str, float]]:
        """The words that both have, each with what it adds to the dot product, largest first."""
        return contributions(self, query, text)

    def save(self, folder: Path) -> None:
        """Writes the model to a folder."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        settings = {name: getattr(self, name) for name in ("binary", "min_df", "max_df", "max_features")}
        words = {} if self._terms is None else {"vocabulary": self._terms}
        return Stored(self.family, {"analyzer": self.analyzer.to_json(), **settings}, words=words)

    @classmethod
    def from_stored(cls, stored: Stored) -> Self:
        """The model that a folder holds."""
        model = cls(
            stored_analyzer(stored),
            binary=stored.setting("binary", bool),
            min_df=_share(stored, "min_df"),
            max_df=_share(stored, "max_df"),
            max_features=stored.optional("max_features", int),
        )
        if stored.words:
            model._set_terms(stored.word_list("vocabulary"))
        return model

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model saved to the folder."""
        return cls.from_stored(read_folder(folder, cls.family))

    def _set_terms(self, terms: list[str]) -> None:
        self._terms = terms
        self._columns = {term: column for column, term in enumerate(terms)}
        self._spec = None

    def _kept(self, counts: SparseRows) -> IntArray:
        """The columns that min_df, max_df and max_features leave."""
        n = len(counts)
        if not counts.width:
            raise BadInput(f"Nothing to learn from {n} texts: the analyzer finds no word. Give more text.")
        least, most = (x if isinstance(x, int) else x * n for x in (self.min_df, self.max_df))
        if most < least:
            raise BadInput(f"max_df={self.max_df} asks for words in at most {most:g} of the {n} documents, "
                           f"min_df={self.min_df} for at least {least:g}. Raise the first or lower the second.")
        frequencies = document_frequencies(counts)
        kept = np.flatnonzero((frequencies >= least) & (frequencies <= most))
        if self.max_features is not None and len(kept) > self.max_features:
            totals = np.bincount(counts.terms, weights=counts.weights, minlength=counts.width)
            kept = np.sort(kept[np.argsort(-totals[kept], kind="stable")[: self.max_features]])
        if len(kept) == 0:
            raise BadInput(f"min_df={self.min_df} and max_df={self.max_df} leave no word of {n} texts. "
                           "Lower the first, raise the second, or give more text.")
        return kept


class TfIdf:
    """Texts as counts weighted by how rare each word is: tf * idf, normalised.

    idf = ln((1 + n) / (1 + df)) + 1 with smooth_idf, else ln(n / df) + 1; sublinear_tf replaces tf by 1 + ln(tf).
    norm: each row's Euclidean length ("l2") or sum of sizes ("l1") becomes 1; None leaves it
    The other options are those of Counts.
    """

    family: ClassVar[str] = "tfidf"

    def __init__(
        self,
        analyzer: Analyzer = Analyzer(),
        *,
        min_df: float = 1,
        max_df: float = 1.0,
        max_features: int | None = None,
        use_idf: bool = True,
        smooth_idf: bool = True,
        sublinear_tf: bool = False,
        norm: Norm | None = "l2",
        binary: bool = False,
    ) -> None:
        if norm not in ("l2", "l1", None):
            raise UnknownName("norm", norm, ["l2", "l1"])
        self._counts = Counts(analyzer, binary=binary, min_df=min_df, max_df=max_df, max_features=max_features)
        self.use_idf, self.smooth_idf, self.sublinear_tf, self.norm = use_idf, smooth_idf, sublinear_tf, norm
        self._idf: FloatArray = np.ones(0)
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec:
        """Family "tfidf", kind sparse."""
        if self._spec is None:
            self._spec = ModelSpec(self.family, self.family, ("sparse",), fingerprint(self.stored()))
        return self._spec

    @property
    def analyzer(self) -> Analyzer:
        """What cuts texts into terms."""
        return self._counts.analyzer

    @property
    def features(self) -> list[str]:
        """The terms, column by column; sorted."""
        return self._counts.features

    @property
    def idf(self) -> FloatArray:
        """(width,) weight of each term for being rare; ones without use_idf."""
        return self._idf

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Learns the terms and their idf."""
        self.learn(texts, progress=progress)
        return self

    def learn(self, texts: Iterable[str], *, progress: Progress | None = None) -> tuple[SparseRows, IntArray]:
        """fit, giving back the texts' vectors and their lengths in tokens, so that nothing is segmented twice."""
        counts, lengths = self._counts.learn(texts, progress=progress)
        df = document_frequencies(counts).astype(np.float64)
        smooth = int(self.smooth_idf)
        self._idf = np.log((len(counts) + smooth) / (df + smooth)) + 1 if self.use_idf else np.ones(counts.width)
        self._spec = None
        return self._weigh(counts), lengths

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """One sparse row a text, float64; queries and documents alike."""
        counts, lengths = self._counts.count(checked(self.spec, texts, role, kinds, instruction), progress=progress)
        return Embeddings(self.spec.name, lengths, sparse=self._weigh(counts))

    def columns(self, terms: Sequence[str]) -> IntArray:
        """(n,) column of each term, -1 where unknown."""
        return self._counts.columns(terms)

    def contributions(self, query: str, text: str) -> list[tuple[str, float]]:
        """The terms that both have, each with what it adds to the dot product, largest first."""
        return contributions(self, query, text)

    def save(self, folder: Path) -> None:
        """Writes the model to a folder."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        inner = self._counts.stored()
        own = {name: getattr(self, name) for name in ("use_idf", "smooth_idf", "sublinear_tf", "norm")}
        arrays = {"idf": self._idf} if inner.words else {}
        return Stored(self.family, {**inner.settings, **own}, arrays, inner.words)

    @classmethod
    def from_stored(cls, stored: Stored) -> Self:
        """The model that a folder holds."""
        inner = Counts.from_stored(stored)
        model = cls(
            use_idf=stored.setting("use_idf", bool),
            smooth_idf=stored.setting("smooth_idf", bool),
            sublinear_tf=stored.setting("sublinear_tf", bool),
            norm=cast(Norm | None, stored.optional("norm", str)),
        )
        model._counts = inner
        if stored.words:
            model._idf = stored.array("idf", (len(inner.features),))
        return model

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model saved to the folder."""
        return cls.from_stored(read_folder(folder, cls.family))

    def _weigh(self, counts: SparseRows) -> SparseRows:
        weights = counts.weights.astype(np.float64)
        if self.sublinear_tf:
            weights = np.log(weights) + 1
        weights *= self._idf[counts.terms]
        if self.norm is not None:
            rows = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
            sizes = np.square(weights) if self.norm == "l2" else np.abs(weights)
            lengths = np.bincount(rows, weights=sizes, minlength=len(counts))
            weights /= (np.sqrt(lengths) if self.norm == "l2" else lengths)[rows]   # a row with terms is never 0
        return SparseRows(counts.offsets, counts.terms, weights, counts.width)


def document_frequencies(counts: SparseRows) -> IntArray:
    """(width,) in how many rows each term stands."""
    return np.bincount(counts.terms, minlength=counts.width)


def _binary(counts: SparseRows, wanted: bool) -> SparseRows:
    return SparseRows(counts.offsets, counts.terms, np.ones_like(counts.weights), counts.width) if wanted else counts


def _only(counts: SparseRows, kept: IntArray) -> SparseRows:
    """The same rows with the kept columns alone, numbered anew."""
    new = np.full(counts.width, -1, np.int64)
    new[kept] = np.arange(len(kept))
    terms = new[counts.terms]
    known = terms >= 0
    before = np.concatenate([[0], np.cumsum(known)])
    return SparseRows(before[counts.offsets], terms[known], counts.weights[known], len(kept))


def _check_share(name: str, value: float) -> None:
    if isinstance(value, bool) or not (value >= 1 if isinstance(value, int) else 0 <= value <= 1):
        raise BadInput(f"{name} must be a whole number of documents from 1 or a share from 0.0 to 1.0, not {value!r}.")


def _share(stored: Stored, name: str) -> float:
    """A whole number stays one: 1 is one document, 1.0 is all."""
    value = stored.settings.get(name)
    return value if type(value) is int else stored.setting(name, float)
