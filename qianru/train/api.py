"""Train a model: from a configuration, or from a model, a file and a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qianru.errors import BadInput, require

if TYPE_CHECKING:
    from qianru.models.transformer import Transformer
    from qianru.train.config import TrainConfig
    from qianru.train.data.sets import DataSet
    from qianru.train.loop import Evaluate, Step
    from qianru.train.processes import Processes
    from qianru.train.stage import Stage
    from qianru.train.static import StaticLearner

FREE = ("output", "save_every", "evaluate_every", "patience", "metric", "threads")
"""Settings that may differ when a training is resumed: they do not change what a step does."""


PRETRAIN_LR = 1e-4   # RetroMAE's
LORA_LR = 10         # times that of full training: 1e-4 for a decoder, as E5-Mistral (Wang et al. 2023) has it


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out. best: score of the best evaluation and best_step: its step; None and the last without one"""

    folder: Path
    steps: int
    best: float | None
    best_step: int


def train(
    config: TrainConfig, *, evaluate: Evaluate | None = None, resume: bool = False,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Trained:
    """Trains as configured and writes the model to config.output, the run beside it in config.output/run.

    evaluate: the model -> its scores by name, larger is better; called before the first step, now and then, and after
        the last; the weights of the best score are what is written
    on_step: called after each step, in every process
    resume: go on from the last checkpoint of that run, to the same weights as if it had never stopped
    Raises BadInput if a run stands there and resume is not said, TrainingFailed if the loss is no number or grows,
    StorageFailed if the disk is full. Under torchrun every process calls this; batch_size is that of all together.
    """
    require("torch", "torch", "Training")
    import torch

    from qianru.models.transformer import Transformer
    from qianru.train.card import write_card
    from qianru.train.checkpoint import write_json, write_text
    from qianru.train.config import RUN
    from qianru.train.data.sets import DataSet
    from qianru.train.heldout import hold_out
    from qianru.train.loop import Loop
    from qianru.train.processes import Processes
    from qianru.train.publish import publish
    from qianru.train.record import draw_curves
    from qianru.train.stage import EmbedStage
    from qianru.train.start import load_trainable, mix_in_start, prepare, source_folder
    from qianru.train.static_files import load_static, publish_static, with_usual
    from qianru.train.word2vec import is_word2vec, train_word2vec

    output = Path(config.output)
    run = output / RUN
    processes = Processes.joined()
    if processes.first:
        _check_place(output, run, resume)
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        sets = [DataSet(data) for data in config.data]
        if config.hold_out and evaluate is None:
            sets, evaluate = hold_out(sets, config.hold_out)
        if is_word2vec(config):
            learnt = train_word2vec(config, sets, evaluate, resume)
            return Trained(output, learnt.epochs, learnt.score, learnt.epochs)
        model = load_static(config, sets, processes) or load_trainable(config)
        if isinstance(model, Transformer):
            config = settled(config, model.network.backbone.config.hidden_size, model.device.name, sets)
            prepare(model.network, dropout=config.dropout or 0.0, layer_checkpoints=config.layer_checkpoints)
        else:
            config = settled(with_usual(config, sets), model.network.dim, model.device.name, sets)
        fingerprints = {data.config.path: data.fingerprint for data in sets}
        belongs = {**_fixed(config), "data": fingerprints, "weights": model.spec.fingerprint,
                   "processes": processes.size}
        stage = _stage(config, model, sets, processes)
        if isinstance(stage, EmbedStage) and stage.distiller:
            belongs["teacher"] = stage.distiller.teacher.fingerprint
        loop = Loop(config, stage, model, sets, run, belongs, evaluate=evaluate, on_step=on_step, processes=processes)
        if not (resume and loop.resume()) and processes.first:
            run.mkdir(parents=True, exist_ok=True)
            loop.log.cut(-1)       # of a run that was killed before its first checkpoint
            write_text(run / "config.toml", config.toml())
            write_json(run / "data.json", fingerprints)
        memory = loop.go()
        if isinstance(model, Transformer):
            mix_in_start(model.network, config)
        if processes.first:
            draw_curves(loop.log, run / "curves.png")
            card = write_card(config, model, sets, memory, loop.log)
            if isinstance(model, Transformer):
                publish(model, output, source_folder(config.model), card)
            else:
                publish_static(model, output, card)
        processes.said_by_first(True)      # nobody leaves before the model is written
    finally:
        torch.set_num_threads(before)
    return Trained(output, memory.step, memory.best, memory.best_step if memory.best is not None else memory.step)


def _stage(
    config: TrainConfig, model: Transformer | StaticLearner, sets: Sequence[DataSet], processes: Processes
) -> Stage:
    from qianru.train.pretraining.stage import PretrainStage
    from qianru.train.stage import EmbedStage
    from qianru.train.static import StaticLearner, StaticStage

    if config.distil and (config.pretrain or isinstance(model, StaticLearner)):
        raise BadInput("A teacher's vectors are imitated by transformers that learn from pairs or plain texts. Leave "
                       "distil out.")
    if isinstance(model, StaticLearner):
        return StaticStage(config, model, sets)
    if config.pretrain is None:
        return EmbedStage(config, model, sets, processes)
    half = config.precision == "bfloat16"
    return PretrainStage(config.pretrain, model, sets, config.seed, bfloat16=half, processes=processes)


def settled(config: TrainConfig, hidden_size: int, device: str, sets: Sequence[DataSet]) -> TrainConfig:
    """The configuration with everything chosen that was left open: by the model's width, the device and the data."""
    from qianru.train.config import usual_batch_size
    from qianru.train.data.sampler import Sampler
    from qianru.train.optimizer import usual_lr

    plain = config.pretrain is None and config.distil is None and any(data.task == "plain" for data in sets)
    if plain and config.dropout == 0:
        raise BadInput("Plain texts are told apart from themselves by dropout alone (SimCSE). Use dropout = 0.1.")
    smallest = min(len(data) for data in sets)
    batch_size = config.batch_size or min(usual_batch_size(hidden_size), smallest)
    if smallest < 2:
        raise BadInput("A data set of one example has no negatives in its batch. Add examples, or leave it out.")
    passes = Sampler([len(data) for data in sets], batch_size, 0).batches_per_pass
    usual = PRETRAIN_LR if config.pretrain else usual_lr(hidden_size) * (LORA_LR if config.lora else 1)
    multiplies = "bfloat16" if device == "cuda" else "float32"
    return replace(
        config, batch_size=batch_size,
        steps=config.steps or max(round(passes * config.epochs / config.accumulate), 1),
        dropout=(0.1 if plain else 0.0) if config.dropout is None else config.dropout,
        optimizer=replace(config.optimizer, lr=config.optimizer.lr or usual),
        precision=multiplies if config.precision == "auto" else config.precision,   # type: ignore[arg-type]
        device=device,   # type: ignore[arg-type]
    )


def _fixed(config: TrainConfig) -> dict[str, Any]:
    """What must be the same when a training is resumed, by name."""
    from dataclasses import asdict

    return {name: _plain(value) for name, value in asdict(config).items() if name not in (*FREE, "data")}


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _check_place(output: Path, run: Path, resume: bool) -> None:
    if run.exists() and any(run.iterdir()) and not resume:
        raise BadInput(f"{run} holds a training already. Resume it, or choose another folder.")
    if not run.exists() and output.exists() and any(output.iterdir()):
        raise BadInput(f"{output} is not empty and holds no training. Choose another folder.")
