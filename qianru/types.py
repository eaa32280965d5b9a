"""The types that every room shares: what a model makes, what an index stores, what a search returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch

Kind: TypeAlias = Literal["dense", "sparse", "multi", "tokens"]
Role: TypeAlias = Literal["query", "document"]
Value: TypeAlias = str | int | float | bool | list[str] | list[int] | list[float]
"""What a document's field may hold."""
Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with (done, total or None if unknown) as work goes on; must be cheap."""
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """n sparse vectors in compressed rows.

    offsets: (n + 1,) int64, row i is terms[offsets[i]:offsets[i + 1]]
    terms: (nnz,) int64 columns, ascending and unique within a row
    weights: (nnz,) float32 or float64
    width: number of columns; every term is below it
    """

    offsets: IntArray
    terms: IntArray
    weights: FloatArray
    width: int

    def __post_init__(self) -> None:
        end = self.offsets[-1] if len(self.offsets) else None
        if len(self.terms) != len(self.weights) or end != len(self.terms):
            raise ShapeMismatch(
                f"Sparse rows need as many weights as terms and offsets that end there; got {len(self.terms)} terms, "
                f"{len(self.weights)} weights and offsets ending at {end}."
            )

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[int, float]], width: int, dtype: Any = np.float32) -> SparseRows:
        """Rows given as {term: weight}.

        >>> SparseRows.from_rows([{2: 1.0, 0: 3.0}, {}], width=4).to_dense().tolist()
        [[3.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
        """
        terms: list[int] = []
        weights: list[float] = []
        offsets = [0]
        for row in rows:
            ordered = sorted(row)
            terms.extend(ordered)
            weights.extend(row[term] for term in ordered)
            offsets.append(len(terms))
        return cls(np.array(offsets, np.int64), np.array(terms, np.int64), np.array(weights, dtype), width)

    @classmethod
    def concat(cls, parts: Sequence[SparseRows]) -> SparseRows:
        """The rows of all parts, in order; the width is the largest."""
        if not parts:
            return cls.from_rows([], 0)
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.terms for part in parts]),
            np.concatenate([part.weights for part in parts]),
            max(part.width for part in parts),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[tuple[IntArray, FloatArray]]:
        return (self.row(i) for i in range(len(self)))

    def row(self, i: int) -> tuple[IntArray, FloatArray]:
        """(terms, weights) of row i, as views."""
        start, end = self.offsets[i], self.offsets[i + 1]
        return self.terms[start:end], self.weights[start:end]

    def take(self, rows: Sequence[int] | IntArray) -> SparseRows:
        """The named rows, in that order."""
        chosen = np.asarray(rows, np.int64)
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.repeat(self.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return SparseRows(offsets, self.terms[where], self.weights[where], self.width)

    def norms(self) -> FloatArray:
        """(n,) Euclidean length of each row."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        return np.sqrt(np.bincount(rows, weights=np.square(self.weights, dtype=np.float64), minlength=len(self)))

    def to_dense(self) -> FloatArray:
        """(n, width) array; for small cases and tests."""
        dense = np.zeros((len(self), self.width), self.weights.dtype)
        dense[np.repeat(np.arange(len(self)), np.diff(self.offsets)), self.terms] = self.weights
        return dense


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """n matrices with different numbers of rows, end to end: a text's token vectors.

    data: (total, d);  offsets: (n + 1,) int64
    """

    data: FloatArray
    offsets: IntArray

    def __post_init__(self) -> None:
        if len(self.offsets) == 0 or self.offsets[-1] != len(self.data):
            raise ShapeMismatch(f"Offsets must end at the {len(self.data)} rows of the data.")

    @classmethod
    def concat(cls, parts: Sequence[Ragged]) -> Ragged:
        """The matrices of all parts, at least one, in order."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(np.concatenate([part.data for part in parts]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> FloatArray:
        """(n_tokens, d) matrix of item i, as a view."""
        return self.data[self.offsets[i] : self.offsets[i + 1]]

    def take(self, rows: Sequence[int] | IntArray) -> Ragged:
        """The named matrices, in that order.

        >>> Ragged(np.arange(6.0).reshape(3, 2), np.array([0, 1, 3])).take([1, 0]).data.tolist()
        [[2.0, 3.0], [4.0, 5.0], [0.0, 1.0]]
        """
        chosen = np.asarray(rows, np.int64)
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.repeat(self.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.data[where], offsets)


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """What a model makes of n texts: one or more kinds of vectors, row i for text i.

    model: the name of the model that made them
    n_tokens: (n,) tokens that each text had, before any cut
    n_truncated: how many of the texts were longer than the model takes
    dense: (n, d);  sparse: n rows;  multi: n matrices
    tokens: n matrices of all tokens' states as the model's last layer leaves them, special ones and prompts among them
    """

    model: str
    n_tokens: IntArray
    n_truncated: int = 0
    dense: FloatArray | None = None
    sparse: SparseRows | None = None
    multi: Ragged | None = None
    tokens: Ragged | None = None

    def __post_init__(self) -> None:
        for kind in ("dense", "sparse", "multi", "tokens"):
            part = getattr(self, kind)
            if part is not None and len(part) != len(self.n_tokens):
                raise ShapeMismatch(f"{len(part)} {kind} vectors do not fit {len(self.n_tokens)} texts.")

    @classmethod
    def concat(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """The rows of all parts, at least one, in order; all of the same kinds."""
        if len(parts) == 1:
            return parts[0]
        dense = [part.dense for part in parts if part.dense is not None]
        sparse = [part.sparse for part in parts if part.sparse is not None]
        multi = [part.multi for part in parts if part.multi is not None]
        tokens = [part.tokens for part in parts if part.tokens is not None]
        return cls(
            parts[0].model, np.concatenate([part.n_tokens for part in parts]), sum(part.n_truncated for part in parts),
            np.concatenate(dense) if dense else None, SparseRows.concat(sparse) if sparse else None,
            Ragged.concat(multi) if multi else None, Ragged.concat(tokens) if tokens else None,
        )

    def __len__(self) -> int:
        return len(self.n_tokens)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that are present."""
        every: tuple[Kind, ...] = ("dense", "sparse", "multi", "tokens")
        return tuple(kind for kind in every if getattr(self, kind) is not None)

    def take(self, rows: Sequence[int] | IntArray, n_truncated: int = 0) -> Embeddings:
        """The named rows, in that order; n_truncated: how many of these were cut, which only the caller can know."""
        chosen = np.asarray(rows, np.int64)
        return Embeddings(
            self.model, self.n_tokens[chosen], n_truncated, None if self.dense is None else self.dense[chosen],
            None if self.sparse is None else self.sparse.take(chosen),
            None if self.multi is None else self.multi.take(chosen),
            None if self.tokens is None else self.tokens.take(chosen),
        )


@dataclass(frozen=True, slots=True)
class Document:
    """A text with a name of its own and fields to filter by and to show.

    id: unique in a collection; adding the same id again replaces the document
    fields: what is known about the text, e.g. path, line, heading
    """

    id: str
    text: str
    fields: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise BadInput("A document needs an id that is not empty.")


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found.

    score: larger is better; what it is depends on the search: a similarity, a BM25 score or a fused score
    scores: kind -> score by that kind alone;  ranks: kind -> rank by that kind alone, from 1
    """

    id: str
    text: str
    fields: Mapping[str, Value]
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
