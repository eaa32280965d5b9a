"""Comparisons one can believe: what is told of two models on the same items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qianru.errors import BadInput, UnknownName
from qianru.evaluate.compare import Run, compare, largest_wins, merits, runs_of, task_of
from qianru.evaluate.result import Result
from qianru.types import FloatArray

pytest.importorskip("scipy", reason="the extra evaluate is not installed")


def retrieval(
    values: Mapping[str, float] | FloatArray, model: str = "bge", task: str = "古诗检索", **more: Any
) -> Result:
    """A result whose main score is the mean of its queries."""
    items = values if isinstance(values, Mapping) else {f"q{i}": float(value) for i, value in enumerate(values)}
    return Result(task=task, task_type="Retrieval", model=model, fingerprint=more.pop("fingerprint", model * 8),
                  main_score="ndcg_at_10", scores={"ndcg_at_10": float(np.mean(list(items.values())))}, per_item=items,
                  **more)


def run(*results: Result) -> Run:
    return runs_of(results)[0]


def sts(similarities: list[float], gold: list[float], score: float, model: str = "bge") -> Result:
    names = [f"p{i}" for i in range(len(gold))]
    return Result(task="句对", task_type="STS", model=model, fingerprint=model, main_score="cosine_spearman",
                  scores={"cosine_spearman": score}, per_item=dict(zip(names, similarities, strict=True)),
                  gold=dict(zip(names, gold, strict=True)))


def test_a_comparison_tells_wins_ties_losses_and_the_difference_by_hand() -> None:
    a = retrieval(np.array([1.0, 0.5, 0.0, 1.0]), "a")
    b = retrieval(np.array([0.5, 0.5, 0.5, 0.0]), "b")
    (found,) = compare([run(a), run(b)])
    (row,) = found.rows
    assert (row.wins, row.ties, row.losses) == (2, 1, 1)
    assert_allclose([row.a.value, row.b.value, row.difference.value], [0.625, 0.375, 0.25])
    assert row.verdict == "not shown"      # four queries show nothing
    assert found.mean is None              # of one task there is none


def test_a_planted_difference_is_shown_and_its_interval_holds_it() -> None:
    generator = np.random.default_rng(0)
    base = generator.beta(0.8, 0.5, 1_000)
    noise = generator.normal(0, 0.15, 1_000)
    (found,) = compare([run(retrieval(base + 0.02 + noise - noise.mean(), "a")), run(retrieval(base, "b"))])
    (row,) = found.rows
    assert row.verdict == "better"
    assert row.difference.low < 0.02 < row.difference.high
    assert row.difference.low > 0


def test_turning_the_models_round_turns_the_answer_round() -> None:
    generator = np.random.default_rng(1)
    a, b = run(retrieval(generator.random(200) + 0.1, "a")), run(retrieval(generator.random(200), "b"))
    (one,), (other,) = compare([a, b]), compare([b, a])
    assert one.rows[0].verdict == "better"
    assert other.rows[0].verdict == "worse"
    assert_allclose(one.rows[0].difference.low, -other.rows[0].difference.high)
    assert one.rows[0].wins == other.rows[0].losses


def test_p_values_are_corrected_for_all_tasks_and_models_together() -> None:
    generator = np.random.default_rng(2)
    names = [f"任务{i}" for i in range(4)]
    first = runs_of(retrieval(generator.random(60), "a", name) for name in names)[0]
    others = [runs_of(retrieval(generator.random(60), model, name) for name in names)[0] for model in "bcd"]
    rows = [row for found in compare([first, *others]) for row in found.rows]
    smallest = min(rows, key=lambda row: row.p)
    assert len(rows) == 12
    assert smallest.p_holm == pytest.approx(min(1, 12 * smallest.p))
    assert all(row.p_holm >= row.p for row in rows)


def test_the_mean_counts_each_task_once_however_many_queries_it_has() -> None:
    a = [retrieval(np.full(10, 0.9), "a", "小"), retrieval(np.full(1_000, 0.1), "a", "大")]
    b = [retrieval(np.full(10, 0.5), "b", "小"), retrieval(np.full(1_000, 0.1), "b", "大")]
    (found,) = compare([runs_of(a)[0], runs_of(b)[0]])
    assert found.mean is not None
    assert_allclose([found.mean.a.value, found.mean.difference.value], [0.5, 0.2])
    assert (found.mean.wins, found.mean.ties, found.mean.losses) == (1, 1, 0)


def test_the_interval_of_an_sts_task_is_of_spearman_itself() -> None:
    gold = [0.0, 1, 2, 3, 4, 5] * 20
    generator = np.random.default_rng(3)
    noisy = [value + generator.normal(0, 3) for value in gold]
    stats = pytest.importorskip("scipy.stats")
    spearman = float(stats.spearmanr(noisy, gold).statistic)
    (found,) = compare([run(sts(gold, gold, 1.0, "a")), run(sts(noisy, gold, spearman, "b"))])
    (row,) = found.rows
    assert_allclose([row.a.value, row.b.value], [1.0, spearman])
    assert row.a.low == row.a.high == pytest.approx(1.0)
    assert row.b.low < spearman < row.b.high
    assert found.notes == ()


def test_a_pair_is_done_well_where_its_rank_is_that_of_gold() -> None:
    """Three pairs, the first two the wrong way round: each is one rank of three away from its place."""
    result = sts([0.9, 0.5, 0.95], [1.0, 2.0, 3.0], 0.5)
    assert_allclose(merits(result, ["p0", "p1", "p2"]), [1 - 1 / 3, 1 - 1 / 3, 1.0])


def test_the_queries_that_a_wins_most_come_with_their_texts() -> None:
    texts = {"q1": ("床前明月光的下一句",), "q2": ("谁写了将进酒",), "q3": ("什么是绝句",)}
    a = retrieval({"q1": 1.0, "q2": 1.0, "q3": 0.2}, "a", texts=texts)
    b = retrieval({"q1": 0.6, "q2": 0.0, "q3": 0.5}, "b")
    wins = largest_wins(a, b, 5)
    assert [(win.id, win.a, win.b) for win in wins] == [("q2", 1.0, 0.0), ("q1", 1.0, 0.6)]
    assert wins[0].texts == ("谁写了将进酒",)
    assert [win.id for win in largest_wins(b, a, 5)] == ["q3"]


def test_a_model_with_and_without_its_prompt_is_told_as_that() -> None:
    values = np.random.default_rng(4).random(50)
    bare = retrieval(values, "bge", fingerprint="a" * 12, n_texts=100, n_truncated=25)
    asked = retrieval(values, "bge", fingerprint="b" * 12, prompts={"query": "检索："}, n_texts=100)
    with_prompt, without = runs_of([asked, bare])
    (found,) = compare([with_prompt, without])
    assert (found.a, found.b) == ("bge bbbbbb", "bge aaaaaa")
    assert found.differs == (
        "prompt of a query: '检索：' in bge bbbbbb, '' in bge aaaaaa",
        "texts that were cut: 0.0% in bge bbbbbb, 25.0% in bge aaaaaa",
    )


def test_what_cannot_be_compared_is_left_out_with_its_reason() -> None:
    a = [retrieval({"q1": 1.0}, "a", "甲"), retrieval({"q1": 1.0}, "a", "乙"), retrieval({"q1": 1.0}, "a", "丙"),
         replace(retrieval({"q1": 1.0}, "a", "丁"), per_item={})]
    b = [retrieval({"q1": 1.0}, "b", "甲"), retrieval({"q2": 1.0}, "b", "乙"), retrieval({"q1": 1.0}, "b", "丁")]
    (found,) = compare([runs_of(a)[0], runs_of(b)[0]])
    assert [row.task for row in found.rows] == ["甲"]
    reasons = "; ".join(found.left_out)
    assert "丁: values of single items are missing" in reasons
    assert "丙: b has no result" in reasons
    assert "乙: the items differ: 1 and 1, 0 of them the same" in reasons


def test_a_score_that_its_items_do_not_give_is_told() -> None:
    wrong = replace(retrieval({"q1": 1.0, "q2": 0.0}, "a"), scores={"ndcg_at_10": 0.9})
    (found,) = compare([run(wrong), run(retrieval({"q1": 1.0, "q2": 0.0}, "b"))])
    (note,) = found.notes
    assert note == "古诗检索: a has ndcg_at_10 0.9000 in the file and 0.5000 by its items; the items are compared"


def test_one_model_cannot_be_compared_and_one_run_has_one_result_a_task() -> None:
    alone = retrieval({"q1": 1.0})
    with pytest.raises(BadInput, match="two models or more"):
        compare([run(alone)])
    with pytest.raises(BadInput, match="two results of bge"):
        runs_of([alone, alone])
    with pytest.raises(UnknownName, match="Did you mean '古诗检索'"):
        task_of(run(alone), "古诗检")
