"""Training: examples in, a better model out.

    from qianru.train import DataConfig, TrainConfig, train
    train(TrainConfig("m3e-base", "mine", (DataConfig("pairs.jsonl"),)))

    data/          files -> batches of texts
    vectors.py     texts -> vectors with gradients;  similarity.py  -> similarities
    losses/        similarities -> one number;  objective.py  which one a batch gets
    gradients.py   the gradient of a batch in one pass or two;  optimizer.py  what it moves, and when
    stage.py       these as what a step computes;  pretraining/  another: tokens guessed in texts alone
    loop.py        steps again and again, with checkpoints;  start.py, publish.py  what it begins and ends with
    merging.py     the mean of several models' weights
    mine.py        hard negatives, mined.py what it came to;  heldout.py  scores on held-out examples
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qianru.train.api import Trained, train
    from qianru.train.config import TrainConfig
    from qianru.train.data.sets import DataConfig
    from qianru.train.merging import merge
    from qianru.train.objective import LossConfig
    from qianru.train.optimizer import OptimizerConfig

__all__ = ["DataConfig", "LossConfig", "OptimizerConfig", "TrainConfig", "Trained", "merge", "train"]
_HOMES = {"DataConfig": "data.sets", "LossConfig": "objective", "OptimizerConfig": "optimizer",
          "TrainConfig": "config", "Trained": "api", "merge": "merging", "train": "api"}


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are wanted: torch is not needed to import this."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
