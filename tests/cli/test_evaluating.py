"""qianru evaluate on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qianru.cli.app import run
from qianru.evaluate.result import read_results

POEMS = ["床前明月光，疑是地上霜", "春眠不觉晓，处处闻啼鸟", "白日依山尽，黄河入海流", "红豆生南国，春来发几枝"]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QIANRU_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("QIANRU_DATA", raising=False)
    lines = [json.dumps({"query": poem[:5], "document": poem}, ensure_ascii=False) for poem in POEMS]
    (tmp_path / "poems.jsonl").write_text("\n".join(lines))
    path = tmp_path / "诗.toml"
    path.write_text('type = "Retrieval"\nfiles = { file = "poems.jsonl" }\n')
    return path


def test_a_table_shows_every_model(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "bm25", "tfidf", "--task", str(task)]) == 0
    out = capsys.readouterr().out.split()
    assert out[:4] == ["task", "score", "bm25", "tfidf"]
    assert out[4:] == ["诗", "ndcg_at_10", "100.00*", "100.00*"]


def test_results_are_written_and_told_as_json(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "bm25", "--task", str(task.parent), "-o", str(tmp_path / "results"), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert (said["model"], said["task"], said["score"], said["kinds"]) == ("bm25", "诗", 1.0, ["sparse"])
    (written,) = read_results(tmp_path / "results")
    assert written.per_item == {"0": 1.0, "1": 1.0, "2": 1.0, "3": 1.0}


def test_a_report_is_written_beside_the_table(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "页.html"
    assert run(["evaluate", "bm25", "tfidf", "--task", str(task), "--report", str(page)]) == 0
    said = capsys.readouterr()
    assert "100.00*" in said.out
    assert str(page) in said.err
    text = page.read_text("utf-8")
    assert "诗" in text
    assert "tfidf" in text


def test_a_failure_is_told_and_the_rest_is_done(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = task.with_name("坏.toml")
    bad.write_text('type = "STS"\nfiles = { file = "gone.tsv" }\n')
    assert run(["evaluate", "bm25", "--task", str(bad), "--task", str(task)]) == 1
    said = capsys.readouterr()
    assert "error: bm25 on 坏: There is no gone.tsv" in said.err
    assert "100.00" in said.out


@pytest.mark.parametrize(("arguments", "wrong"), [
    (["bm25"], "Name a model and a task"),
    (["bm25", "--task", "T2Retreival"], "Did you mean 'T2Retrieval'"),
    (["bm25", "--task", "STSB", "--types", "sst"], "no type of task 'sst'"),
    (["bm25", "--task", "STSB", "--types", "Retrieval"], "None of the tasks"),
    (["bm25", "--task", "STSB", "--memory", "much"], "no size such as"),
    (["bm25", "--task", "STSB", "--weights", "1,2"], "as many kinds"),
])
def test_wrong_arguments_are_told(arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", *arguments]) == 1
    assert wrong in capsys.readouterr().err


def test_known_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--list", "--types", "clustering", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_kinds_that_a_model_lacks_are_told(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "bm25", "--task", str(task), "--kinds", "dense"]) == 1
    assert "bm25 makes sparse vectors" in capsys.readouterr().err


def test_a_download_needs_a_model_or_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["download"]) == 1
    assert "either a model or a task" in capsys.readouterr().err
    assert run(["download", "--task", "M3E-JDIphone", "--from", "modelscope"]) == 1
    assert "not known to be on modelscope" in capsys.readouterr().err
