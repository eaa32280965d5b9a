"""Thin matrices beside fixed weights: nothing changes at first, and what is saved is a plain model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from decoder_checkpoints import tiny_decoder  # noqa: E402
from loss_inputs import POEMS  # noqa: E402

import qianru  # noqa: E402
from qianru.errors import BadInput  # noqa: E402
from qianru.runtime.linear import Linear  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig, train  # noqa: E402
from qianru.train.lora import Adapted, LoraConfig  # noqa: E402
from qianru.train.start import load_trainable  # noqa: E402

EXACT = Runtime(precision="float32", threads=1)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setattr("qianru.train.record.draw_curves", lambda log, path: False)
    rows = [{"query": text, "pos": [text[::-1]]} for text in POEMS]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return TrainConfig(str(tiny_decoder(tmp_path / "decoder")), str(tmp_path / "out"),
                       (DataConfig(str(tmp_path / "pairs.jsonl")),), LossConfig(temperature=0.1),
                       OptimizerConfig(lr=1e-2), lora=LoraConfig(rank=4), batch_size=8, steps=3, threads=1)


def test_before_the_first_step_an_adapted_model_is_the_model(config: TrainConfig) -> None:
    adapted, plain = load_trainable(config), load_trainable(replace(config, lora=None))
    assert any(isinstance(module, Adapted) for module in adapted.network.modules())
    np.testing.assert_array_equal(adapted.encode(POEMS).dense, plain.encode(POEMS).dense)


def test_the_gradients_are_those_of_the_sum_of_weights() -> None:
    """W + s B A = V:  dB = s dV A',  dA = s B' dV."""
    torch.manual_seed(1)
    linear = Linear(torch.randn(5, 7), torch.randn(5), "gelu")
    adapted = Adapted(linear, LoraConfig(2, 6.0), torch.Generator())
    torch.nn.init.normal_(adapted.second)
    x, up = torch.randn(4, 7), torch.randn(4, 5)
    adapted(x).backward(up)
    whole = Linear(adapted.weight.detach(), linear.bias.detach(), "gelu")
    whole(x).backward(up)
    torch.testing.assert_close(adapted(x), whole(x))
    torch.testing.assert_close(adapted.second.grad, 3 * whole.weight.grad @ adapted.first.T)
    torch.testing.assert_close(adapted.first.grad, 3 * adapted.second.T @ whole.weight.grad)
    assert adapted.fixed.grad is None


def test_what_is_saved_is_the_sum_and_resumes_bit_for_bit(config: TrainConfig, tmp_path: Path) -> None:
    whole: Any = qianru.load(train(replace(config, output=str(tmp_path / "whole"))).folder, EXACT)

    def stop(step: Any) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(config, save_every=1), on_step=stop)
    resumed: Any = qianru.load(train(config, resume=True).folder, EXACT)
    start = qianru.load(config.model, EXACT).encode(POEMS).dense
    assert np.abs(whole.encode(POEMS).dense - start).max() > 1e-3
    np.testing.assert_array_equal(whole.encode(POEMS).dense, resumed.encode(POEMS).dense)
    tensors, before = (model.network.named_tensors() for model in (whole, qianru.load(config.model, EXACT)))
    assert tensors.keys() == before.keys()


def test_a_share_of_the_beginning_is_mixed_into_the_result(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, lora=None)
    ends = [load_trainable(replace(config, model=str(train(replace(
        config, output=str(tmp_path / name), start_share=share)).folder))).network.state_dict()
        for name, share in (("full", 0.0), ("half", 0.5))]
    start = load_trainable(config).network.state_dict()
    for name, tensor in ends[1].items():
        torch.testing.assert_close(tensor, (start[name] + ends[0][name]) / 2)
    with pytest.raises(BadInput, match="start_share lies between 0 and 1"):
        replace(config, start_share=1.0)
