"""Everything that a training depends on, frozen, as TOML if wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from qianru.errors import BadInput
from qianru.train.data.sets import DataConfig
from qianru.train.distil import DistilConfig
from qianru.train.lora import LoraConfig
from qianru.train.objective import LossConfig
from qianru.train.optimizer import OptimizerConfig
from qianru.train.pretraining.config import PretrainConfig
from qianru.train.static_config import StaticConfig
from qianru.train.toml import from_mapping, read_toml, to_toml
from qianru.train.word2vec_config import Word2VecConfig

RUN = "run"   # the folder inside the output that holds config, log, curves and checkpoints


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What to train, on what, and how.

    model: to begin with: a folder or the name of a downloaded model, "static" for a new table of token vectors,
        "word2vec" for word vectors of the texts by gensim;  output: folder of the trained model
    data: sets; a batch comes from one of them
    pretrain: guess hidden tokens of the texts, in place of the loss
    static, word2vec: what a new static table, new word vectors are like
    distil: imitate a teacher's vectors, beside the loss or, with plain texts, alone
    lora: train thin matrices beside the layers' fixed weights; the result holds their sum
    start_share: of the weights that it began with, mixed into the result: less is forgotten
        (LM-Cocktail, Xiao et al. 2023)
    hold_out: share of each set's rows that is judged by instead of learnt from, where no evaluation is given
    batch_size: examples; None for what the model's size allows;  accumulate: batches of one step
    epochs: passes over all sets together;  steps: in their place, None for as many as the epochs need
    n_negatives: of each row's hard negatives, drawn anew each time
    sampling_temperature: 1 draws sets in proportion to their sizes, more makes them more alike
    like_length: batches of texts of about one length. The packed forward has no need of it; harder negatives, if any
    max_tokens: cut texts after so many; None for the model's own limit
    dropout: share of numbers set to 0 behind each layer's two products; None for 0, and 0.1 if there are plain texts
    add_heads: give the model BGE-M3's sparse and multi heads, drawn at random, to be trained
    precision: "bfloat16" multiplies in it and keeps weights in float32; "auto" on a GPU only
    memory_tokens: activations of so many tokens are kept; larger batches take two passes (GradCache)
    layer_checkpoints: compute each layer again for its gradient: less memory, a third more time
    evaluate_every, save_every: steps; None for ten times in all
    metric: of the evaluation, larger is better; None for its first;  patience: evaluations without gain before stopping
    """

    model: str
    output: str
    data: tuple[DataConfig, ...]
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    pretrain: PretrainConfig | None = None
    static: StaticConfig | None = None
    word2vec: Word2VecConfig | None = None
    distil: DistilConfig | None = None
    lora: LoraConfig | None = None
    start_share: float = 0.0
    hold_out: float = 0.0
    batch_size: int | None = None
    accumulate: int = 1
    epochs: float = 1.0
    steps: int | None = None
    n_negatives: int = 7
    sampling_temperature: float = 1.0
    like_length: bool = False
    max_tokens: int | None = None
    dropout: float | None = None
    add_heads: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    memory_tokens: int = 16384
    layer_checkpoints: bool = False
    seed: int = 42
    evaluate_every: int | None = None
    save_every: int | None = None
    metric: str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise BadInput("There is nothing to train on: name at least one set in data.")
        for name, least in (("batch_size", 2), ("accumulate", 1), ("steps", 1), ("n_negatives", 0),
                            ("memory_tokens", 1), ("evaluate_every", 1), ("save_every", 1), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadInput(f"{name} must be at least {least}; it is {value}.")
        if not 0 <= self.start_share < 1 or (self.start_share and (self.lora or self.pretrain)):
            raise BadInput(f"start_share lies between 0 and 1, for full training on pairs; it is {self.start_share}.")
        if not 0 <= self.hold_out < 1:
            raise BadInput(f"hold_out is a share from 0 to 1; it is {self.hold_out}.")
        if not self.epochs > 0 or not 0 <= (self.dropout or 0) < 1:
            raise BadInput(f"epochs must be above 0 and dropout below 1; they are {self.epochs} and {self.dropout}.")

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """What a TOML file says; UnknownName for a setting that there is not, with a "did you mean"."""
        return from_mapping(cls, read_toml(path), str(path))

    def toml(self) -> str:
        """As TOML that `read` takes."""
        return to_toml(self)


def usual_batch_size(hidden_size: int) -> int:
    """By the model's width; two passes keep it in memory.

    >>> usual_batch_size(384), usual_batch_size(768), usual_batch_size(1024)
    (128, 64, 32)
    """
    return next((n for size, n in ((512, 128), (768, 64), (1024, 32)) if hidden_size <= size), 16)
