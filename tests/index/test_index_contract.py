"""What every index does, whatever it is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import random_filters
from by_hand import vectors
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.testing import assert_allclose

from qianru.errors import BadInput, CollectionError, ShapeMismatch, UnknownName
from qianru.index.base import Index, Ranking
from qianru.index.filter import Filter, field
from qianru.types import Embeddings, Kind, SparseRows

DENSE: Kind = "dense"
SPARSE: Kind = "sparse"
MOON, RIVER, FLOWER = 3, 5, 2**31 + 7       # terms


def put(index: Index, ids: list[int], embeddings: Embeddings, fields: list[dict[str, Any]] | None = None) -> None:
    index.add(np.array(ids, np.int64), embeddings, fields or [{}] * len(ids))


def drop(index: Index, *ids: int) -> None:
    index.delete(np.array(ids, np.int64))


def ask(index: Index, kind: Kind, query: Any, k: int = 10, where: Filter | None = None) -> list[tuple[int, float]]:
    queries = vectors(sparse=[query], width=2**32) if kind == SPARSE else vectors(dense=[query])
    (ranking,) = index.search(queries, kind, k, where)
    return list(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True))


def ids(index: Index, kind: Kind, query: Any, k: int = 10, where: Filter | None = None) -> list[int]:
    return [id for id, _ in ask(index, kind, query, k, where)]


@pytest.fixture
def poems(index: Index) -> Index:
    """7: 静夜思, 8: 登鹳雀楼, 9: 春江花月夜"""
    put(
        index,
        [7, 8, 9],
        vectors([[1, 0], [0, 1], [0.5, 0.5]], [{MOON: 2.0}, {RIVER: 1.0}, {MOON: 1.0, RIVER: 3.0, FLOWER: 1.0}], 2**32),
        [{"诗人": "李白", "lines": 4}, {"诗人": "王之涣", "lines": 4},
         {"诗人": "张若虚", "lines": 36, "tags": ["花", "月"]}],
    )
    return index


# what is found

def test_a_dense_score_is_the_dot_product(poems: Index) -> None:
    assert ask(poems, DENSE, [2.0, 1.0]) == [(7, 2.0), (9, 1.5), (8, 1.0)]


def test_a_sparse_score_is_the_dot_product_over_shared_terms(poems: Index) -> None:
    assert ask(poems, SPARSE, {MOON: 1.0, RIVER: 2.0}) == [(9, 7.0), (7, 2.0), (8, 2.0)]


def test_a_document_without_a_shared_term_is_never_found(poems: Index) -> None:
    assert ids(poems, SPARSE, {FLOWER: 1.0}) == [9]
    assert ids(poems, SPARSE, {FLOWER + 1: 1.0}) == []


def test_a_dense_search_finds_every_document_also_below_zero(poems: Index) -> None:
    assert ask(poems, DENSE, [-1.0, 0.0]) == [(8, 0.0), (9, -0.5), (7, -1.0)]


def test_terms_that_cancel_out_count_as_none(poems: Index) -> None:
    assert ask(poems, SPARSE, {MOON: 3.0, RIVER: -1.0}) == [(7, 6.0), (8, -1.0)]      # 9: 3 - 3


def test_k_cuts_and_may_be_larger_than_the_index_or_zero(poems: Index) -> None:
    assert ids(poems, DENSE, [2.0, 1.0], k=2) == [7, 9]
    assert ids(poems, DENSE, [2.0, 1.0], k=10**9) == [7, 9, 8]
    assert ids(poems, SPARSE, {MOON: 1.0}, k=10**9) == [7, 9]
    assert ids(poems, DENSE, [2.0, 1.0], k=0) == []


def test_an_empty_index_finds_nothing(index: Index) -> None:
    assert len(index) == 0
    assert ask(index, DENSE, [1.0, 0.0]) == []
    assert ask(index, SPARSE, {MOON: 1.0}) == []


def test_an_empty_query_finds_nothing_and_keeps_its_place(poems: Index) -> None:
    queries = vectors(sparse=[{MOON: 1.0}, {}, {RIVER: 1.0}, {RIVER: 0.0}])
    assert [ranking.ids.tolist() for ranking in poems.search(queries, SPARSE, 10)] == [[7, 9], [], [9, 8], []]


def test_no_queries_no_rankings(poems: Index) -> None:
    assert poems.search(vectors(sparse=[]), SPARSE, 10) == []
    assert poems.search(vectors(dense=[]), DENSE, 10) == []


def test_many_queries_are_answered_in_order(poems: Index) -> None:
    queries = vectors(dense=[[i % 7 - 3.0, i % 5 - 2.0] for i in range(150)])
    together = poems.search(queries, DENSE, 3)
    for i, ranking in enumerate(together):
        assert ask(poems, DENSE, queries.dense[i]) == list(zip(*(part.tolist() for part in ranking), strict=True))


def test_a_zero_vector_is_as_good_as_any(index: Index) -> None:
    put(index, [1, 2], vectors(dense=[[0, 0], [1, 0]]))
    assert ask(index, DENSE, [0.0, 0.0]) == [(1, 0.0), (2, 0.0)]


def test_a_document_without_terms_is_stored_but_not_found_by_terms(index: Index) -> None:
    put(index, [1], vectors([[1, 0]], [{}]))
    assert len(index) == 1
    assert ids(index, SPARSE, {MOON: 1.0}) == []
    assert ids(index, DENSE, [1.0, 0.0]) == [1]


def test_equal_scores_stand_by_ascending_id_also_where_k_cuts(index: Index) -> None:
    order = np.random.default_rng(3).permutation(700).tolist()
    for start in range(0, 700, 70):
        some = order[start : start + 70]
        put(index, some, vectors([[0.1, 0.3]] * 70, [{MOON: 0.1, RIVER: 0.7}] * 70))
    put(index, [999], vectors([[0.1, 0.4]], [{MOON: 0.2, RIVER: 0.7}]))
    for k in (1, 2, 5, 300):
        assert ids(index, DENSE, [0.3, 0.7], k) == [999, *range(k - 1)]
        assert ids(index, SPARSE, {MOON: 0.3, RIVER: 0.9}, k) == [999, *range(k - 1)]


def test_the_largest_ids_and_terms_are_kept(index: Index) -> None:
    put(index, [2**63 - 1, 0], vectors(sparse=[{2**32 - 1: 1.0}, {0: 1.0}], width=2**32))
    assert ids(index, SPARSE, {2**32 - 1: 1.0}) == [2**63 - 1]
    assert ids(index, SPARSE, {0: 1.0}) == [0]


# change

def test_adding_an_id_again_replaces_vectors_and_fields(poems: Index) -> None:
    put(poems, [7], vectors([[0, -1]], [{RIVER: 9.0}]), [{"诗人": "杜甫"}])
    assert len(poems) == 3
    assert ids(poems, SPARSE, {MOON: 1.0}) == [9]
    assert ask(poems, SPARSE, {RIVER: 1.0}, 1) == [(7, 9.0)]
    assert ask(poems, DENSE, [0.0, 1.0])[-1] == (7, -1.0)
    assert ids(poems, DENSE, [1.0, 1.0], where=field("诗人") == "李白") == []
    assert ids(poems, DENSE, [1.0, 1.0], where=field("诗人") == "杜甫") == [7]


def test_an_empty_vector_replaces_a_full_one(poems: Index) -> None:
    put(poems, [9], vectors([[0, 0]], [{}]))
    assert ids(poems, SPARSE, {MOON: 1.0, RIVER: 1.0, FLOWER: 1.0}) == [7, 8]


def test_the_deleted_is_never_found_again(poems: Index) -> None:
    drop(poems, 9, 12345)
    assert len(poems) == 2
    assert ids(poems, SPARSE, {MOON: 1.0, FLOWER: 1.0}) == [7]
    assert ids(poems, DENSE, [1.0, 1.0]) == [7, 8]
    drop(poems, 9)
    put(poems, [9], vectors([[9, 9]], [{FLOWER: 1.0}]))
    assert ids(poems, SPARSE, {MOON: 1.0, FLOWER: 1.0}) == [7, 9]


def test_deleting_and_adding_nothing_is_fine(poems: Index) -> None:
    drop(poems)
    poems.delete(np.array([]))
    put(poems, [], vectors(dense=[]))
    assert len(poems) == 3


def test_what_the_caller_does_to_its_arrays_later_changes_nothing(index: Index) -> None:
    embeddings, fields = vectors([[1, 0]], [{MOON: 1.0}]), [{"x": 1}]
    put(index, [1], embeddings, fields)
    embeddings.dense[:] = 5
    embeddings.sparse.weights[:] = 5
    fields[0]["x"] = 2
    assert ask(index, DENSE, [1.0, 0.0], where=field("x") == 1) == [(1, 1.0)]
    assert ask(index, SPARSE, {MOON: 1.0}) == [(1, 1.0)]


def test_many_documents_come_and_go(index: Index) -> None:
    for start in range(0, 3000, 1500):
        span = range(start, start + 1500)
        put(index, list(span), vectors([[i, 1] for i in span], [{i % 10: 1.0 + i} for i in span]))
        assert ids(index, SPARSE, {3: 1.0}, 2) == [start + 1493, start + 1483]
    drop(index, *range(100, 3000))
    assert len(index) == 100
    assert ids(index, SPARSE, {3: 1.0}, 2) == [93, 83]
    assert ids(index, DENSE, [1.0, 0.0], 2) == [99, 98]


# filters

def test_a_filter_keeps_out_before_the_best_are_taken(poems: Index) -> None:
    assert ids(poems, DENSE, [2.0, 1.0], k=1, where=field("lines") > 4) == [9]
    assert ids(poems, SPARSE, {MOON: 1.0}, k=1, where=field("诗人").isin(["王之涣", "张若虚"])) == [9]
    assert ids(poems, DENSE, [2.0, 1.0], where=field("tags") == "月") == [9]
    assert ids(poems, DENSE, [2.0, 1.0], where=~(field("tags") == "月")) == [7, 8]
    assert ids(poems, DENSE, [2.0, 1.0], where=field("诗人").startswith("王")) == [8]
    assert ids(poems, DENSE, [2.0, 1.0], where=field("诗人") < "王") == [7, 9]       # 张 5F20, 李 674E, 王 738B
    assert ids(poems, DENSE, [2.0, 1.0], where=field("nothing") == 1) == []


def test_a_rare_match_is_found_behind_many_better_ones(index: Index) -> None:
    dates: list[dict[str, Any]] = [{"date": f"2024-{i:03}"} for i in range(500)]
    put(index, list(range(500)), vectors([[500.0 - i, 0] for i in range(500)]), dates)
    assert ids(index, DENSE, [1.0, 0.0], 3, field("date") > "2024-496") == [497, 498, 499]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(random_filters.fields, min_size=1, max_size=12), st.lists(random_filters.filters, min_size=1, max_size=6)
)
def test_every_filter_lets_through_what_it_says(make: Any, rows: list[dict[str, Any]], filters: list[Filter]) -> None:
    index = shared(make)
    drop(index, *range(12))
    put(index, list(range(len(rows))), vectors(dense=[[1, 1]] * len(rows)), rows)
    for where in filters:
        passing = [i for i, row in enumerate(rows) if where.matches(row)]
        assert ids(index, DENSE, [1.0, 1.0], 20, where) == passing, where


# refusals, before anything is stored

def bad_rows(**parts: Any) -> tuple[np.ndarray, Embeddings, list[dict[str, Any]]]:
    good = {"ids": [1, 2], "dense": [[1, 0], [0, 1]], "sparse": [{1: 1.0}, {2: 1.0}], "fields": [{}, {}]}
    ids, dense, sparse, fields = (good | parts).values()
    if not isinstance(sparse, SparseRows):
        sparse = SparseRows.from_rows(sparse, 9)
    dense = None if dense is None else np.array(dense, np.float64)
    return np.array(ids), Embeddings("m", np.zeros(2, np.int64), dense=dense, sparse=sparse), fields


def raw(terms: list[int], weights: list[float] | None = None) -> SparseRows:
    n = len(terms)
    return SparseRows(np.array([0, n, n]), np.array(terms), np.array(weights or [1.0] * n), 9)


@pytest.mark.parametrize(("rows", "error", "why"), [
    (bad_rows(ids=[1, 1]), BadInput, "twice"),
    (bad_rows(ids=[-1, 2]), BadInput, "from 0"),
    (bad_rows(ids=[0.5, 2]), BadInput, "whole numbers"),
    (bad_rows(ids=[1, 2, 3]), ShapeMismatch, "3 ids"),
    (bad_rows(fields=[{}]), ShapeMismatch, "1 fields"),
    (bad_rows(dense=[[1, 0, 0], [0, 1, 0]]), ShapeMismatch, "holds 2 dimensions"),
    (bad_rows(dense=[[1, 0], [0, np.nan]]), BadInput, "row 1"),
    (bad_rows(dense=[[1, 0], [np.inf, 0]]), BadInput, "row 1"),
    (bad_rows(dense=[[1, 0], [1e300, 0]]), BadInput, "row 1"),
    (bad_rows(dense=None), BadInput, "no dense"),
    (bad_rows(sparse=[{1: np.nan}, {}]), BadInput, "finite"),
    (bad_rows(sparse=[{-1: 1.0}, {}]), BadInput, "terms go from 0"),
    (bad_rows(sparse=[{2**32: 1.0}, {}]), BadInput, "terms go from 0"),
    (bad_rows(sparse=raw([3, 3])), BadInput, "each once"),
    (bad_rows(sparse=raw([3, 2])), BadInput, "ascending"),
    (bad_rows(fields=[{}, {"x": float("nan")}]), BadInput, "row 1"),
    (bad_rows(fields=[{}, {"x": [1, None]}]), BadInput, "row 1"),
    (bad_rows(fields=[{"x": 2**63}, {}]), BadInput, "64 bits"),
    (bad_rows(fields=[{"x": "\ud800"}, {}]), BadInput, "row 0"),
    (bad_rows(fields=[{"": 1}, {}]), BadInput, "named ''"),
])
def test_bad_rows_are_refused_and_nothing_is_stored(index: Index, rows: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        index.add(*rows)
    assert len(index) == 0


def test_bad_questions_are_refused(poems: Index) -> None:
    with pytest.raises(UnknownName, match=r"'dens'.*Did you mean 'dense'"):
        ask(poems, "dens", [1.0, 0.0])  # type: ignore[arg-type]
    with pytest.raises(ShapeMismatch, match="holds 2 dimensions"):
        ask(poems, DENSE, [1.0])
    with pytest.raises(BadInput, match="finite"):
        ask(poems, DENSE, [1.0, np.nan])
    with pytest.raises(BadInput, match="k is"):
        ask(poems, DENSE, [1.0, 0.0], k=-1)
    with pytest.raises(BadInput, match="k is"):
        ask(poems, DENSE, [1.0, 0.0], k=2.5)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no sparse"):
        poems.search(Embeddings("m2v", np.zeros(1, np.int64), dense=np.zeros((1, 2))), SPARSE, 1)


def test_an_index_of_one_kind_knows_no_other(make: Any) -> None:
    index = make(["sparse"])
    assert index.kinds == ("sparse",)
    put(index, [1], vectors(sparse=[{MOON: 1.0}]))
    assert ids(index, SPARSE, {MOON: 1.0}) == [1]
    with pytest.raises(UnknownName, match="dense"):
        ask(index, DENSE, [1.0, 0.0])
    index = make(["dense"], 3)
    put(index, [1], vectors(dense=[[1, 2, 3]]))
    assert ask(index, DENSE, [1.0, 1.0, 1.0]) == [(1, 6.0)]


@pytest.mark.parametrize(("kinds", "dim"), [([], 2), (["dense"], 0), (["multi"], 2)])
def test_an_index_that_cannot_be_is_refused(make: Any, kinds: list[Kind], dim: int) -> None:
    with pytest.raises((BadInput, UnknownName)):
        make(kinds, dim)


def test_a_closed_index_says_so(poems: Index) -> None:
    poems.close()
    poems.close()
    for use in (
        lambda: ask(poems, DENSE, [1.0, 0.0]),
        lambda: put(poems, [1], vectors(dense=[[1, 0]])),
        lambda: drop(poems, 7),
    ):
        with pytest.raises(CollectionError, match="is closed"):
            use()


# any history at all, beside the plain loop

small = st.integers(-3, 3).map(float)       # sums are exact, so ties are true ties
rows = st.tuples(st.lists(small, min_size=2, max_size=2), st.dictionaries(st.integers(0, 5), small, max_size=4),
                 st.fixed_dictionaries({}, optional={"n": st.integers(0, 3)}))
wheres = st.sampled_from([None, field("n") > 1, field("n") != 2])
steps = st.one_of(
    st.tuples(st.just("add"), st.dictionaries(st.integers(0, 15), rows, max_size=6)),
    st.tuples(st.just("delete"), st.sets(st.integers(0, 17), max_size=4)),
    st.tuples(st.just("search"), st.tuples(rows, st.integers(0, 8), wheres)),
)


def plain(stored: dict[int, Any], query: Any, kind: Kind, k: int, where: Filter | None) -> list[tuple[int, float]]:
    found = []
    for id, (dense, sparse, fields) in stored.items():
        if where is not None and not where.matches(fields):
            continue
        if kind == DENSE:
            found.append((id, sum(a * b for a, b in zip(dense, query[0], strict=True))))
        elif score := sum(weight * query[1].get(term, 0.0) for term, weight in sparse.items()):
            found.append((id, score))
    return sorted(found, key=lambda hit: (-hit[1], hit[0]))[:k]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=12))
def test_any_history_ends_as_in_the_plain_loop(make: Any, history: list[Any]) -> None:
    index = shared(make)
    drop(index, *range(20))
    stored: dict[int, Any] = {}
    for what, how in history:
        if what == "add":
            chosen = list(how.values())
            dense = np.array([row[0] for row in chosen]).reshape(-1, 2)
            sparse = SparseRows.from_rows([row[1] for row in chosen], 6)
            embeddings = Embeddings("m", np.zeros(len(how), np.int64), dense=dense, sparse=sparse)
            put(index, list(how), embeddings, [row[2] for row in chosen])
            stored |= how
        elif what == "delete":
            drop(index, *how)
            stored = {id: row for id, row in stored.items() if id not in how}
        else:
            query, k, where = how
            assert ask(index, DENSE, query[0], k, where) == plain(stored, query, DENSE, k, where)
            assert ask(index, SPARSE, query[1], k, where) == plain(stored, query, SPARSE, k, where)
        assert len(index) == len(stored)


SHARED: dict[Any, Index] = {}


def shared(make: Any) -> Index:
    """One index for all examples of a test: making one takes longer than an example."""
    if make not in SHARED:
        SHARED.clear()
        SHARED[make] = make()
    return SHARED[make]


def test_random_vectors_score_as_numpy_does(index: Index) -> None:
    random = np.random.default_rng(5)
    dense, query = random.standard_normal((300, 2)), random.standard_normal(2)
    sparse = [dict(zip(random.choice(50, 9, False).tolist(), random.random(9).tolist(), strict=True)) for _ in dense]
    put(index, list(range(300)), vectors(dense, sparse))
    (ranking,) = index.search(vectors(dense=[query]), DENSE, 300)
    assert_allclose(ranking.scores, np.sort(dense @ query)[::-1], rtol=1e-5, atol=1e-6)
    assert isinstance(ranking, Ranking)
    wanted = SparseRows.from_rows(sparse, 100).to_dense() @ np.linspace(0, 1, 100)
    (ranking,) = index.search(vectors(sparse=[dict(enumerate(np.linspace(0, 1, 100)))]), SPARSE, 300)
    assert_allclose(ranking.scores, np.sort(wanted)[::-1], rtol=1e-5)
    assert_allclose(wanted[ranking.ids], ranking.scores, rtol=1e-5)
