"""From a training's configuration to a static table that learns, and from it to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qianru.errors import BadInput, StorageFailed
from qianru.models.files import sync
from qianru.models.static import StaticModel, is_static
from qianru.train.checkpoint import write_text
from qianru.train.config import RUN, TrainConfig
from qianru.train.data.sets import DataSet
from qianru.train.processes import Processes
from qianru.train.start import CARD, source_folder
from qianru.train.static import NEW, StaticLearner, learner_of, new_learner

BATCH_SIZE = 1024    # negatives cost little where a text is a sum
LR = 5e-3            # a row is touched in few of the steps


def load_static(config: TrainConfig, sets: Sequence[DataSet], processes: Processes) -> StaticLearner | None:
    """The table that the configuration begins with, a new one for the model "static"; None for other models.

    Raises BadInput for settings that a table has no use for.
    """
    model = None
    if config.model != NEW or Path(config.model).is_dir():
        folder = source_folder(config.model)
        own = (folder / CARD).exists()
        if own:
            from qianru.models.files import read_folder

            own = read_folder(folder).family == StaticModel.family
        if not own and ((folder / CARD).exists() or not is_static(folder)):
            return None
        model = StaticModel.load(folder)
    for name, unfit in (("pretrain", config.pretrain), ("lora", config.lora), ("add_heads", config.add_heads),
                        ("start_share", config.start_share), ("layer_checkpoints", config.layer_checkpoints),
                        ("max_tokens", config.max_tokens), ('device = "cuda"', config.device == "cuda"),
                        ('precision = "bfloat16"', config.precision == "bfloat16"),
                        ("several processes", processes.size > 1)):
        if unfit:
            raise BadInput(f"A static table is trained without {name}: it has rows and nothing else, and learns on one "
                           "CPU. Leave it out.")
    if model is not None and config.static is not None:
        raise BadInput(f"[static] says what a new table is like; {config.model} is one already. Leave [static] out, or "
                       f"begin with model = \"{NEW}\".")
    return new_learner(config, sets) if model is None else learner_of(model, config)


def with_usual(config: TrainConfig, sets: Sequence[DataSet]) -> TrainConfig:
    """The configuration with batch size and learning rate of static tables where none is given."""
    smallest = min(len(data) for data in sets)
    return replace(config, batch_size=config.batch_size or min(BATCH_SIZE, smallest), device="cpu",
                   optimizer=replace(config.optimizer, lr=config.optimizer.lr or LR))


def publish_static(learner: StaticLearner, folder: Path, card: str) -> None:
    """Writes the model beside its run, in place of an older one; StorageFailed if the disk does not take it."""
    new = folder / ".new"
    try:
        shutil.rmtree(new, ignore_errors=True)
        learner.model().save(new)
        write_text(new / "README.md", card)
        for path in sorted(new.iterdir()):
            path.replace(folder / path.name)
        new.rmdir()
        sync(folder)
    except OSError as error:
        if isinstance(error, StorageFailed):
            raise
        raise StorageFailed(f"The model could not be written to {folder}: {error.strerror or error}. Its weights are "
                            f"in the last checkpoint in {folder / RUN}; make room and resume.") from error
