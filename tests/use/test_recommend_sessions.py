"""Recommendation from what people did: a known truth is found, cold items work, the mix is judged on other sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from shops import Shop, shop

from qianru.errors import BadFile, BadInput, ShapeMismatch, UnknownName
from qianru.models.lexical import TfIdf
from qianru.text.analyze import Analyzer
from qianru.use.recommend import (
    Item2Vec,
    Learned,
    Mix,
    Sessions,
    item_vectors,
    learn_recommender,
    read_sessions,
    recommender,
)

pytest.importorskip("gensim", reason="item2vec needs gensim: pip install 'qianru[classic]'")


@pytest.fixture(scope="module")
def world() -> Shop:
    return shop(n_sessions=2_000)


@pytest.fixture(scope="module")
def model(world: Shop) -> TfIdf:
    return TfIdf(Analyzer(pattern=r"\S+")).fit(world.texts)


@pytest.fixture(scope="module")
def learned(world: Shop, model: TfIdf) -> Learned:
    return learn_recommender(world.names, world.texts, Sessions.of(world.sessions, timed=True), model)


def test_item2vec_finds_what_goes_together(world: Shop) -> None:
    rows = {name: row for row, name in enumerate(world.names)}
    vectors = item_vectors(world.sessions, rows)
    assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -1)
    nearest = np.argsort(-alike, axis=1)[:, :5]
    assert (world.group[nearest] == world.group[:, None]).mean() > 0.95       # by chance 0.05


def test_the_same_sessions_and_seed_give_the_same_vectors(world: Shop) -> None:
    rows = {name: row for row, name in enumerate(world.names)}
    some = world.sessions[:200]
    assert_array_equal(item_vectors(some, rows), item_vectors(some, rows))


def test_items_that_no_session_has_get_no_vector() -> None:
    vectors = item_vectors([["甲 一", "乙"], ["乙", "甲 一"]], {"甲 一": 0, "乙": 1, "丙": 2}, Item2Vec(dim=4))
    assert vectors.any(axis=1).tolist() == [True, True, False]


def test_the_mix_finds_the_next_item_oftener_than_each_way_alone(learned: Learned) -> None:
    assert set(learned.ways) == {"popular", "text", "behaviour", "mixed"}
    assert learned.n_held == 400
    assert learned.gains["text"].low > 0
    assert learned.gains["behaviour"].low > 0
    assert learned.ways["mixed"].hit_rate.value > 0.6         # 10 of 200 by chance: 0.05


def test_intervals_hold_their_values(learned: Learned) -> None:
    for judged in learned.ways.values():
        for one in judged:
            assert 0 <= one.low <= one.value <= one.high <= 1
        assert judged.ndcg.value <= judged.hit_rate.value


def test_a_cold_item_is_recommended_from_and_recommended(world: Shop, model: TfIdf) -> None:
    early = world.sessions[:1_600]
    made = recommender(world.names, world.texts, early, model)
    cold = sorted(world.new)[0]
    mine = world.group[world.names.index(cold)]
    found = made.recommend(cold, 5)
    assert all(one.behaviour == 0 and one.text > 0 for one in found)
    assert np.mean([world.group[one.row] == mine for one in found]) >= 0.4     # by chance 0.05
    other = next(name for name, group in zip(world.names, world.group, strict=True)
                 if group == mine and name not in world.new)
    assert any(one.seen == 0 for one in made.recommend(other, 60))


def test_the_rarer_an_item_the_more_its_text_counts() -> None:
    """甲's likeness to 乙 and 丙 is 1 by text and by behaviour, so the score is the rule itself."""
    made = recommender(["甲", "乙"], ["海边", "海边"], [["甲", "乙"]] * 30, TfIdf().fit(["海边"]), Item2Vec(dim=4),
                       Mix(half=10, share=0.5, decay=1))
    likeness = made.likeness([0], 1.0)
    assert likeness.behaviour[1] == likeness.text[1] == 0     # the only other item is as good as the mean
    a = 10 / (10 + 30)
    ones = type(likeness)(np.ones(2), np.zeros(2), np.ones(2))
    assert_allclose(made.scores(ones, made.mix), [a * 0.5 + (1 - a)] * 2)


def test_scores_are_those_of_a_slow_loop(learned: Learned) -> None:
    made, session = learned.recommender, [3, 57, 110]
    half, share, decay = made.mix
    likeness = made.scores(made.likeness(session, decay), made.mix)
    weights = [decay ** age for age in (2, 1, 0)]
    for j in (0, 58, 199):
        total = 0.0
        for weight, i in zip(weights, session, strict=True):
            text, acted = (part[j] for part in (made.likeness([i], 1).text, made.likeness([i], 1).behaviour))
            a = half / (half + made.seen[j]) if made.seen[j] else 1
            total += weight * (a * share * text + (1 - a) * acted)
        assert likeness[j] == pytest.approx(total / sum(weights), abs=1e-9)


def test_by_texts_alone_the_order_is_that_of_similar_items(data: Path) -> None:
    import csv

    from qianru.use.recommend import similar_items

    with (data / "articles" / "Seattle_Hotels.csv").open(encoding="latin-1", newline="") as file:
        rows = list(csv.DictReader(file))
    names, texts = [row["name"] for row in rows], [row["desc"] for row in rows]
    asked = "Hilton Seattle Airport & Conference Center"
    expected = [one.name for one in similar_items(texts, names, asked)]
    assert [one.name for one in recommender(names, texts).recommend(asked)] == expected


def test_sessions_alone_recommend_too(world: Shop) -> None:
    learned = learn_recommender([], None, Sessions.of(world.sessions[:400]), seed=3)
    assert set(learned.ways) == {"popular", "behaviour"}
    assert learned.gains == {}
    start = learned.recommender.names[0]
    group = world.group[world.names.index(start)]
    found = learned.recommender.recommend(start, 5)
    assert all(one.text == 0 for one in found)
    assert sum(world.group[world.names.index(one.name)] == group for one in found) >= 4


def test_a_session_never_gets_its_own_items_and_the_last_ones_count_most(learned: Learned, world: Shop) -> None:
    made = learned.recommender
    first, last = [next(name for name, g in zip(world.names, world.group, strict=True) if g == group)
                   for group in (0, 7)]
    found = made.recommend([first, last], 10)
    assert not {first, last} & {one.name for one in found}
    assert world.group[found[0].row] == 7


def test_too_few_sessions_judge_nothing() -> None:
    learned = learn_recommender([], None, Sessions.of([["甲", "乙", "丙"]] * 10))
    assert (learned.ways, learned.gains, learned.n_held) == ({}, {}, 0)
    assert learned.recommender.mix == Mix()


def test_a_repeated_item_is_not_asked_for() -> None:
    lists = [["甲", "乙", "甲"], ["甲", "乙", "丙"]] * 100
    learned = learn_recommender([], None, Sessions.of(lists), held=0.5)
    assert learned.n_held + learned.n_repeats == 100
    assert learned.n_repeats > 30


@pytest.mark.parametrize(("name", "content"), [
    ("s.txt", "甲 乙\n丙 甲 甲\n"),
    ("s.txt", "甲\t乙\n\n丙\t甲\t甲\n"),
    ("s.jsonl", '{"items": ["甲", "乙"]}\n{"items": ["丙", "甲", "甲"]}\n'),
    ("s.jsonl", '{"user": 1, "item": "甲"}\n{"user": 2, "item": "丙"}\n'
                '{"user": 1, "item": "乙"}\n{"user": 2, "item": "甲"}\n'),
    ("s.csv", "user,item,time\nu,乙,20\nv,甲,40\nu,甲,10\nv,丙,30\n"),
    ("s.csv", "user,item,time\nu,乙,10\nv,甲,100\nu,甲,9\nv,丙,20\n"),
    ("s.csv", "user,item,time\nu,乙,2024-1-15\nv,甲,2024/10/5\nu,甲,2024-1-5\nv,丙,2024年2月10日 8:30\n"),
    ("s.csv", "user,item,time\nu,乙,2024-01-05 09:30\nv,甲,20240107T0100\nu,甲,2024-01-05 9:05\nv,丙,2024-01-06\n"),
    ("s.tsv", "用户\t商品\t时间\nu\t乙\t2026-01-02\nv\t甲\t2026-01-04\nu\t甲\t2026-01-01\nv\t丙\t2026-01-03\n"),
])
def test_sessions_are_read_from_every_format(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read_sessions(tmp_path / name)
    assert [list(session) for session in found.lists] == [["甲", "乙"], ["丙", "甲"]]
    assert found.timed == ("time" in content or "时间" in content)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("s.csv", "user,article\nu,甲\n", "no column 'item'"),
    ("s.csv", "user,item\nu,\n", "The event at .*s.csv:2 has no item"),
    ("s.csv", "user,item,time\nu,甲,1\nu,乙,2026-01-01\n", r"\(the time at .*:3\) a date; these have no common order"),
    ("s.csv", "user,item,time\nu,甲,2026-01-01\nu,乙,2026-01-01T00:00Z\n", "a date with a time zone; these have no"),
    ("s.csv", "user,item,time\nu,甲,1/2/2024\n", r"'1/2/2024' \(the time at .*:2\) .* Write dates as 2024-01-31"),
    ("s.csv", "user,item,time\nu,甲,\n", "has no time"),
    ("s.csv", "user,item,time\nu,甲,1\nu,乙,nan\n", r"'nan' \(the time at .*:3\) is neither a number nor a date"),
    ("s.txt", "\n", "It is empty"),
    ("s.zip", "甲 乙", r"They stand in files that end in \.txt"),
    ("s.jsonl", "{oops\n", "Sessions are read whole"),
])
def test_what_is_no_session_is_told_with_its_place(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises((BadInput, BadFile, UnknownName), match=message):
        read_sessions(tmp_path / name)


def test_unfit_arguments_are_refused() -> None:
    with pytest.raises(BadInput, match="by their texts or by sessions"):
        recommender(["甲"])
    with pytest.raises(ShapeMismatch, match="2 texts need as many names; there are 1"):
        recommender(["甲"], ["一", "二"])
    with pytest.raises(BadInput, match="No session has two items"):
        recommender(["甲"], None, [["甲"]])
    with pytest.raises(BadInput, match="is no list of names"):
        Sessions.of(["甲乙"])
    made = recommender(["甲", "乙"], ["海边", "海边"])
    with pytest.raises(BadInput, match="at least one item"):
        made.recommend([])
    with pytest.raises(BadInput, match="at least 1"):
        made.recommend("甲", 0)
    with pytest.raises(UnknownName):
        made.recommend("丁")
    with pytest.raises(BadInput, match="lies between 0 and 1"):
        learn_recommender([], None, Sessions.of([["甲", "乙"]]), held=1)
