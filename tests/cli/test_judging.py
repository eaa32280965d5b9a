"""qianru compare: what it prints, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qianru.evaluate.result import Result

pytest.importorskip("scipy", reason="the extra evaluate is not installed")

QUERIES = ["床前明月光的下一句是什么", "谁写了将进酒", "花呗怎么还款", "What is late interaction?"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two models on two tasks of 400 queries, the first ten points better on one of them."""
    generator = np.random.default_rng(0)
    for task in ("古诗检索", "问答"):
        base = generator.random(400) * 0.8
        for model, values in (("bge-base-zh-v1.5", base + (0.1 if task == "问答" else 0)), ("旧模型", base)):
            Result(
                task=task, task_type="Retrieval", model=model, fingerprint=f"{len(model):012d}",
                main_score="ndcg_at_10", scores={"ndcg_at_10": float(values.mean())}, n_texts=900,
                n_truncated=90 if model == "旧模型" else 0,
                per_item={f"q{i}": float(value) for i, value in enumerate(values)},
                texts={f"q{i}": (QUERIES[i % 4] + str(i // 4),) for i in range(400)},
            ).write(tmp_path / "results")
    return tmp_path / "results"


def test_a_table_tells_the_difference_its_interval_and_what_to_beware_of(
    qianru: Callable[..., Any], results: Path
) -> None:
    done = qianru("compare", "bge-base-zh-v1.5", "旧模型", "--results", str(results))
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[:4] == ["task", "score", "bge-base-zh-v1.5", "旧模型"]
    better = next(line for line in lines if line.startswith("问答"))
    assert "+10.00" in better
    assert "400/0/0" in better
    assert better.rstrip().endswith("better")
    assert next(line for line in lines if line.startswith("古诗检索")).rstrip().endswith("not shown")
    assert lines[-1].startswith("mean")
    assert "warning: 旧模型 on 问答: 10% of the texts were too long and were cut" in done.err
    assert "warning: bge-base-zh-v1.5 on 问答: queries had no prompt" in done.err
    assert "texts that were cut: 0.0% in bge-base-zh-v1.5, 10.0% in 旧模型" in done.err


def test_json_holds_the_same_and_the_items_that_one_wins(qianru: Callable[..., Any], results: Path) -> None:
    done = qianru("compare", str(results), "--json", "--show", "2", "--task", "问答")
    said = done.json()
    (found,) = said["comparisons"]
    assert (found["a"], found["b"]) == ("bge-base-zh-v1.5", "旧模型")
    assert {row["task"]: row["verdict"] for row in found["rows"]} == {"古诗检索": "not shown", "问答": "better"}
    assert found["mean"]["wins"] == 1
    won, lost = said["wins"][0]["问答"]
    assert len(won) == 2
    assert lost == []
    assert won[0]["texts"][0][:4] in "".join(QUERIES)


def test_training_data_that_holds_the_test_is_told(
    qianru: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text('{"query": "床前明月光的下一句是什么7?", "pos": ["疑是地上霜"]}\n', "utf-8")
    done = qianru("compare", str(results), "--train", str(train))
    assert "warning: 问答: of its 400 texts 1 stand in the training data as they are" in done.err
    assert f"{train}, row 1" in done.err
    clean = tmp_path / "clean.txt"
    clean.write_text("别的话\n", "utf-8")
    said = qianru("compare", str(results), "--train", str(clean), "--json").json()["contamination"]
    assert said["问答"]["n_overlapping"] == 0


def test_a_name_without_results_gets_a_hint(qianru: Callable[..., Any], results: Path) -> None:
    done = qianru("compare", "bge-base-zh", "旧模型", "--results", str(results))
    assert done.code == 1
    assert "Did you mean 'bge-base-zh-v1.5'?" in done.err
    assert qianru("compare", "旧模型", "--results", str(results)).code == 1


def test_a_report_is_a_table_and_a_page(qianru: Callable[..., Any], results: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    done = qianru("report", str(results), "-o", str(target))
    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["task", "score", "bge-base-zh-v1.5", "旧模型"]
    assert "±" in done.out
    assert "旧模型" in target.read_text("utf-8")
    said = qianru("report", str(results), "--json").json()
    assert [row["task"] for row in said["scores"]] == ["古诗检索", "问答"]
    assert qianru("report", str(results), "--model", "lsa").code == 1


def test_a_report_draws_the_map_of_a_task(
    qianru: Callable[..., Any], results: Path, tmp_path: Path, data: Path
) -> None:
    vectors = data / "vectors" / "tencent_char_4762x200.npz"
    (tmp_path / "texts.jsonl").write_text("".join(
        f'{{"text": "{poem}{i}", "label": "{poem[:2]}"}}\n' for i in range(9) for poem in ("床前明月光", "红豆生南国")
    ), "utf-8")
    (tmp_path / "诗.toml").write_text('type = "Clustering"\n[files]\nfile = "texts.jsonl"\n', "utf-8")
    target = tmp_path / "report.html"
    done = qianru("report", str(results), "-o", str(target), "-m", str(vectors), "--task", str(tmp_path / "诗.toml"))
    assert done.code == 0, done.err
    assert "诗 as word2vec sees it" in target.read_text("utf-8")
