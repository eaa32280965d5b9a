"""Evaluations as a whole: models that learn, models that are broken, tasks that fail beside tasks that do not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_tasks import Hashed, hashed
from test_search import Everything

from qianru.errors import BadInput, UnknownName
from qianru.evaluate.fitting import FRESH
from qianru.evaluate.report import score_of
from qianru.evaluate.result import Result, read_results
from qianru.evaluate.run import Failed, How, evaluate, evaluate_all
from qianru.evaluate.task import Task
from qianru.evaluate.while_training import OnTasks
from qianru.models.base import ModelSpec
from qianru.models.bm25 import BM25
from qianru.models.joined import JoinedModel
from qianru.models.recipe import Prompts
from qianru.types import Embeddings, FloatArray, Kind, Progress, Role

POEMS = ["床前明月光，疑是地上霜", "春眠不觉晓，处处闻啼鸟", "白日依山尽，黄河入海流", "红豆生南国，春来发几枝",
         "千山鸟飞绝，万径人踪灭", "空山不见人，但闻人语响"]


@pytest.fixture
def poems(tmp_path: Path) -> Task:
    """The first line looks for the poem."""
    lines = [{"query": poem.partition("，")[0], "document": poem} for poem in POEMS]
    (tmp_path / "poems.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return Task(name="诗", type="Retrieval", layout="table", files={"file": "poems.jsonl"}, folder=tmp_path)


class Broken(Hashed):
    """Makes what it is told to make."""

    spec = ModelSpec("broken", "test", ("dense",), "2" * 64, 256)

    def __init__(self, spoil: Any) -> None:
        self.spoil = spoil

    def encode(self, texts: Iterable[str], *, role: Role = "document", kinds: Sequence[Kind] | None = None,
               instruction: str | None = None, progress: Progress | None = None) -> Embeddings:
        vectors: FloatArray | None = self.spoil(hashed(list(texts)))
        return Embeddings("broken", np.ones(0 if vectors is None else len(vectors), np.int64), dense=vectors)


def with_nan(vectors: FloatArray) -> FloatArray:
    vectors[-1, 3] = np.nan
    return vectors


@pytest.mark.parametrize(("spoil", "wrong"), [
    (with_nan, "holds NaN or infinity of the text '空山不见人'"),
    (lambda vectors: vectors[:-1], "made 5 vectors of 6 texts"),
    (lambda vectors: None, "made 0 vectors of 6 texts"),
])
def test_a_broken_model_is_an_error(poems: Task, spoil: Any, wrong: str) -> None:
    with pytest.raises(BadInput, match=wrong):
        evaluate(Broken(spoil), poems)


def test_vectors_of_zeros_score_nothing_special_and_do_not_fail(poems: Task) -> None:
    result = evaluate(Broken(np.zeros_like), poems)
    assert 0 <= result.main < 1


@pytest.mark.parametrize("name", ["bm25", "counts", "tfidf"])
def test_models_that_learn_are_fitted_on_the_corpus(poems: Task, name: str) -> None:
    assert name in FRESH
    result = evaluate(name, poems)
    assert result.model == name
    assert result.main > 0.8
    assert set(result.per_item) == set(map(str, range(6)))
    assert result.texts["0"] == ("床前明月光",)


def test_a_model_of_several_kinds_is_evaluated_as_one(poems: Task) -> None:
    both = JoinedModel([BM25().fit(POEMS), Hashed()])
    result = evaluate(both, poems, How(weights={"dense": 1.0, "sparse": 1.0}))
    assert result.kinds == ("dense", "sparse")
    assert result.main == 1.0
    assert result.model == "bm25 + hashed [1 dense + 1 sparse]"
    alone = evaluate(both, poems, How(kinds=("sparse",)))
    assert (alone.kinds, alone.model) == (("sparse",), "bm25 + hashed")


@pytest.mark.parametrize("kinds", [("multi",), ("dense", "sparse", "multi")])
def test_pairs_and_bitext_take_all_kinds(tmp_path: Path, kinds: tuple[Kind, ...]) -> None:
    pairs = [{"sentence1": poem, "sentence2": poem[:-i or None], "score": 5 - i} for i, poem in enumerate(POEMS)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    task = Task(name="对", type="STS", layout="table", files={"file": "a.jsonl"}, folder=tmp_path)
    result = evaluate(Everything(), task, How(kinds=kinds))
    assert result.gold == {str(i): 5 - i for i in range(6)}
    assert result.per_item["0"] == pytest.approx(1.0, abs=1e-5) or "sparse" in kinds
    mined = evaluate(Everything(), replace(task, type="BitextMining", main_score="f1"), How(kinds=kinds))
    assert mined.main == pytest.approx(np.mean(list(mined.per_item.values())))


def test_a_task_that_fails_leaves_the_finished_ones(poems: Task, tmp_path: Path) -> None:
    missing = replace(poems, name="没有", files={"file": "gone.jsonl"})
    again = replace(poems, name="诗二")
    found = list(evaluate_all(["bm25", Hashed()], [poems, missing, again], output=tmp_path / "results"))
    assert [type(one) for one in found] == [Result, Failed, Result] * 2
    assert [(one.model, one.task) for one in found if isinstance(one, Failed)] == [("bm25", "没有"), ("hashed", "没有")]
    written = read_results(tmp_path / "results")
    assert sorted(one.task for one in written) == ["诗", "诗", "诗二", "诗二"]
    assert sorted(written, key=repr) == sorted((one for one in found if isinstance(one, Result)), key=repr)


def test_a_model_that_cannot_be_loaded_fails_its_own_tasks_only(poems: Task) -> None:
    def load() -> str:
        raise UnknownName("model", "bm52", ["bm25"])

    found = list(evaluate_all([load, "bm25"], [poems]))
    assert [type(one) for one in found] == [Failed, Result]


def test_progress_counts_the_texts(poems: Task) -> None:
    seen: list[tuple[int, int | None]] = []
    result = evaluate(Hashed(), poems, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 6), (6, 6)]
    assert result.n_texts == 12


def test_documents_with_the_id_of_their_query_are_left_out_where_the_task_says_so(tmp_path: Path) -> None:
    for name, lines in (("corpus", [{"_id": "1", "text": "月光"}, {"_id": "2", "text": "月光如水"}]),
                        ("queries", [{"_id": "1", "text": "月光"}]),
                        ("qrels", [{"query-id": "1", "corpus-id": "2", "score": 1}])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = Task(name="x", type="Retrieval", layout="parts", folder=tmp_path,
                files={part: f"{part}.jsonl" for part in ("corpus", "queries", "qrels")})
    assert evaluate(Hashed(), task).scores["mrr_at_10"] == 0.5
    assert evaluate(Hashed(), replace(task, ignore_identical_ids=True)).scores["mrr_at_10"] == 1.0


def test_of_several_tasks_a_training_is_given_the_mean_first(poems: Task) -> None:
    again = replace(poems, name="诗二", max_rows=3)
    scores = OnTasks([poems, again], How())(Hashed())
    assert list(scores) == ["mean", "诗", "诗二"]
    assert scores["诗"] == evaluate(Hashed(), poems).main
    assert scores["mean"] == pytest.approx((scores["诗"] + scores["诗二"]) / 2)
    assert list(OnTasks([poems])(Hashed())) == ["诗"]
    with pytest.raises(BadInput, match="no task to evaluate on"):
        OnTasks([])


class Instructed(Hashed):
    """Follows instructions, and remembers with what it was asked."""

    prompts = Prompts(query="检索：", instruction="Instruct: {instruction}\nQuery: ")

    def __init__(self) -> None:
        self.asked: set[tuple[Role, str | None]] = set()

    def encode(self, texts: Iterable[str], *, role: Role = "document", kinds: Sequence[Kind] | None = None,
               instruction: str | None = None, progress: Progress | None = None) -> Embeddings:
        self.asked.add((role, instruction))
        return super().encode(texts, role=role)


@pytest.mark.parametrize(("said", "asked", "used"), [
    ({"type": "Retrieval"}, {("query", None), ("document", None)}, {"query": "检索："}),
    ({"type": "Retrieval", "prompts": {"query": "找诗"}}, {("query", "找诗"), ("document", None)}, {"query": "找诗"}),
    ({"type": "BitextMining", "prompts": {"query": "找同义"}}, {("query", "找同义")}, {"query": "找同义"}),
    ({"type": "BitextMining"}, {("query", "Retrieve parallel sentences.")}, {"query": "Retrieve parallel sentences."}),
])
def test_models_that_follow_instructions_are_given_the_tasks(
    poems: Task, said: Any, asked: set[Any], used: dict[str, str]
) -> None:
    model = Instructed()
    task = replace(poems, **said, main_score="", columns={"left": "query", "right": "document"})
    assert evaluate(model, task).prompts == used
    assert model.asked == asked
    plain = Instructed()
    evaluate(plain, task, How(instructions=False))
    assert {instruction for _, instruction in plain.asked} == {None}


def test_the_items_of_a_best_of_several_similarities_are_those_of_the_best(tmp_path: Path) -> None:
    """By cosine the wrong pair is the nearer one, by distance the right one: rows of length 1, 1 and of length 10."""
    vectors = {"甲": [1.0, 0.0], "乙": [0.0, 1.0], "丙": [10.0, 0.0], "丁": [6.0, 8.0]}

    class Given(Hashed):
        def encode(self, texts: Iterable[str], **_: Any) -> Embeddings:
            made = np.array([vectors[text] for text in texts])
            return Embeddings("given", np.ones(len(made), np.int64), dense=made)

    rows = [{"sentence1": "甲", "sentence2": "乙", "label": 1}, {"sentence1": "丙", "sentence2": "丁", "label": 0}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Task(name="对", type="PairClassification", layout="table", files={"file": "a.jsonl"}, folder=tmp_path)
    result = evaluate(Given(), task)
    assert (result.scores["cosine_ap"], result.scores["euclidean_ap"], result.main) == (0.5, 1.0, 1.0)
    assert result.per_item == pytest.approx({"0": -2.0, "1": -12.0}), "manhattan, the first of the best"
    assert result.similarities == pytest.approx({"0": 0.0, "1": 0.6})
    assert np.isfinite(score_of(result).low), "the items give the score, so it has an interval"
    assert Result.read(result.write(tmp_path / "results")) == result
