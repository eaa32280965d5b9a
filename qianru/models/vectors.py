"""A table of words and their vectors, and what can be asked of it: similarities, neighbours, analogies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import numpy as np

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.types import FloatArray, IntArray


class WordVectors:
    """v words with a vector each.

    words: unique and not empty, row i of the matrix is words[i]
    matrix: (v, d), kept as float32
    counts: (v,) how often each word stood in the training texts, None if unknown
    Raises ShapeMismatch for sizes that disagree, BadInput for an empty or repeated word or a number that is not finite.
    """

    def __init__(self, words: Sequence[str], matrix: FloatArray, counts: IntArray | None = None) -> None:
        if matrix.ndim != 2 or len(matrix) != len(words):
            raise ShapeMismatch(f"{len(words)} words need a matrix of as many rows, not one of shape {matrix.shape}.")
        if counts is not None and counts.shape != (len(words),):
            raise ShapeMismatch(f"{len(words)} words need as many counts, not an array of shape {counts.shape}.")
        self.words = list(words)
        self.matrix = np.ascontiguousarray(matrix, np.float32)
        self.counts = counts
        self._rows = {word: row for row, word in enumerate(self.words)}
        if len(self._rows) < len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self._rows[word] != row)
            raise BadInput(f"The word '{twice}' is there twice. Keep one of its vectors.")
        if "" in self._rows:
            raise BadInput(f"Word {self._rows['']} is empty. Leave it out.")
        if not np.isfinite(self.matrix).all():
            row = int(np.flatnonzero(~np.isfinite(self.matrix).all(1))[0])
            raise BadInput(f"The vector of '{self.words[row]}' holds a number that is not finite. Leave it out.")
        lengths = np.sqrt(np.einsum("vd,vd->v", self.matrix, self.matrix))
        self._lengths = np.where(lengths > 0, lengths, 1)   # a word without direction is like no other

    @property
    def dim(self) -> int:
        """The length of each vector."""
        return int(self.matrix.shape[1])

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._rows

    def __getitem__(self, word: str) -> FloatArray:
        """(d,) vector of the word; UnknownName if it has none."""
        vector: FloatArray = self.matrix[self.row(word)]
        return vector

    def find(self, word: str) -> int | None:
        """The row of the word, None if it has none."""
        return self._rows.get(word)

    def row(self, word: str) -> int:
        """The row of the word; UnknownName, with the words closest in spelling, if it has none."""
        row = self._rows.get(word)
        if row is None:
            # only words that share a letter can be close; 20,000 of them are looked through in about a second
            near = [known for known in self.words if not set(known).isdisjoint(word)][:20000]
            raise UnknownName("word with a vector", word, get_close_matches(word, near, n=5, cutoff=0.3))
        return row

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words' vectors."""
        i, j = self.row(a), self.row(b)
        return float(self.matrix[i] @ self.matrix[j] / self._lengths[i] / self._lengths[j])

    def most_similar(
        self, positive: Sequence[str] | str, negative: Sequence[str] | str = (), k: int = 10
    ) -> list[tuple[str, float]]:
        """The k words nearest to the sum of the positive less the negative ones, with their cosines, best first.

        The vectors are brought to length 1 before they are added. The words asked with are left out of the answer.
        Source: Mikolov et al. 2013, the offset method (3CosAdd).

        >>> table = WordVectors(["国王", "男", "女", "王后"], np.array([[1.0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1]]))
        >>> table.most_similar(positive=["国王", "女"], negative=["男"], k=1)[0][0]
        '王后'
        """
        add = [self.row(word) for word in _several(positive)]
        less = [self.row(word) for word in _several(negative)]
        asked = add + less
        if not asked:
            raise BadInput("most_similar needs at least one word.")
        signs = np.array([1.0] * len(add) + [-1.0] * len(less), np.float32)
        target = (signs / self._lengths[asked]) @ self.matrix[asked]
        length = np.linalg.norm(target)
        scores = self.matrix @ (target / length if length else target) / self._lengths
        order = np.lexsort((np.arange(len(self)), -scores))
        best = order[~np.isin(order, asked)][: max(k, 0)]
        return [(self.words[row], float(scores[row])) for row in best]

    def doesnt_match(self, words: Sequence[str]) -> str:
        """The word that is farthest from the mean direction of them all.

        Raises UnknownName for a word without a vector (gensim passes over it in silence).
        """
        rows = [self.row(word) for word in words]
        if not rows:
            raise BadInput("doesnt_match needs at least one word.")
        unit = self.matrix[rows] / self._lengths[rows, None]
        # of words equally far gensim names the one that sorts first
        return min(zip((unit @ unit.mean(0)).tolist(), words, strict=True))[1]


def _several(words: Sequence[str] | str) -> Sequence[str]:
    return [words] if isinstance(words, str) else words
