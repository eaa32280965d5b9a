"""Results on disk: ours come back as they were, and mteb reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qianru.errors import BadFile, BadInput
from qianru.evaluate.result import Result, read_results

RESULT = Result(
    task="STSB", task_type="STS", model="BAAI/bge-m3", fingerprint="1f0c9a7be2d4" * 5, main_score="cosine_spearman",
    scores={"cosine_spearman": 0.5, "cosine_pearson": 0.25}, revision="abc", kinds=("dense", "sparse"),
    per_item={"0": 0.75, "1": -0.5}, gold={"0": 4.0, "1": 1.0}, texts={"0": ("甲", "乙"), "1": ("丙", "丁")},
    repeats=({"cosine_spearman": 0.5},), n_texts=4, n_truncated=1, prompts={"query": "检索："}, seconds=1.5,
    versions={"qianru": "0.1.0"},
)


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = RESULT.write(tmp_path)
    assert path == tmp_path / "BAAI__bge-m3" / "1f0c9a7be2d4-dense-sparse" / "STSB.json"
    assert read_results(tmp_path) == [RESULT]


def test_the_file_has_the_layout_of_mteb(tmp_path: Path) -> None:
    said = json.loads(RESULT.write(tmp_path).read_text())
    (entry,) = said["scores"]["test"]
    assert (said["task_name"], said["dataset_revision"], said["evaluation_time"]) == ("STSB", "abc", 1.5)
    assert entry["main_score"] == entry["cosine_spearman"] == 0.5
    assert (entry["hf_subset"], entry["languages"]) == ("default", ["cmn-Hans"])
    assert entry["scores_per_experiment"] == [{"cosine_spearman": 0.5}]
    meta = tmp_path / "BAAI__bge-m3" / "1f0c9a7be2d4-dense-sparse" / "model_meta.json"
    assert json.loads(meta.read_text())["name"] == "BAAI/bge-m3"


def test_a_file_of_mteb_itself_is_read_without_items(tmp_path: Path) -> None:
    path = tmp_path / "bge-m3" / "rev" / "STSB.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({
        "task_name": "STSB", "dataset_revision": "abc", "mteb_version": "2.1.0", "evaluation_time": 3.0,
        "scores": {"test": [{"main_score": 0.4, "cosine_spearman": 0.4, "hf_subset": "default",
                             "languages": ["cmn-Hans"]}]},
    }))
    (read,) = read_results(tmp_path)
    assert (read.model, read.main, dict(read.per_item), read.languages) == ("bge-m3", 0.4, {}, ("zh",))


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(BadInput, match="no finite number"):
        replace(RESULT, scores={"cosine_spearman": float("nan")})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"task_name": "x", "scores": {}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(BadFile, match=r"x\.json"):
        read_results(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no folder of results"):
        read_results(tmp_path / "none")


def test_half_a_file_of_items_is_an_error(tmp_path: Path) -> None:
    path = RESULT.write(tmp_path)
    items = path.with_name("STSB.items.jsonl.gz")
    items.write_bytes(items.read_bytes()[:-12])
    with pytest.raises(BadFile, match=r"STSB\.items"):
        Result.read(path)
