"""What two processes do together; the test runs it as process 0 and starts process 1, which runs this file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loss_inputs import POEMS

from qianru.models.transformer import Transformer
from qianru.runtime.options import Runtime
from qianru.train import TrainConfig, train
from qianru.train.data.batches import PlainBatch, ScoredBatch, rank
from qianru.train.data.examples import Ranked
from qianru.train.gradients import backward
from qianru.train.objective import LossConfig, loss_of, texts_of
from qianru.train.processes import ALONE, Processes
from qianru.train.vectors import Forward, tokenized

RANKED = rank([Ranked(POEMS[0], (POEMS[1],), (POEMS[4],)), Ranked(POEMS[2], (POEMS[3], POEMS[6])),
               Ranked(POEMS[5], (POEMS[7],), (POEMS[0],))], 1, np.random.default_rng(0))
CASES: dict[str, tuple[str, Any, LossConfig, int]] = {
    "in-batch negatives": ("tiny", RANKED, LossConfig(temperature=0.1), 1 << 20),
    "two passes": ("tiny", RANKED, LossConfig("four_directions", temperature=0.1, nested_dims=(32, 8)), 10),
    "scored pairs": ("tiny", ScoredBatch(POEMS[:4], POEMS[4:], np.array([0.0, 3, 1, 3])), LossConfig(), 1 << 20),
    "fewer texts than processes": ("tiny", PlainBatch(POEMS[:1]), LossConfig(temperature=0.1), 1 << 20),
    "three heads": ("m3", RANKED, LossConfig("three_heads", temperature=0.1), 1 << 20),
}
"""name -> model, batch, loss, tokens kept in memory"""
Gradients = dict[str, torch.Tensor]


def gradients(case: str, place: Path, processes: Processes = ALONE) -> tuple[float, Gradients]:
    """(loss, parameter -> gradient) of a case, the same in all processes."""
    name, batch, config, memory_tokens = CASES[case]
    model = Transformer.load(place / name, Runtime(precision="float32", threads=1), packed=False)
    forward = Forward(model.network, "cpu", model.tokenizer.special_ids(), heads=name == "m3")
    queries, documents = (tokenized(model, texts, "") for texts in texts_of(batch))
    loss = backward(forward, queries, documents, lambda q, d: loss_of(config, batch, q, d, 0),
                    memory_tokens=memory_tokens, processes=processes)
    processes.sum_gradients(model.network.parameters())
    return loss, {name: p.grad for name, p in model.network.named_parameters() if p.grad is not None}


class Stop(Exception):
    """The training is stopped here."""


def stopped(config: TrainConfig, at: int) -> None:
    """Trains until a step, as if all processes were killed behind it."""

    def stop(step: Any) -> None:
        if step.step == at:
            raise Stop

    try:
        train(config, on_step=stop, evaluate=judge)
    except Stop:
        return
    raise AssertionError("it should have stopped")


def judge(model: Any) -> Mapping[str, float]:
    """A score; only the first process asks for it."""
    return {"score": float(model.encode(POEMS[:2]).dense.sum())}


def together(number: int, place: Path) -> dict[str, tuple[float, Gradients]]:
    """All that the tests look at: gradients by case; trainings in place/whole, place/resumed and place/words."""
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=number, world_size=2,
                                   timeout=timedelta(seconds=60))
    processes = Processes.joined()
    made = {case: gradients(case, place, processes) for case in CASES}
    config = TrainConfig.read(place / "config.toml")
    train(replace(config, output=str(place / "plain"), dropout=0.0))
    train(replace(config, output=str(place / "whole")), evaluate=judge)
    stopped(replace(config, output=str(place / "resumed")), 3)
    torch.rand(number + 1)
    train(replace(config, output=str(place / "resumed")), resume=True, evaluate=judge)
    train(TrainConfig.read(place / "words.toml"))
    distributed.destroy_process_group()
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    together(1, Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(0)     # torch has aborted twice in some ten runs while the interpreter was torn down behind all this
