"""Two processes over gloo take the steps that one process would take with the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import tiny, write_bin, write_modules  # noqa: E402
from loss_inputs import POEMS  # noqa: E402
from two_processes import CASES, gradients, together  # noqa: E402

from qianru.errors import SpecMismatch  # noqa: E402
from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig, train  # noqa: E402
from qianru.train.pretraining.config import PretrainConfig  # noqa: E402

HERE = Path(__file__).parent


def lay_out(place: Path) -> TrainConfig:
    """The models, pairs and settings of both processes."""
    tiny(place / "tiny", hidden_dropout_prob=0.1)
    folder, rng = tiny(place / "m3"), np.random.default_rng(4)
    for name, n_out in (("sparse_linear", 1), ("colbert_linear", 16)):
        write_bin(folder / f"{name}.pt", {"weight": rng.standard_normal((n_out, 32), np.float32) / 4,
                                          "bias": rng.standard_normal(n_out, np.float32) / 4})
    write_modules(folder, "Transformer", "Pooling", "Normalize", pooling="cls", size=32)
    rows = [{"query": text, "pos": [text[::-1]], "neg": [POEMS[i - 3]]} for i, text in enumerate(POEMS)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    config = TrainConfig(str(place / "tiny"), str(place / "-"), (DataConfig(str(place / "pairs.jsonl")),),
                         LossConfig(temperature=0.1), OptimizerConfig(lr=1e-3), batch_size=6, steps=5, save_every=2,
                         evaluate_every=3, threads=1, n_negatives=1, dropout=0.1)
    (place / "config.toml").write_text(config.toml(), "utf-8")
    words = replace(config, output=str(place / "words"), pretrain=PretrainConfig("dupmae"), steps=3, dropout=0.0)
    (place / "words.toml").write_text(words.toml(), "utf-8")
    return config


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def config(place: Path) -> TrainConfig:
    return lay_out(place)


@pytest.fixture(scope="module")
def made(place: Path, config: TrainConfig) -> Any:
    """What process 0 had, after both have come to their end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qianru.train.record.draw_curves", lambda log, path: False)
        paths = os.pathsep.join([str(HERE), str(HERE.parent.parent), *filter(None, sys.path)])
        other = subprocess.Popen([sys.executable, str(HERE / "two_processes.py"), str(place)],
                                 env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)
        try:
            made = together(0, place)
            _, errors = other.communicate(timeout=60)
        finally:
            other.kill()
    assert other.returncode == 0, errors
    return made


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_the_gradients_of_two_processes_are_those_of_one(case: str, made: Any, place: Path) -> None:
    loss, expected = gradients(case, place)
    assert made[case][0] == pytest.approx(loss, abs=1e-5)
    assert made[case][1].keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(made[case][1][name], gradient, rtol=1e-4, atol=1e-5,
                                   msg=lambda m, n=name: f"{n}: {m}")


def test_a_training_of_two_processes_is_that_of_one(
    made: Any, place: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qianru.train.record.draw_curves", lambda log, path: False)
    train(replace(config, output=str(place / "one"), dropout=0.0))
    np.testing.assert_allclose(losses(place / "plain"), losses(place / "one"), rtol=1e-4)
    train(replace(TrainConfig.read(place / "words.toml"), output=str(place / "one-words")))
    np.testing.assert_allclose(losses(place / "words"), losses(place / "one-words"), rtol=1e-4)


def test_two_resumed_processes_are_the_uninterrupted_ones_bit_for_bit(made: Any, place: Path) -> None:
    assert losses(place / "whole") == losses(place / "resumed")
    whole, resumed = weights(place / "whole"), weights(place / "resumed")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_another_number_of_processes_is_not_resumed(made: Any, place: Path, config: TrainConfig) -> None:
    with pytest.raises(SpecMismatch, match="was made with processes = 2; now it is 1"):
        train(replace(config, output=str(place / "whole")), resume=True)
