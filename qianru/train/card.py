"""The model card: what the model was made of, how good it got, how to make it again."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from qianru import __version__
from qianru.models.base import Model
from qianru.train.config import TrainConfig
from qianru.train.data.sets import DataSet
from qianru.train.loop import Memory
from qianru.train.record import Log


def write_card(config: TrainConfig, model: Model, sets: Sequence[DataSet], memory: Memory, log: Log) -> str:
    """README.md with the front matter that hubs read."""
    kinds = ", ".join(model.spec.kinds)
    longest = "texts of any length" if model.spec.max_tokens is None else f"at most {model.spec.max_tokens} tokens"
    lines = log.read()
    judged = [line for line in lines if "scores" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    data = "\n".join(f"| {one.config.path} | {one.task} | {len(one):,} | `{one.fingerprint[:16]}` |" for one in sets)
    scores = _scores(judged, memory) if judged else "No evaluation was given.\n"
    tail = losses[-min(len(losses), 50):]
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
base_model: {config.model}
tags: [sentence-transformers, sentence-similarity, feature-extraction, qianru]
---

# {model.spec.name}, trained further

{model.spec.dim} dimensions, {longest}, makes {kinds} vectors.

    import qianru
    vectors = qianru.load("{config.output}").encode(["床前明月光", "疑是地上霜"], role="document").dense

    from sentence_transformers import SentenceTransformer
    vectors = SentenceTransformer("{config.output}").encode_document(["床前明月光", "疑是地上霜"])

## Data

| file | task | examples | SHA-256 |
|---|---|---:|---|
{data}

## Result

{scores}
{memory.step} steps of {config.batch_size} examples x {config.accumulate}; mean loss of the last {len(tail)} steps
{sum(tail) / max(len(tail), 1):.4f}. Every step is in run/log.jsonl, the curves in run/curves.png.

## Made again

    qianru train run/config.toml

with qianru {__version__}, torch {version("torch")}, Python {platform.python_version()} on {platform.machine()}. On the
same machine with the same number of threads, float32 training on a CPU gives the same weights bit for bit.

```toml
{config.toml()}```
"""


def _scores(judged: Sequence[dict[str, Any]], memory: Memory) -> str:
    before, step = judged[0]["scores"], memory.best_step
    after = next((line["scores"] for line in judged if line["step"] == step), judged[-1]["scores"])
    rows = "\n".join(f"| {name} | {before[name]:.4f} | {score:.4f} |" for name, score in after.items())
    return f"| score | before | after (step {step}) |\n|---|---:|---:|\n{rows}\n"
