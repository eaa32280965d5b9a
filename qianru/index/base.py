"""The contract of indexes: embeddings in, rankings out. Texts and names are the collection's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from qianru.index.filter import Filter
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Value


class Ranking(NamedTuple):
    """What one query found: ids (m,) and scores (m,), best first, equal scores by ascending id; m <= k."""

    ids: IntArray
    scores: FloatArray


class Index(Protocol):
    """Stores vectors under whole-number ids and finds the most similar ones.

    Dense similarity is the dot product of the vectors as given (normalise first for cosine); sparse similarity is the
    dot product over shared terms, and a document that shares no term with the query is never found.
    """

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of vectors that it stores."""
        ...

    def __len__(self) -> int:
        """How many ids are stored."""
        ...

    def add(self, ids: IntArray, embeddings: Embeddings, fields: Sequence[Mapping[str, Value]]) -> None:
        """Stores row i under ids[i] with fields[i], replacing what stood there.

        Raises ShapeMismatch for a wrong dimension, BadInput for vectors that are not finite numbers or ids repeated.
        """
        ...

    def delete(self, ids: IntArray) -> None:
        """Forgets the ids; unknown ones are passed over."""
        ...

    def search(self, queries: Embeddings, kind: Kind, k: int, where: Filter | None = None) -> list[Ranking]:
        """The k best documents for each query by one kind of vector, among those whose fields pass the filter."""
        ...

    def close(self) -> None:
        """Gives back files and memory; closing twice is fine."""
        ...
