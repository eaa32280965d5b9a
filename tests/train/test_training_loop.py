"""A training from start to end: it learns, it stops where it should, it goes on exactly where it was killed."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from loss_inputs import POEMS  # noqa: E402

import qianru  # noqa: E402
from qianru.errors import BadFile, BadInput, SpecMismatch, StorageFailed, TrainingFailed, UnknownName  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig, train  # noqa: E402
from qianru.train.checkpoint import latest  # noqa: E402

WORDS = "床前明月光疑是地上霜举头望低思故乡我爱吃蔬菜"
EXACT = Runtime(precision="float32", threads=1)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """64 pairs: a text and the same letters turned round, with a negative that shares some of them."""
    rng, rows = np.random.default_rng(3), []
    for _ in range(64):
        text = "".join(rng.choice(list(WORDS), rng.integers(4, 12)))
        other = "".join(rng.choice(list(WORDS), 5)) + text[:2]
        rows.append({"query": text, "pos": [text[::-1] + "月"], "neg": [other]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(autouse=True)
def no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes longer than all the rest."""
    if "curves" not in request.node.name:
        monkeypatch.setattr("qianru.train.record.draw_curves", lambda log, path: False)


@pytest.fixture
def config(folder: Path, pairs: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(str(folder), str(tmp_path / "out"), (DataConfig(str(pairs)),), LossConfig(temperature=0.05),
                       OptimizerConfig(lr=1e-3), batch_size=8, steps=6, save_every=2, threads=1, n_negatives=1)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 1 + sum("loss" in x for x in lines)))
    return [line["loss"] for line in lines if "loss" in line]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


# --- it learns


def test_training_lowers_the_loss_and_leaves_a_model_that_loads(config: TrainConfig) -> None:
    made = train(replace(config, steps=20, save_every=20))
    falling = losses(made.folder)
    assert np.mean(falling[-5:]) < 0.8 * np.mean(falling[:5])
    assert qianru.load(made.folder, EXACT).encode(POEMS).dense.shape == (8, 32)


def test_the_model_is_not_changed_in_the_folder_that_it_came_from(config: TrainConfig) -> None:
    before = (Path(config.model) / "model.safetensors").read_bytes()
    train(config)
    assert (Path(config.model) / "model.safetensors").read_bytes() == before


def test_a_run_folder_says_all_that_is_needed_to_do_it_again(config: TrainConfig, tmp_path: Path) -> None:
    first = train(config).folder
    again = TrainConfig.read(first / "run" / "config.toml")
    assert_equal_runs(first, train(replace(again, output=str(tmp_path / "again"))).folder)
    assert json.loads((first / "run" / "data.json").read_text()).keys() == {config.data[0].path}
    card = (first / "README.md").read_text("utf-8")
    assert "qianru train run/config.toml" in card
    assert "| ranked | 64 |" in card


def test_curves_of_loss_rate_and_scores_are_drawn(config: TrainConfig) -> None:
    pytest.importorskip("matplotlib")
    made = train(replace(config, steps=2, evaluate_every=1), evaluate=Falling())
    assert (made.folder / "run" / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_accumulated_batches_are_steps_of_their_mean(config: TrainConfig) -> None:
    made = train(replace(config, steps=2, accumulate=2))
    assert len(losses(made.folder)) == 2


@pytest.mark.parametrize("options", [
    {"precision": "bfloat16"}, {"memory_tokens": 40},
    {"optimizer": OptimizerConfig(lr=1e-3, layer_decay=0.8, schedule="cosine", ema=0.9)},
    {"loss": LossConfig("four_directions", nested_dims=(32, 8))},
    {"add_heads": True, "loss": LossConfig("three_heads")},
], ids=str)
def test_every_option_trains(options: dict[str, Any], config: TrainConfig) -> None:
    made = train(replace(config, steps=2, **options))
    assert all(np.isfinite(losses(made.folder)))
    kinds = ("dense", "sparse", "multi") if "add_heads" in options else ("dense",)
    assert qianru.load(made.folder, EXACT).spec.kinds == kinds


def test_layers_computed_twice_take_the_same_steps(config: TrainConfig, tmp_path: Path) -> None:
    plain = train(replace(config, steps=2, dropout=0.2)).folder
    twice = train(replace(config, steps=2, dropout=0.2, layer_checkpoints=True, output=str(tmp_path / "b"))).folder
    np.testing.assert_allclose(losses(plain), losses(twice), rtol=1e-6)


def test_texts_alone_train_by_dropout(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(POEMS) + "\n", "utf-8")
    plain = replace(config, data=(DataConfig(str(tmp_path / "texts.csv")),), steps=2, batch_size=4)
    assert all(loss > 0 for loss in losses(train(plain).folder))
    with pytest.raises(BadInput, match="dropout alone"):
        train(replace(plain, dropout=0.0, output=str(tmp_path / "none")))


# --- evaluation


class Falling:
    """Scores that rise for two evaluations and then fall."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, model: Any) -> Mapping[str, float]:
        torch.rand(3)      # an evaluation may draw
        assert model.encode(["床前"]).dense.shape == (1, 32)
        self.seen.append(model.spec.fingerprint)
        return {"ndcg": [0.1, 0.5, 0.4, 0.3, 0.2][min(len(self.seen) - 1, 4)], "n": len(self.seen)}


def test_the_best_weights_are_kept_and_patience_ends_the_training(config: TrainConfig) -> None:
    judge = Falling()
    made = train(replace(config, steps=8, evaluate_every=2, patience=2), evaluate=judge)
    assert (made.best, made.best_step, made.steps) == (0.5, 2, 6)
    assert len(set(judge.seen)) == 4
    assert "| ndcg | 0.1000 | 0.5000 |" in (made.folder / "README.md").read_text()


def test_an_evaluation_does_not_change_the_training(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, dropout=0.1)
    plain = train(config)
    judged = train(replace(config, output=str(tmp_path / "b"), evaluate_every=2), evaluate=Falling())
    assert losses(plain.folder) == losses(judged.folder)


def test_an_unknown_metric_is_told(config: TrainConfig) -> None:
    with pytest.raises(UnknownName, match=r"no metric 'ndgc' in the evaluation. Did you mean 'ndcg'"):
        train(replace(config, metric="ndgc"), evaluate=Falling())


# --- exact resume


class Stop(Exception):
    pass


@pytest.mark.parametrize("options", [
    pytest.param({}, marks=pytest.mark.slow),
    {"dropout": 0.1, "accumulate": 2, "memory_tokens": 40, "like_length": True},
    {"optimizer": OptimizerConfig(lr=1e-3, ema=0.9)},
], ids=["plain", "dropout, two passes", "averaged"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    options: dict[str, Any], config: TrainConfig, tmp_path: Path
) -> None:
    config = replace(config, steps=5, **options)
    whole = train(replace(config, output=str(tmp_path / "whole"))).folder

    def stop(step: Any) -> None:
        if step.step == 3:
            raise Stop

    with pytest.raises(Stop):
        train(config, on_step=stop)
    torch.rand(5)
    assert_equal_runs(whole, train(config, resume=True).folder)


SCRIPT = """
import sys, time
from pathlib import Path
from qianru.train import TrainConfig, train
config = TrainConfig.read(Path(sys.argv[1]))
train(config, resume=True, on_step=lambda step: (print(step.step, flush=True), time.sleep(0.01)))
"""


def started(toml: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(toml)], stdout=subprocess.PIPE, text=True, **options)


def killed_often(config: TrainConfig, tmp_path: Path, n_kills: int) -> None:
    """Kills a training n times, each time after some more steps, and lets it end."""
    whole = train(replace(config, output=str(tmp_path / "whole"))).folder
    toml = tmp_path / "config.toml"
    toml.write_text(config.toml(), "utf-8")
    rng = np.random.default_rng(1)
    for _ in range(n_kills):
        process = started(toml)
        assert process.stdout
        for _ in range(int(rng.integers(1, config.save_every + 3))):
            if not process.stdout.readline():
                break
        time.sleep(float(rng.uniform(0, 0.02)))
        process.kill()
        process.stdout.close()
        process.wait()
    train(config, resume=True)
    assert_equal_runs(whole, Path(config.output))


def test_a_run_killed_and_resumed_is_the_uninterrupted_one_bit_for_bit(config: TrainConfig, tmp_path: Path) -> None:
    killed_often(replace(config, dropout=0.1), tmp_path, 1)


@pytest.mark.slow
def test_ten_kills_in_a_row_change_nothing(config: TrainConfig, tmp_path: Path) -> None:
    killed_often(replace(config, steps=40, save_every=3, dropout=0.1, accumulate=2), tmp_path, 10)


def test_other_settings_or_data_are_not_resumed(config: TrainConfig, pairs: Path) -> None:
    config = replace(config, steps=2)
    train(config)
    with pytest.raises(SpecMismatch, match="was made with batch_size = 8; now it is 4"):
        train(replace(config, batch_size=4), resume=True)
    with pairs.open("a", encoding="utf-8") as file:
        file.write('{"query": "床", "pos": ["前"]}\n')
    with pytest.raises(SpecMismatch, match="was made with data"):
        train(config, resume=True)


def test_a_run_is_not_begun_over_another(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, steps=1)
    train(config)
    with pytest.raises(BadInput, match="holds a training already"):
        train(config)
    with pytest.raises(BadInput, match="is not empty and holds no training"):
        train(replace(config, output=str(tmp_path)))


def test_a_damaged_checkpoint_is_told(config: TrainConfig) -> None:
    config = replace(config, steps=2)
    train(config)
    last = latest(Path(config.output) / "run" / "checkpoints")
    assert last
    os.truncate(last / "optimizer.safetensors", 100)
    with pytest.raises(BadFile, match=r"step-00000002/optimizer.safetensors is not a whole safetensors file"):
        train(config, resume=True)


def test_a_full_disk_leaves_the_last_checkpoint_and_says_so(config: TrainConfig, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the third checkpoint does not fit."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: Any) -> None:
        if step.step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))

    try:
        with pytest.raises(StorageFailed, match=r"step 6 could not be written: .*last good one is .*step-00000004"):
            train(config, on_step=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    whole = train(replace(config, output=str(tmp_path / "whole"))).folder
    assert_equal_runs(whole, train(config, resume=True).folder)


# --- when it goes wrong


def test_a_loss_that_is_no_number_stops_with_what_to_try(config: TrainConfig) -> None:
    with pytest.raises(TrainingFailed, match=r"Step \d+: the loss is .*Try a lower learning rate \(it is 1e\+30\)"):
        train(replace(config, optimizer=OptimizerConfig(lr=1e30, warmup=0.0)))


def test_a_growing_loss_stops_with_what_to_try(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collapsing model ends at the loss of a guess, so growth is played: it doubles with every step."""
    values = (2.0**i for i in range(99))
    monkeypatch.setattr("qianru.train.loop.SETTLED", 6)
    monkeypatch.setattr("qianru.train.stage.backward", lambda *args, **options: next(values))
    with pytest.raises(TrainingFailed, match=r"Step \d+: the loss has grown from .* to .*lower learning rate"):
        train(replace(config, steps=12))


def test_settings_that_there_are_not_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('model = "m"\noutput = "o"\nbatchsize = 3\n')
    with pytest.raises(UnknownName, match=r"no setting 'batchsize' in .*a.toml. Did you mean 'batch_size'"):
        TrainConfig.read(path)
    path.write_text('model = "m"\noutput = "o"\n[[data]]\npath = "x"\n[optimizer]\nlr = "fast"\n')
    with pytest.raises(BadInput, match="optimizer, lr must be float; it is 'fast'"):
        TrainConfig.read(path)
    path.write_text('model = "m"\noutput = "o"\n')
    with pytest.raises(BadInput, match="lacks the setting 'data'"):
        TrainConfig.read(path)


def test_a_configuration_survives_toml(config: TrainConfig, tmp_path: Path) -> None:
    first = DataConfig("甲.jsonl", {"query": "标 题", "positive": '摘"要'}, False, 2.5, "查：", "\\", "skip")
    full = replace(config, patience=3, like_length=True, loss=LossConfig(nested_dims=(64, 32), near_margin=0.1),
                   data=(first, DataConfig("b")))
    path = tmp_path / "a.toml"
    path.write_text(full.toml(), "utf-8")
    assert TrainConfig.read(path) == full


def test_nothing_is_logged_as_a_warning(config: TrainConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(replace(config, steps=2))
    assert not caplog.records
