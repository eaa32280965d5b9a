"""qianru train, qianru pretrain, qianru mine, qianru merge."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from .conftest import Qianru

WORDS = "床前明月光疑是地上霜举头望低思故乡"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model and pairs in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qianru.train.record.draw_curves", lambda log, path: False)
    sys.path.append(str(Path(__file__).parent.parent / "models"))
    from checkpoints import tiny

    tiny(tmp_path / "tiny")
    rows = [{"query": WORDS[i : i + 3], "pos": WORDS[i : i + 5]} for i in range(12)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return tmp_path


def test_a_model_is_trained_on_pairs_and_judged_on_others(qianru: Qianru, here: Path) -> None:
    done = qianru("train", "tiny", "pairs.jsonl", "-o", "mine", "--dev", "pairs.jsonl", "--steps", "4", "--batch-size",
                  "4", "--lr", "0.001", "--nested", "32,8", "--temperature", "0.05")
    assert done.code == 0
    assert done.out.startswith("4 steps, the best at step")
    assert done.out.endswith("saved to mine\n")
    assert "step 4/4: loss " in done.err
    assert "nested_dims = [32, 8]" in Path("mine/run/config.toml").read_text("utf-8")
    assert qianru("similarity", "-m", "mine", "床前明月", "低头思故乡").code == 0


def test_a_training_is_steered_by_tasks_as_evaluate_scores_them(qianru: Qianru, here: Path) -> None:
    Path("诗.toml").write_text('type = "Retrieval"\nfiles = { file = "pairs.jsonl" }\n'
                              'columns = { query = "query", document = "pos" }\n')
    done = qianru("train", "tiny", "pairs.jsonl", "-o", "mine", "--task", "诗.toml", "--steps", "2")
    assert done.code == 0
    lines = [json.loads(line) for line in Path("mine/run/log.jsonl").read_text("utf-8").splitlines()]
    best = max(line["scores"]["诗"] for line in lines if "scores" in line)
    (after,) = qianru("evaluate", "mine", "--task", "诗.toml", "--cache", "0", "--json").json()
    assert after["score"] == pytest.approx(best)
    both = qianru("train", "tiny", "pairs.jsonl", "-o", "two", "--task", "诗.toml", "--dev", "pairs.jsonl")
    assert "Leave out --dev or --task" in both.err


def test_a_training_is_begun_from_a_file_of_settings_and_resumed(qianru: Qianru, here: Path) -> None:
    Path("config.toml").write_text('model = "tiny"\noutput = "mine"\nsteps = 2\nbatch_size = 4\n'
                                   '[[data]]\npath = "pairs.jsonl"\n')
    assert qianru("train", "config.toml", "--json").json() == {"path": "mine", "steps": 2, "best": None, "best_step": 2}
    again = qianru("train", "config.toml")
    assert (again.code, "Resume it, or choose another folder" in again.err) == (1, True)
    assert qianru("train", "config.toml", "--resume").code == 0


def test_wrong_use_says_what_is_needed(qianru: Qianru, here: Path) -> None:
    assert "Name a model, files of examples and -o FOLDER" in qianru("train", "tiny", "pairs.jsonl").err
    assert "no ranked loss 'infonce'. Did you mean 'info_nce'" in qianru(
        "train", "tiny", "pairs.jsonl", "-o", "mine", "--loss", "infonce").err
    assert "There is no model folder 'nowhere'" in qianru("train", "nowhere", "pairs.jsonl", "-o", "mine").err


def test_negatives_are_mined_and_can_be_trained_on(qianru: Qianru, here: Path) -> None:
    done = qianru("mine", "pairs.jsonl", "-m", "tiny", "-o", "mined.jsonl", "--ranks", "1-12", "-n", "2",
                  "--margin", "0.01", "--cross-check", "bm25")
    assert done.code == 0
    assert "negatives for 12 queries, saved to mined.jsonl" in done.out
    assert "known to be right" in done.out
    rows = [json.loads(line) for line in Path("mined.jsonl").read_text("utf-8").splitlines()]
    assert any(row["neg"] for row in rows)
    assert all(not set(row["pos"]) & set(row["neg"]) for row in rows)
    assert qianru("train", "tiny", "mined.jsonl", "-o", "mine", "--steps", "1", "--batch-size", "4").code == 0


def test_a_window_without_negatives_says_why(qianru: Qianru, here: Path) -> None:
    done = qianru("mine", "pairs.jsonl", "-m", "tiny", "-o", "mined.jsonl", "--ranks", "0-2", "--margin", "0.99")
    assert "12 queries have fewer than 7" in done.out
    assert "To have more, take ranks 2-12" in done.out or "Take a wider window" in done.out


def test_a_model_and_its_beginning_are_merged(qianru: Qianru, here: Path) -> None:
    qianru("train", "tiny", "pairs.jsonl", "-o", "mine", "--steps", "2", "--batch-size", "4")
    done = qianru("merge", "mine", "tiny", "-o", "merged", "--weights", "3,1")
    assert done.out == "2 models merged; saved to merged\n"
    assert qianru("similarity", "-m", "merged", "床前明月", "低头思故乡").code == 0
    assert "'a' is no number" in qianru("merge", "mine", "tiny", "-o", "other", "--weights", "a,1").err


def test_a_report_of_mining_as_json(qianru: Qianru, here: Path) -> None:
    report = qianru("mine", "pairs.jsonl", "-m", "tiny", "-o", "mined.jsonl", "--ranks", "0-5", "--json").json()
    assert report["n_queries"] == 12
    assert report["n_candidates"] == 60


def test_a_new_model_is_pre_trained_and_then_trained(qianru: Qianru, here: Path) -> None:
    done = qianru("pretrain", "new:1x64", "pairs.jsonl", "-o", "base", "--vocab", "tiny/vocab.txt", "--steps", "2",
                  "--batch-size", "4", "--task", "dupmae")
    assert done.code == 0
    assert done.out == "2 steps; saved to base\n"
    assert "[pretrain]\ntask = \"dupmae\"" in Path("base/run/config.toml").read_text("utf-8")
    assert qianru("train", "base", "pairs.jsonl", "-o", "mine", "--steps", "1", "--batch-size", "4").code == 0


def test_a_new_model_asks_for_its_vocabulary(qianru: Qianru, here: Path) -> None:
    assert "A new model needs a vocabulary" in qianru("pretrain", "new:1x64", "pairs.jsonl", "-o", "base").err
