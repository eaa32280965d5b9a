"""Search by signs: candidates are those that differ in the fewest bits, their scores exact, as a slow loop says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qianru.errors import BadInput, ShapeMismatch
from qianru.scores import Signs, dense_top_k
from qianru.scores.exact import signs
from qianru.types import FloatArray


@pytest.fixture(params=[True, False], ids=["numba", "numpy"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "has_numba", lambda: request.param)


def unit(n: int, dim: int, seed: int) -> FloatArray:
    """Rows of length 1, in 50 heaps; the ten nearest of a heap's member are not too plain."""
    chance = np.random.default_rng(seed)
    heaps = np.random.default_rng(0).standard_normal((50, dim))
    rows = heaps[chance.integers(50, size=n)] + 0.7 * chance.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 3, 64, 100])
@pytest.mark.parametrize("n", [1, 255, 256, 700])
def test_with_all_documents_as_candidates_the_answer_is_exact(n: int, dim: int) -> None:
    documents, queries = unit(n, dim, 1), unit(5, dim, 2)
    documents[n // 2 :] = documents[: n - n // 2]       # many are equal, and go by the lower id
    ids = np.arange(n)[::-1] * 3
    found = Signs(ids, documents).top_k(queries, 7, factor=100)
    for (mine, scores), (right, expected) in zip(found, dense_top_k(queries, [(ids, documents)], 7), strict=True):
        assert_array_equal(mine, right)
        assert_array_equal(scores, expected)


@pytest.mark.parametrize(("k", "factor"), [(1, 1), (3, 5), (10, 40)])
def test_candidates_are_those_that_differ_in_the_fewest_signs(k: int, factor: int) -> None:
    documents, queries = unit(3000, 70, 1), unit(4, 70, 2)
    built = Signs(np.arange(3000), documents)
    turned = [vectors @ signs.rotation(70) > 0 for vectors in (documents, queries)]
    for (found, _), bits, query in zip(built.top_k(queries, k, factor=factor), turned[1], queries, strict=True):
        differ = (turned[0] != bits).sum(axis=1)
        near = np.sort(np.argsort(differ, kind="stable")[: k * factor])     # equally near ones: the first
        assert_array_equal(found, dense_top_k(query[None], [(near, documents[near])], k)[0][0])


def test_nearly_all_of_the_ten_best_are_found() -> None:
    documents, queries = unit(5000, 256, 1), unit(50, 256, 2)
    ids = np.arange(5000)
    right = dense_top_k(queries, [(ids, documents)], 10)
    found = Signs(ids, documents).top_k(queries, 10, factor=64)
    assert np.mean([len(np.intersect1d(a, b)) / 10 for (a, _), (b, _) in zip(found, right, strict=True)]) >= 0.99


def test_any_number_of_threads_finds_the_same() -> None:
    documents, queries = unit(1000, 64, 1), unit(600, 64, 2)
    built = Signs(np.arange(1000), documents)
    one, three = (built.top_k(queries, 3, factor=4, n_threads=n) for n in (1, 3))
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(one, three, strict=True))


def test_vectors_may_stay_on_the_disk(tmp_path: Path) -> None:
    documents = unit(2000, 256, 1)
    np.save(tmp_path / "v.npy", documents)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    built = Signs(np.arange(2000), mapped)
    assert_array_equal(built.top_k(documents[:9], 1)[8][0], [8])
    assert built.size_bytes < documents.nbytes / 32 + 2000 * 8 + 256 * 256 * 4 + 256 * 32       # codes, ids, rotation
    assert len(built) == 2000


def test_nothing_asked_or_nothing_there_finds_nothing() -> None:
    documents = unit(10, 8, 1)
    assert Signs(np.arange(10), documents).top_k(documents[:0], 3) == []
    for built, k in ((Signs(np.arange(10), documents), 0), (Signs(np.arange(0), documents[:0]), 3)):
        assert [len(ids) for ids, _ in built.top_k(documents[:2], k)] == [0, 0]


def test_what_cannot_be_searched_is_refused() -> None:
    documents = unit(10, 8, 1)
    built = Signs(np.arange(10), documents)
    with pytest.raises(ShapeMismatch, match="8 numbers"):
        built.top_k(documents[:, :5], 1)
    with pytest.raises(ShapeMismatch, match="one id for each"):
        Signs(np.arange(9), documents)
    with pytest.raises(BadInput, match="factor"):
        built.top_k(documents, 1, factor=0)
    documents[3, 2] = np.nan
    with pytest.raises(BadInput, match="document 3"):
        Signs(np.arange(10), documents)
    with pytest.raises(BadInput, match="query 3"):
        built.top_k(documents, 1)


def test_set_bits_are_counted() -> None:
    assert signs.set_bits(np.array([0, 1, 2**63 + 6, 2**64 - 1], np.uint64)).tolist() == [0, 1, 3, 64]
