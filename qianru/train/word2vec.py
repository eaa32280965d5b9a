"""word2vec by gensim from the texts of a training's sets, with the configuration and run folder of any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.errors import BadInput
from qianru.models.word2vec import Word2Vec
from qianru.train.checkpoint import write_json, write_text
from qianru.train.config import RUN, TrainConfig
from qianru.train.data.sets import DataSet
from qianru.train.data.texts import texts_in
from qianru.train.record import Log
from qianru.train.word2vec_config import Word2VecConfig

if TYPE_CHECKING:
    from qianru.train.loop import Evaluate

NEW = "word2vec"       # in place of a model


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came out: passes over the texts, and the score after the last, None without an evaluation."""

    epochs: int
    score: float | None


def is_word2vec(config: TrainConfig) -> bool:
    """Whether word vectors are to be learnt, and not a folder of that name trained further."""
    return config.model == NEW and not Path(NEW).is_dir()


def train_word2vec(config: TrainConfig, sets: Sequence[DataSet], evaluate: Evaluate | None, resume: bool) -> Learnt:
    """Learns from all texts of the sets and writes model, configuration, fingerprints and log.

    Raises BadInput for settings that word2vec has no use for: losses, steps, heads, another device.
    """
    for name, unfit in (("--resume", resume), ("pretrain", config.pretrain), ("static", config.static),
                        ("lora", config.lora), ("add_heads", config.add_heads), ("steps", config.steps),
                        ("start_share", config.start_share), ('device = "cuda"', config.device == "cuda")):
        if unfit:
            raise BadInput(f"word2vec learns by gensim, in one go over the texts, without {name}. Leave it out.")
    how = config.word2vec or Word2VecConfig()
    model = Word2Vec(how.dim, window=how.window, min_count=how.min_count, sg=how.sg, negative=how.negative,
                     epochs=how.epochs, seed=config.seed, workers=config.threads or 1).fit(texts_in(sets))
    output = Path(config.output)
    run = output / RUN
    model.save(output)
    run.mkdir(exist_ok=True)
    write_text(run / "config.toml", config.toml())
    write_json(run / "data.json", {data.config.path: data.fingerprint for data in sets})
    score = None
    if evaluate is not None:
        scores = dict(evaluate(model))
        Log(run / "log.jsonl").write(step=how.epochs, scores=scores)
        score = float(scores[config.metric or next(iter(scores))])
    return Learnt(how.epochs, score)
