"""What is learnt from labelled queries is what a search by it then does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qianru.errors import BadFile, BadInput
from qianru.index.collection import Collection
from qianru.index.plan import Plan
from qianru.models.bm25 import BM25
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import SEARCH
from qianru.types import Document
from qianru.use.calibrate import threshold_for
from qianru.use.labels import Labelled, grades_of, read_labelled
from qianru.use.tune import _as_planned, _best, _fused, _plans, interval_of, tune

WORDS = ["黄河", "明月", "春花", "秋雨", "高山", "流水", "故乡", "长安", "江南", "边塞"]


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Collection]:
    """200 documents of random words; BM25 beside word vectors drawn at random, which mislead."""
    random = np.random.default_rng(1)
    vectors = WordVectorModel(WordVectors(WORDS, random.standard_normal((len(WORDS), 4)).astype(np.float32)))
    with Collection.create(tmp_path / "c", [BM25(SEARCH), vectors]) as collection:
        collection.add([Document(str(i), " ".join(random.choice(WORDS, 5)), {"path": f"{i % 7}.txt", "line": i})
                        for i in range(200)])
        yield collection


def labelled(collection: Collection, n: int) -> list[Labelled]:
    """Queries that the words alone answer."""
    random = np.random.default_rng(2)
    queries = [" ".join(random.choice(WORDS, 2)) for _ in range(n)]
    return [Labelled(query, {collection.search(query, kinds=["sparse"])[0].id: 1}) for query in queries]


def test_a_kind_that_misleads_is_weighed_down(mixed: Collection) -> None:
    found = tune(mixed, labelled(mixed, 40))
    assert found.alone["sparse"] == 1.0
    assert found.alone["dense"] < 0.5
    assert found.before < 0.9
    assert found.after > 0.99
    assert found.gain.value == pytest.approx(found.after - found.before)
    assert 0 < found.gain.low < found.gain.value < found.gain.high
    assert found.plan.kinds == ("sparse",)      # of equally good plans the plainest
    mixed.set_plan(found.plan)
    assert mixed.search("黄河 明月")[0].ranks == {"sparse": 1}


def test_every_plan_that_is_tried_answers_as_a_search_by_it(mixed: Collection) -> None:
    deep = Plan(kinds=("dense", "sparse"), candidates=100)
    query = "高山 流水"
    found = mixed.candidates([query], plan=deep)[0]
    whole = mixed.candidates([query], plan=deep.altered(complete=True))[0]
    plans = list(_plans(("dense", "sparse")))
    assert len(plans) == len({plan.to_json() for plan in plans})
    for plan in [plan for plan in plans if len(plan.kinds or ()) == 2][::23]:
        rankings = _as_planned(plan, found, whole)
        top = _fused(plan, rankings, np.array([[plan.weights[kind] for kind in rankings]]))[0]
        ids = [hit.id for hit in mixed.search(query, plan=plan)]
        numbers = mixed.numbers(ids)
        assert top == [numbers[id] for id in ids]


def test_the_rest_of_the_old_plan_stays_but_its_threshold(mixed: Collection) -> None:
    mixed.set_plan({"min_score": 0.5, "group_by": "path", "per_group": 3})
    plan = tune(mixed, labelled(mixed, 20)).plan
    assert (plan.min_score, plan.group_by, plan.per_group) == (None, "path", 3)


def test_too_few_answers_are_refused(mixed: Collection) -> None:
    strange = [Labelled("黄河", {"没有": 1})] * 30
    with pytest.raises(BadInput, match="5 of 35 queries have an answer"):
        tune(mixed, strange + labelled(mixed, 5))


def test_an_answer_may_be_a_place_in_a_file(mixed: Collection) -> None:
    # file 3.txt has passages at lines 3, 10, 17, 24, …
    grades = list(grades_of(mixed, [
        Labelled("q", path="3.txt", line=20), Labelled("q", path="3.txt", line=2), Labelled("q", path="3.txt"),
        Labelled("q", {"5": 2, "6": 0, "nobody": 1}),
    ]))
    numbers = mixed.numbers(["17", "5"])
    assert grades[0] == {numbers["17"]: 1}
    assert grades[1] == {}
    assert len(grades[2]) == 29
    assert grades[3] == {numbers["5"]: 2}


def test_labels_are_read_and_wrong_lines_named(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    rows = [{"query": "甲", "relevant": ["a", "b"]}, {"query": "乙", "relevant": {"a": 2}},
            {"query": "丙", "path": "x"}]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    assert read_labelled(file) == [Labelled("甲", {"a": 1, "b": 1}), Labelled("乙", {"a": 2}), Labelled("丙", path="x")]
    file.write_text('{"query": "床前\u2028明月\x85光", "relevant": ["a"]}\r\n', encoding="utf-8")
    assert read_labelled(file) == [Labelled("床前\u2028明月\x85光", {"a": 1})]
    for wrong, says in [("{", "queries.jsonl:1 is no JSON"), ('{"query": "a"}', 'needs "relevant"'),
                        ("[" * 100_000, "is no JSON"), ('{"query": "a", "relevant": [["b"]]}', 'needs "relevant"'),
                        ('{"query": "a", "relevant": {"b": "1"}}', 'needs "relevant"'), ("[]", 'text "query"'),
                        ("", "holds no query")]:
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(BadInput, match=says):
            read_labelled(file)
    with pytest.raises(BadFile, match="cannot be read"):
        read_labelled(tmp_path / "nowhere.jsonl")


def test_the_interval_of_a_mean_is_the_usual_one() -> None:
    values = np.random.default_rng(3).standard_normal(400)
    found = interval_of(values)
    half = 1.96 * values.std() / 20
    assert_allclose([found.low, found.value, found.high], [values.mean() - half, values.mean(), values.mean() + half],
                    atol=0.02)


def test_a_threshold_is_what_a_slow_loop_finds() -> None:
    random = np.random.default_rng(4)
    for _ in range(50):
        scores = random.integers(0, 8, 12) / 4
        right = random.random(12) < 0.6
        right[0] = True
        able = []
        for limit in sorted(set(scores)):
            kept = right[scores >= limit]
            if kept.mean() >= 0.7:
                able.append((kept.sum(), limit, kept.mean()))
        if not able:
            with pytest.raises(BadInput, match="No threshold reaches"):
                threshold_for(scores, right, 0.7)
            continue
        most = max(n for n, _, _ in able)
        found = threshold_for(scores, right, 0.7)
        assert found.min_score == max(limit for n, limit, _ in able if n == most)
        assert found.recall == most / right.sum()


@pytest.mark.parametrize("seed", range(5))
def test_the_luckiest_of_many_fusions_is_not_taken_for_a_better_one(seed: int) -> None:
    chance = np.random.default_rng(seed)
    alone = chance.random((2, 100))
    alone[1] /= 2
    lucky = alone[0] + 0.2 * chance.standard_normal((500, 100))      # none is better in truth, the best of 500 looks so
    gains = lucky - alone[0]
    assert (gains.mean(1) > 2 * gains.std(1) / 10).any()
    assert _best(np.concatenate([alone, lucky]), 2, 5) == 0
    assert _best(np.concatenate([alone, lucky + 0.15]), 2, 5) >= 2
    assert _best(alone, 2, 5) == 0
