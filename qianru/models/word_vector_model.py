"""Texts as the mean of their words' vectors, plain or weighted by how rare each word is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from qianru.errors import NotFitted
from qianru.models.base import ModelSpec, as_texts
from qianru.models.counting import Tally, checked, stored_analyzer, tally
from qianru.models.files import Stored, fingerprint, read_folder, write_folder
from qianru.models.pooling import Pooling, common_direction, means, sif_weights, without
from qianru.models.vectors import WordVectors
from qianru.text.analyze import Analyzer
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, Role, SparseRows

AT_ONCE = 1024   # texts that go through the axis of the common direction together
_CHINESE = re.compile("[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")   # Han and kana; letters alone mean nothing


class WordVectorModel:
    """Word vectors as a model of texts: dense, one vector a text, not normalised.

    vectors: of any origin, e.g. read_vectors(path)
    pooling: how the words' vectors become the text's
    A text without a known word is the zero vector. Words are counted by n_tokens whether known or not.
    """

    family: ClassVar[str] = "word2vec"

    def __init__(self, vectors: WordVectors, analyzer: Analyzer = Analyzer(), pooling: Pooling = Pooling()) -> None:
        self._begin(vectors, analyzer, pooling)

    def _begin(self, vectors: WordVectors | None, analyzer: Analyzer, pooling: Pooling) -> None:
        self.analyzer, self.pooling = analyzer, pooling
        self._vectors = vectors
        self._occurrences = None if vectors is None else vectors.counts
        self._common: FloatArray | None = None
        self._spec: ModelSpec | None = None

    @property
    def vectors(self) -> WordVectors:
        """The words and their vectors; NotFitted if there are none yet."""
        if self._vectors is None:
            raise NotFitted(f"{self.family} has seen no corpus. Call fit(texts) first, or load a fitted model.")
        return self._vectors

    @property
    def spec(self) -> ModelSpec:
        """Family "word2vec", kind dense."""
        if self._spec is None:
            self._spec = ModelSpec(self.family, self.family, ("dense",), fingerprint(self._identity()), self._dim())
        return self._spec

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Learns how frequent the words are and what the texts have in common; the vectors stay as they are.

        Only pooling with "sif" or remove_common makes use of it.
        """
        self._learn(tally(self.analyzer, as_texts(texts), progress))
        return self

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """(n, dim) float32; queries and documents alike.

        Raises NotFitted if the pooling needs a corpus (fit) and has seen none.
        """
        vectors = self.vectors
        listed = checked(self.spec, texts, role, kinds, instruction)
        if self.pooling.remove_common and self._common is None:
            raise NotFitted("remove_common is learnt from a corpus. Call fit(texts) first, or load a fitted model.")
        tokens = tally(self.analyzer, listed, progress)
        dense = means(self._counts(tokens), vectors.matrix, self._weights())
        if self._common is not None:
            dense = without(self._common, dense)
        return Embeddings(self.spec.name, tokens.lengths, dense=dense)

    def save(self, folder: Path) -> None:
        """Writes the model to a folder."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        if self._vectors is None:
            return Stored(self.family, self._settings())
        arrays: dict[str, Any] = {"vectors": self._vectors.matrix}
        if self._occurrences is not None:
            arrays["occurrences"] = self._occurrences
        if self._common is not None:
            arrays["common"] = self._common
        return Stored(self.family, self._settings(), arrays, {"vocabulary": self._vectors.words})

    @classmethod
    def from_stored(cls, stored: Stored) -> WordVectorModel:
        """The model that a folder holds."""
        words = stored.word_list("vocabulary")
        occurrences = stored.array("occurrences", (len(words),), "i") if "occurrences" in stored.arrays else None
        vectors = WordVectors(words, stored.array("vectors", (len(words), None)), occurrences)
        model = cls(vectors, stored_analyzer(stored),
                    Pooling.from_json(stored.setting("pooling", dict)))
        if "common" in stored.arrays:
            model._common = stored.array("common", (vectors.dim,))
        return model

    @classmethod
    def load(cls, folder: Path) -> WordVectorModel:
        """The model saved to the folder."""
        return cls.from_stored(read_folder(folder, cls.family))

    def _settings(self) -> dict[str, Any]:
        return {"analyzer": self.analyzer.to_json(), "pooling": self.pooling.to_json()}

    def _identity(self) -> Stored:
        """What the vectors of texts depend on, and nothing else."""
        stored = self.stored()
        arrays = dict(stored.arrays)
        if self.pooling.weighting != "sif":
            arrays.pop("occurrences", None)
        return Stored(stored.family, WordVectorModel._settings(self), arrays, stored.words)

    def _dim(self) -> int:
        return self.vectors.dim

    def _weights(self) -> FloatArray | None:
        if self.pooling.weighting == "mean":
            return None
        if self._occurrences is None:
            raise NotFitted("SIF weighs words by how frequent they are. Call fit(texts) first, or load a fitted model.")
        return sif_weights(self._occurrences, self.pooling.a)

    def _learn(self, tokens: Tally) -> None:
        """Frequencies and common direction of a corpus."""
        counts = self._counts(tokens)
        self._occurrences = np.bincount(counts.terms, counts.weights, len(self.vectors)).astype(np.int64)
        self._common = self._spec = None
        if self.pooling.remove_common:
            table, weights = self.vectors.matrix, self._weights()
            parts = (counts.take(range(i, min(i + AT_ONCE, len(counts)))) for i in range(0, len(counts), AT_ONCE))
            found = common_direction(means(part, table, weights) for part in parts)
            self._common = found if len(found) else np.zeros(self.vectors.dim, np.float32)

    def _counts(self, tokens: Tally) -> SparseRows:
        """How often each text has each row of the table."""
        per_name = [self._rows_of(name) for name in tokens.names]
        first = np.concatenate([[0], np.cumsum([len(rows) for rows in per_name])]).astype(np.int64)
        rows: IntArray = np.fromiter((row for some in per_name for row in some), np.int64, int(first[-1]))
        n = np.diff(first)[tokens.flat]                                              # rows that each token has
        before = np.concatenate([[0], np.cumsum(n)])
        flat = rows[np.repeat(first[:-1][tokens.flat] - before[:-1], n) + np.arange(before[-1])]
        lengths = np.diff(before[np.concatenate([[0], np.cumsum(tokens.lengths)])])
        return Tally([], flat, lengths).rows(np.arange(len(self.vectors)), len(self.vectors))

    def _rows_of(self, word: str) -> list[int]:
        """The word's row of the table, or those of its Chinese characters, or none."""
        vectors = self.vectors
        row = vectors.find(word)
        if row is not None:
            return [row]
        if not self.pooling.characters:
            return []
        found = (vectors.find(character) for character in _CHINESE.findall(word))
        return [row for row in found if row is not None]
