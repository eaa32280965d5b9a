"""Makes qianru-zh-mini again from the data: the same texts and seed give the same file, bit for bit, on a CPU.

    python recipes/zh-mini/make.py DATA FOLDER [--steps N]

Derives the pairs (derive.py), trains as train.toml says on one thread, and compares the table's SHA-256 with the one in
sha256.txt. Needs the extras torch and dev (jieba's dictionary says how frequent words are at large).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from qianru.train import DataConfig, TrainConfig, train  # noqa: E402
from qianru.train.toml import from_mapping, read_toml  # noqa: E402

NAME = "qianru-zh-mini"
FILES = ("model.safetensors", "tokenizer.json")


def main(given: Sequence[str] | None = None) -> None:
    """Derives, trains, compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, help="fewer than the recipe has, to try")
    chosen = parser.parse_args(given)
    sets = chosen.folder / "sets"
    if not (sets / "contamination.json").is_file():
        subprocess.run([sys.executable, str(HERE / "derive.py"), str(chosen.data), str(sets)], check=True)
    config = recipe(sets, chosen.folder / NAME)
    if chosen.steps:
        config = replace(config, steps=chosen.steps)
    made = train(config, resume=(chosen.folder / NAME / "run").exists(),
                 on_step=lambda step: print(f"{step.step}/{step.n_steps} {step.loss:.4f}", flush=True)
                 if step.step % 50 == 0 else None)
    digests = "".join(f"{sha256((made.folder / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES)
    print(digests, end="")
    said = (HERE / "sha256.txt").read_text("utf-8")
    print("The same as what the package holds." if digests == said else f"Not what the package holds:\n{said}", end="")


def recipe(sets: Path, output: Path) -> TrainConfig:
    """train.toml with the places of the sets and of jieba's dictionary filled in."""
    values: dict[str, Any] = read_toml(HERE / "train.toml")
    weights = values.pop("weights")
    jieba = find_spec("jieba")
    if jieba is None or jieba.origin is None:
        raise SystemExit("jieba's dictionary is needed. Install it with: pip install 'qianru[dev]'")
    values["static"]["word_list"] = str(Path(jieba.origin).parent / "dict.txt")
    config = from_mapping(TrainConfig, values | {"output": str(output), "data": [{"path": "?"}]}, "train.toml")
    return replace(config, data=tuple(DataConfig(str(sets / f"{name}.jsonl"), weight=weight)
                                      for name, weight in weights.items()))


if __name__ == "__main__":
    main()
