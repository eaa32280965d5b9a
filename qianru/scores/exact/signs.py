"""The k best documents by dot product of dense vectors, looked for among those whose signs are most alike."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput
from qianru.scores.best import best_of, checked_k
from qianru.scores.exact.blocks import (
    check_finite,
    check_products,
    checked_blocks,
    checked_matrix,
    lengths_of,
    narrowed,
)
from qianru.scores.exact.compiled import has_numba, spread
from qianru.scores.ranking import Ranked
from qianru.types import FloatArray, IntArray

FACTOR = 64         # candidates for each answer
LANES = 256         # documents whose codes stand word by word, so that they are compared side by side; as compiled
ROWS_AT_ONCE = 4096
QUERIES_AT_ONCE = 256
SEED = 20261122


class Signs:
    """Dense vectors as one bit a number: built once, searched many times, one query at a time as fast as many.

    ids: (n,) of the documents;  vectors: (n, d) of about equal lengths, also memory-mapped; not copied if they are
    float32, row after row
    The vectors are turned by a random rotation, so that no axis counts more than others, and of each number its sign
    is kept. Documents whose signs differ from the query's in the fewest places are candidates; these are scored from
    their vectors, in float64 rounded to float32. Scores are exact, which documents are found is not: with 64 candidates
    an answer .9995 and more of the ten best for vectors of 768 numbers, .98 for an LSA of 256 whose axes differ much.
    Memory: an eighth of a byte for each number (a thirty-second of float32), d x d numbers for the rotation, and while
    searching 12 bytes for each of 256 queries x k x factor.
    Raises ShapeMismatch where ids and vectors are not as many, BadInput for numbers that are not finite in float32.
    """

    def __init__(self, ids: IntArray, vectors: FloatArray) -> None:
        ((self.ids, vectors),) = checked_blocks([(ids, vectors)], None)
        checked_matrix(vectors, None, "Documents")
        n, self.dim = vectors.shape
        self._vectors = narrowed(vectors)
        self._rotation = rotation(self.dim)
        self._longest = 0.0
        self._codes = np.zeros((-(-n // LANES), -(-self.dim // 64), LANES), np.uint64)
        for start in range(0, n, ROWS_AT_ONCE):
            part = self._vectors[start : start + ROWS_AT_ONCE]
            lengths = lengths_of(part)
            check_finite(lengths, "The vector of document", start)
            self._longest = max(self._longest, float(lengths.max()))
            words = np.zeros((-(-len(part) // LANES) * LANES, self._codes.shape[1]), np.uint64)
            words[: len(part)] = self._signs(part)
            blocks = words.reshape(-1, LANES, words.shape[1]).transpose(0, 2, 1)
            self._codes[start // LANES : start // LANES + len(blocks)] = blocks

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self.ids)

    @property
    def size_bytes(self) -> int:
        """What the codes, the ids and the rotation take, without the vectors."""
        return self._codes.nbytes + self.ids.nbytes + self._rotation.nbytes

    def top_k(
        self, queries: FloatArray, k: int, *, factor: int = FACTOR, n_threads: int | None = None
    ) -> list[Ranked]:
        """For each query ids and scores of its k best documents, best first, equal scores by the lower id.

        queries: (q, d);  factor: candidates for each of the k answers; where that is all documents the answer is exact
        n_threads: None for one a core
        """
        if factor < 1:
            raise BadInput(f"factor is how many candidates are scored for an answer, 1 or more, not {factor}.")
        checked_matrix(queries, self.dim, "Queries")
        asked = narrowed(queries)
        lengths = lengths_of(asked)
        check_finite(lengths, "The vector of query")
        check_products(self._longest, float(lengths.max(initial=0)))
        k = min(checked_k(k), len(self))
        found: list[Ranked] = []
        for start in range(0, len(asked), QUERIES_AT_ONCE):
            some = asked[start : start + QUERIES_AT_ONCE]
            places, scores = self._scored(some, min(k * factor, len(self)), n_threads)
            found += [best_of(self.ids[row], of_row, k) for row, of_row in zip(places, scores, strict=True)]
        return found

    def _scored(
        self, asked: NDArray[np.float32], m: int, n_threads: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(q, m) places of the candidates and their scores."""
        signs = self._signs(asked)
        places, scores = np.empty((len(asked), m), np.int64), np.empty((len(asked), m), np.float32)
        if has_numba() and m:
            from qianru.scores.exact.signs_numba import nearest, score

            spread(partial(nearest, self._codes, len(self), signs, places), len(asked), n_threads)
            spread(partial(score, self._vectors, asked, places, scores), len(asked), n_threads)
            return places, scores
        for i, query in enumerate(asked):
            differ = set_bits(self._codes ^ signs[i][:, None]).sum(axis=1, dtype=np.uint32).ravel()[: len(self)]
            places[i] = np.sort(np.argsort(differ, kind="stable")[:m])
            scores[i] = (self._vectors[places[i]] * query.astype(np.float64)).sum(axis=1)
        return places, scores

    def _signs(self, vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
        """(n, words) the signs of the vectors as bits, 0 where there is no number any more."""
        bits = np.zeros((len(vectors), 64 * self._codes.shape[1]), bool)
        bits[:, : self.dim] = vectors @ self._rotation > 0
        return np.packbits(bits, axis=1).view(np.uint64)


def rotation(dim: int) -> NDArray[np.float32]:
    """(d, d) a rotation by lot, always the same."""
    turned: NDArray[np.float64] = np.linalg.qr(np.random.default_rng(SEED).standard_normal((dim, dim)))[0]
    return turned.astype(np.float32)


def set_bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits of each word are set."""
    if hasattr(np, "bitwise_count"):            # NumPy 2
        counted: NDArray[np.uint8] = np.bitwise_count(words)
    else:
        counted = np.unpackbits(words[..., None].view(np.uint8), axis=-1).sum(axis=-1, dtype=np.uint8)
    return counted
