"""item2vec: items that people take together lie close together, learnt from sessions as words are from sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qianru.errors import BadInput
from qianru.index.writer import unit
from qianru.models.pooling import Pooling
from qianru.models.word2vec import Word2Vec
from qianru.text.analyze import Analyzer
from qianru.types import FloatArray, IntArray, Progress


@dataclass(frozen=True, slots=True)
class Item2Vec:
    """How items are learnt from sessions: skip-gram with negative sampling.

    dim: of the vectors;  window: how many items to each side belong to an item; sessions are short, so it is wide
    min_count: items seen more rarely get no vector;  epochs: passes over the sessions
    seed, workers: as for Word2Vec; one worker gives the same vectors again
    Source: Barkan and Koenigstein 2016, item2vec.
    """

    dim: int = 64
    window: int = 10
    min_count: int = 1
    negative: int = 5
    epochs: int = 20
    seed: int = 1
    workers: int = 1


def item_vectors(
    sessions: Sequence[Sequence[str]], rows: Mapping[str, int], how: Item2Vec = Item2Vec(), *,
    progress: Progress | None = None,
) -> FloatArray:
    """(n, dim) float32 vectors of length 1, of the items in `rows` (name -> row); zeros where an item has none.

    Needs gensim. Raises BadInput where no session has two items.
    """
    if not any(len(session) > 1 for session in sessions):
        raise BadInput("No session has two items, so none tells what goes together. Give longer sessions.")
    texts = [" ".join(f"i{rows[item]}" for item in session if item in rows) for session in sessions]
    analyzer = Analyzer(pattern=r"\S+")        # an item is one word, whatever its name
    model = Word2Vec(how.dim, analyzer, Pooling(), window=how.window, min_count=how.min_count, negative=how.negative,
                     epochs=how.epochs, seed=how.seed, workers=how.workers).fit(texts, progress=progress)
    made = np.zeros((len(rows), how.dim), np.float32)
    made[[int(word[1:]) for word in model.vectors.words]] = model.vectors.matrix
    vectors = unit(made)
    assert vectors is not None
    return vectors


def sightings(sessions: Sequence[Sequence[str]], rows: Mapping[str, int]) -> IntArray:
    """(n,) in how many sessions each item is."""
    found = [rows[item] for session in sessions for item in set(session) if item in rows]
    return np.bincount(np.array(found, np.int64), minlength=len(rows)).astype(np.int64)
