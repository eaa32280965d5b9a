"""Searching a corpus that streams by gives what comparing everything with everything gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qianru.errors import BadFile, BadInput
from qianru.evaluate.encode import Encoder
from qianru.evaluate.search import Ids, SearchPlan, n_passes, search, unit, weights_for
from qianru.models.base import ModelSpec
from qianru.scores import cosine, dot, maxsim
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, Ragged, Role, SparseRows

N, QUERIES = 700, 9
DOCUMENTS = {f"文{i}": f"第{i}篇" for i in range(N)}


class Everything:
    """A model of all three kinds whose vectors follow from the text alone; many of them are equal."""

    spec = ModelSpec("everything", "test", ("dense", "sparse", "multi"), "1" * 64, 8)

    def encode(self, texts: Iterable[str], *, role: Role = "document", kinds: Sequence[Kind] | None = None,
               instruction: str | None = None, progress: Progress | None = None) -> Embeddings:
        """The vectors."""
        seeds = [sum(text.encode()) % 97 for text in texts]
        drawn = [np.random.default_rng(seed) for seed in seeds]
        dense = np.array([rng.integers(-3, 4, 8) for rng in drawn], np.float32).reshape(-1, 8)
        sparse = SparseRows.from_rows([{int(t): float(rng.integers(1, 5)) for t in rng.choice(40, 4, replace=False)}
                                       for rng in drawn], 40)
        lengths = [1 + seed % 3 for seed in seeds]
        tokens = [unit(rng.normal(size=(n, 4))) for rng, n in zip(drawn, lengths, strict=True)]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        multi = Ragged(np.concatenate([*tokens, np.empty((0, 4), np.float32)]), offsets)
        wanted = kinds or self.spec.kinds
        return Embeddings("everything", np.array(lengths, np.int64), 0, dense if "dense" in wanted else None,
                          sparse if "sparse" in wanted else None, multi if "multi" in wanted else None)


def corpus() -> Iterator[tuple[str, str]]:
    return iter(DOCUMENTS.items())


def slow(kinds: tuple[Kind, ...], k: int) -> tuple[list[IntArray], list[FloatArray]]:
    """Every score of every pair, sorted by score and then by the higher id."""
    model = Everything()
    queries = model.encode([f"问{i}" for i in range(QUERIES)], role="query")
    documents = model.encode(DOCUMENTS.values())
    scores: FloatArray = np.zeros((QUERIES, N))
    share = weights_for(kinds, None) if len(kinds) > 1 else dict.fromkeys(kinds, 1.0)
    for kind in kinds:
        if kind == "dense":
            assert queries.dense is not None
            assert documents.dense is not None
            part = cosine(queries.dense, documents.dense)
        elif kind == "sparse":
            assert queries.sparse is not None
            assert documents.sparse is not None
            part = dot(queries.sparse, documents.sparse)
        else:
            assert queries.multi is not None
            assert documents.multi is not None
            part = maxsim(queries.multi, documents.multi)
        scores = scores + share[kind] * part / sum(share.values())
    ids = Ids.of(corpus)
    numbers = ids.numbers(list(DOCUMENTS))
    order = [np.lexsort((numbers, -row.round(5)))[:k] for row in scores]
    return [numbers[at] for at in order], [row[at] for row, at in zip(scores, order, strict=True)]


@pytest.mark.parametrize("kinds", [("dense",), ("sparse",), ("multi",), ("dense", "sparse", "multi")],
                         ids=lambda kinds: "+".join(kinds))
@pytest.mark.parametrize("memory", [2 << 30, 1 << 14], ids=["in one pass", "in several passes"])
def test_the_best_are_those_of_comparing_everything(kinds: tuple[Kind, ...], memory: int) -> None:
    encoder = Encoder(Everything(), kinds)
    queries = encoder.encode([f"问{i}" for i in range(QUERIES)], "query")
    found = list(search(encoder, queries, corpus, Ids.of(corpus), SearchPlan(50, None, memory)))
    ids, scores = slow(kinds, 50)
    for (numbers, values), wanted, exact in zip(found, ids, scores, strict=True):
        assert_allclose(values, exact[: len(values)], atol=1e-5)
        if kinds == ("sparse",):      # what shares no term is not found at all
            wanted = wanted[exact > 0]
        assert set(numbers.tolist()) >= set(wanted[exact[: len(wanted)] > exact[len(values) - 1] + 1e-5].tolist())
        ties = np.abs(np.diff(values)) == 0
        assert (np.diff(numbers)[ties] > 0).all(), "equal scores stand in descending order of the ids"


def test_little_memory_means_more_passes() -> None:
    assert n_passes(1000, 2 << 30) == 1
    assert n_passes(100_000, 1 << 30) > 10


def test_two_documents_of_one_id_are_an_error() -> None:
    with pytest.raises(BadFile, match="two documents called 甲"):
        Ids.of(lambda: iter([("甲", "一"), ("乙", "二"), ("甲", "三")]))


def test_a_corpus_without_documents_is_an_error() -> None:
    with pytest.raises(BadFile, match="no documents"):
        Ids.of(lambda: iter([]))


def test_a_weight_of_a_kind_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BadInput, match="multi"):
        weights_for(("dense", "sparse"), {"multi": 1.0})
