"""The task type Answering: whether the sentence that holds the answer is inside of what is packed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qianru.errors import BadFile, SpecMismatch
from qianru.evaluate.answering import answer, read_answers
from qianru.evaluate.encode import Encoder
from qianru.evaluate.fitting import fitted_on
from qianru.evaluate.places import Places
from qianru.evaluate.run import How, evaluate
from qianru.evaluate.task import Task, read_task

LAW = "设立居住权的，应当申请登记。居住权自登记时设立。居住权不得转让、继承。"


def squad(folder: Path, *paragraphs: tuple[str, list[dict[str, Any]]], layout: str = "squad") -> Task:
    said = {"data": [{"paragraphs": [{"context": text, "qas": qas} for text, qas in paragraphs]}]}
    (folder / "a.json").write_text(json.dumps(said), encoding="utf-8")
    return Task(name="x", type="Answering", layout=layout, files={"file": "a.json"}, folder=folder)


def asks(id: str, question: str, answer: str, start: int) -> dict[str, Any]:
    return {"id": id, "question": question, "answers": [{"text": answer, "answer_start": start}]}


def test_the_sentence_of_the_answer_is_what_counts(tmp_path: Path) -> None:
    task = squad(tmp_path, (LAW, [asks("q1", "居住权能转让吗？", "不得转让", LAW.index("不得")),
                                  asks("q2", "居住权何时设立？", "登记时", -1),          # counted wrongly: looked for
                                  asks("q3", "谁登记？", "登记机构", 3)]))             # not in the paragraph: left out
    data = read_answers(task, Places(None))
    assert data.answers == {"q1": "居住权不得转让、继承。", "q2": "居住权自登记时设立。"}
    assert data.qrels == {"q1": {"0#1": 1}, "q2": {"0#1": 1}}


def test_packed_sentences_hold_more_than_whole_passages(tmp_path: Path) -> None:
    others = [("此处所说的是别的事情，与居住权没有什么关系。" * 22 + f"其{i}。", []) for i in range(3)]
    task = squad(tmp_path, *others, (LAW, [asks("q1", "居住权能转让吗？", "不得转让", LAW.index("不得"))]))
    result = evaluate("counts", task, How())
    assert result.main_score == "packed_at_1000"
    assert set(result.scores) == {f"{how}_at_{n}" for how in ("packed", "whole", "cut") for n in (500, 1000, 2000)}
    assert result.per_item == {"q1": 1.0}
    assert result.scores["whole_at_500"] <= result.scores["packed_at_500"] == 1.0


def test_other_layouts_and_files_without_answers_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SpecMismatch, match='layout = "squad"'):
        read_answers(squad(tmp_path, layout="table"), Places(None))
    with pytest.raises(BadFile, match="no question whose answer"):
        read_answers(squad(tmp_path, (LAW, [asks("q", "谁？", "没有", 0)])), Places(None))


def test_packing_keeps_answers_that_whole_passages_lose_on_real_questions(data: Path) -> None:
    task = read_task(Path(__file__).parent.parent / "tasks" / "CMRC2018-answers.toml")
    found = read_answers(task, Places(data))
    few = list(found.queries)[::10]
    assert found.answers is not None
    sample = replace(found, queries={name: found.queries[name] for name in few})
    scores = answer(Encoder(fitted_on("bm25", found), ("sparse",)), sample, None, 1 << 30).scores
    assert scores["packed_at_500"] >= scores["whole_at_500"] + 0.01
    assert scores["packed_at_1000"] >= scores["whole_at_1000"]
