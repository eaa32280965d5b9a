"""Postings in memory: exact at every moment, whatever came and went before, and as the engine answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from by_hand import vectors
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from numpy.testing import assert_allclose, assert_array_equal

from qianru.index.engine import EngineIndex
from qianru.index.postings import LivePostings
from qianru.types import SparseRows

ROW = st.dictionaries(st.integers(0, 5), st.integers(-2, 3).map(float).filter(bool), max_size=4)


class ComingAndGoing(RuleBasedStateMachine):
    """Against a dict of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.live = LivePostings()
        self.rows: dict[int, dict[int, float]] = {}

    @rule(rows=st.dictionaries(st.integers(0, 12), ROW, min_size=1, max_size=5))
    def add(self, rows: dict[int, dict[int, float]]) -> None:
        self.live.add(np.array(list(rows)), SparseRows.from_rows(rows.values(), 6))
        self.rows |= rows

    @rule(ids=st.sets(st.integers(0, 15), max_size=4))
    def delete(self, ids: set[int]) -> None:
        self.live.delete(np.array(sorted(ids), np.int64))
        for id in ids:
            self.rows.pop(id, None)

    @rule(query=ROW, k=st.integers(0, 5), among=st.none() | st.sets(st.integers(0, 12)))
    def search(self, query: dict[int, float], k: int, among: set[int] | None) -> None:
        assert len(self.live) == len(self.rows)
        wanted = None if among is None else np.array(sorted(among), np.int64)
        (ranking,) = self.live.search(SparseRows.from_rows([query], 6), k, wanted)
        scores = {id: sum(weight * row.get(term, 0.0) for term, weight in query.items())
                  for id, row in self.rows.items() if among is None or id in among}
        best = sorted((-score, id) for id, score in scores.items() if score)[:k]
        assert ranking.ids.tolist() == [id for _, id in best]
        assert ranking.scores.tolist() == [-score for score, _ in best]


TestComingAndGoing = ComingAndGoing.TestCase
TestComingAndGoing.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_the_engine_answers_alike(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    rows = [{int(term): float(chance.random()) for term in chance.integers(0, 300, 20)} for _ in range(2_000)]
    engine, live = EngineIndex.create(tmp_path / "engine", ["sparse"]), LivePostings()
    for start in range(0, 2_000, 500):
        ids, part = np.arange(start, start + 500), vectors(sparse=rows[start : start + 500])
        assert part.sparse is not None
        engine.add(ids, part, [{}] * 500)
        live.add(ids, part.sparse)
    gone = chance.choice(2_000, 300, replace=False)
    engine.delete(gone)
    live.delete(gone)
    queries = vectors(sparse=[{int(term): float(chance.random()) for term in chance.integers(0, 310, 8)}
                              for _ in range(50)])
    assert queries.sparse is not None
    for ours, theirs in zip(live.search(queries.sparse, 10), engine.search(queries, "sparse", 10), strict=True):
        assert_allclose(ours.scores, theirs.scores, rtol=1e-6)
        assert_array_equal(ours.ids, theirs.ids)
    engine.close()


@pytest.mark.parametrize("ascending", [True, False])
def test_what_is_added_is_copied_and_found_at_once(ascending: bool) -> None:
    live = LivePostings()
    ids, rows = np.array([1, 2] if ascending else [2, 1]), SparseRows.from_rows([{0: 1.0}, {0: 1.0}], 1)
    live.add(ids, rows)
    ids[:], rows.weights[:] = 9, 0
    assert live.search(rows.from_rows([{0: 2.0}], 1), 5)[0].ids.tolist() == [1, 2]
    assert live.size_bytes == 2 * 8 + 1 * 8 + 2 * 8 + 2 * 4 + 2 * 4     # ids, the term, its span, places, weights
