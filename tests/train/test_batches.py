"""Which rows come together, and who must not be whose negative."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from qianru.errors import BadInput, SpecMismatch
from qianru.train.data.batches import PlainBatch, RankedBatch, ScoredBatch, collect, rank
from qianru.train.data.examples import Ranked
from qianru.train.data.sampler import Draw, Sampler
from qianru.train.data.sets import DataConfig, DataSet


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --- the sampler


def test_each_pass_takes_every_row_once_and_in_another_order() -> None:
    sampler = Sampler([12], 4, seed=1)
    passes = [np.concatenate([sampler.draw().rows for _ in range(3)]) for _ in range(2)]
    assert [sorted(rows.tolist()) for rows in passes] == [list(range(12))] * 2
    assert passes[0].tolist() != passes[1].tolist()


def test_a_batch_has_no_row_twice() -> None:
    sampler = Sampler([10, 3], 4, seed=1)
    for _ in range(50):
        rows = sampler.draw().rows
        assert len(set(rows.tolist())) == len(rows)


@pytest.mark.parametrize("like_length", [False, True])
def test_a_sampler_goes_on_where_another_was(like_length: bool) -> None:
    sizes = [40, 9, 17]
    lengths = [np.arange(n)[::-1].copy() for n in sizes] if like_length else None
    first = Sampler(sizes, 4, seed=5, lengths=lengths)
    for _ in range(23):
        first.draw()
    state = json.loads(json.dumps(first.state()))
    second = Sampler(sizes, 4, seed=5, lengths=lengths)
    second.go_to(state)
    for _ in range(40):
        one, other = first.draw(), second.draw()
        assert (one.source, one.rows.tolist(), one.seed) == (other.source, other.rows.tolist(), other.seed)


def test_a_state_of_other_sets_is_refused() -> None:
    with pytest.raises(SpecMismatch, match="made with other data sets"):
        Sampler([4], 2, seed=1).go_to(Sampler([4, 4], 2, seed=1).state())


def shares(**options: object) -> list[float]:
    sampler = Sampler([900, 100], 1, seed=3, **options)   # type: ignore[arg-type]
    counts = Counter(sampler.draw().source for _ in range(2000))
    return [counts[i] / 2000 for i in range(2)]


def test_sets_come_as_often_as_size_weight_and_temperature_say() -> None:
    assert shares() == pytest.approx([0.9, 0.1], abs=0.03)
    assert shares(weights=[1, 9]) == pytest.approx([0.5, 0.5], abs=0.04)
    assert shares(temperature=2) == pytest.approx([0.75, 0.25], abs=0.04)    # 30 to 10
    assert shares(temperature=1e9) == pytest.approx([0.5, 0.5], abs=0.04)


def test_batches_of_like_length_hold_neighbours_in_length() -> None:
    lengths = np.random.default_rng(1).permutation(64)
    sampler = Sampler([64], 8, seed=1, lengths=[lengths])
    drawn = [sampler.draw().rows for _ in range(8)]
    assert all(np.ptp(lengths[rows]) == 7 for rows in drawn)
    starts = [lengths[rows].min() for rows in drawn]
    assert starts != sorted(starts)      # but the batches themselves come in any order


def test_a_temperature_of_nought_is_refused() -> None:
    with pytest.raises(BadInput, match="above 0"):
        Sampler([4], 2, seed=1, temperature=0)


# --- ranked batches


def test_every_text_is_there_once_and_every_target_is_the_positive() -> None:
    batch = rank([Ranked("甲", ("一",), ("二", "三")), Ranked("乙", ("一",), ("三",)), Ranked("丙", ("二",))], 5, rng())
    assert batch.documents == ["一", "二", "三"]
    assert [batch.documents[i] for i in batch.target] == ["一", "一", "二"]
    assert batch.own.astype(int).tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 0]]


def test_a_text_that_is_right_for_a_query_is_never_its_negative() -> None:
    """甲 stands in two rows with two answers; 丙's negative is 甲's other answer."""
    examples = [Ranked("甲", ("一",)), Ranked("甲", ("二",)), Ranked("丙", ("三",), ("二",))]
    batch = rank(examples, 1, rng())
    assert batch.documents == ["一", "二", "三"]
    assert batch.known.astype(int).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_an_answer_that_was_not_drawn_is_no_negative_either() -> None:
    batch = rank([Ranked("甲", ("一", "二")), Ranked("乙", ("一",)), Ranked("丙", ("二",))], 0, rng())
    for text in ("一", "二"):
        if text in batch.documents:
            assert batch.known[0, batch.documents.index(text)]


def test_the_text_of_the_query_itself_is_no_negative() -> None:
    batch = rank([Ranked("甲", ("一",)), Ranked("乙", ("甲",))], 0, rng())
    assert batch.known[0].tolist() == [True, True]


def test_queries_with_an_answer_in_common_ask_alike() -> None:
    batch = rank([Ranked("甲", ("一",)), Ranked("乙", ("一",)), Ranked("丙", ("三",))], 0, rng())
    assert batch.alike.astype(int).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_a_teachers_scores_follow_the_texts_that_were_drawn() -> None:
    scores = {"一": 0.9, "二": 0.8, "三": 0.3, "四": 0.2, "五": 0.1}
    example = Ranked("甲", ("一", "二"), ("三", "四", "五"), tuple(scores.values()))
    for seed in range(20):
        batch = rank([example, example], 2, np.random.default_rng(seed))
        assert batch.group is not None
        assert batch.teacher is not None
        for columns, taught in zip(batch.group, batch.teacher, strict=True):
            assert [scores[batch.documents[c]] for c in columns] == taught.tolist()


def test_rows_with_fewer_negatives_shorten_a_taught_batch_only() -> None:
    rows = [Ranked("甲", ("一",), ("二", "三")), Ranked("乙", ("四",), ("五",))]
    assert rank(rows, 2, rng()).own.sum() == 5
    taught = [Ranked(r.query, r.positives, r.negatives, (1.0,) * (1 + len(r.negatives))) for r in rows]
    assert rank(taught, 2, rng()).own.sum() == 4


# --- from files


def test_texts_of_one_class_are_positives_and_never_negatives(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"{label}{i}", "label": label}) + "\n"
                            for label in "甲乙" for i in range(3)), "utf-8")
    data = DataSet(DataConfig(str(path)))
    batch = collect(data, Draw(0, np.arange(6), 1), 0)
    assert isinstance(batch, RankedBatch)
    for i, query in enumerate(batch.queries):
        positive = batch.documents[batch.target[i]]
        assert positive[0] == query[0]
        assert positive != query
        assert [document[0] == query[0] for document in batch.documents] == batch.known[i].tolist()


def test_scored_pairs_and_plain_texts_become_batches(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("text1\ttext2\tscore\n甲\t乙\t5\n丙\t丁\t1\n", "utf-8")
    scored = collect(DataSet(DataConfig(str(tmp_path / "s.tsv"))), Draw(0, np.array([1, 0]), 1), 0)
    assert isinstance(scored, ScoredBatch)
    assert (scored.left, scored.right, scored.scores.tolist()) == (["丙", "甲"], ["丁", "乙"], [1, 5])
    (tmp_path / "p.csv").write_text("text\n甲\n乙\n甲\n", "utf-8")
    plain = collect(DataSet(DataConfig(str(tmp_path / "p.csv"))), Draw(0, np.arange(3), 1), 0)
    assert isinstance(plain, PlainBatch)
    assert plain.texts == ["甲", "乙"]


def test_the_same_draw_makes_the_same_batch(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"query": "甲", "pos": ["一", "二", "三"], "neg": ["四", "五", "六"]}\n' * 3, "utf-8")
    data = DataSet(DataConfig(str(path)))
    texts = [collect(data, Draw(0, np.arange(3), seed), 2).documents for seed in (7, 7, 8)]   # type: ignore[union-attr]
    assert texts[0] == texts[1] != texts[2]
