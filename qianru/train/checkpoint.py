"""The state of a training on the disk: whole or not there, so that a kill or a full disk costs only what came after it.

    checkpoints/step-00000120/
      weights.safetensors     parameters by name, also averaged ones
      optimizer.safetensors   AdamW's two moments of each; the state of the random numbers
      state.json              step, the sampler's counters, what the loop remembers, what all of it belongs to
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from qianru.errors import BadFile, StorageFailed
from qianru.models.files import sync
from qianru.models.json_file import JsonFile

NAME = re.compile(r"step-(\d{8,})")
KEEP = 2   # the last good one and the one before it
State = dict[str, Any]
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """weights and optimizer by name; state as JSON can say it."""

    weights: Tensors
    optimizer: Tensors
    state: State


def write_checkpoint(home: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Writes a folder beside the older ones, then removes all but the last few.

    Raises StorageFailed, naming the last good one, if the disk does not take it.
    """
    new = home / f".new-{step:08d}"
    final = home / f"step-{step:08d}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        for left in home.glob(".new-*"):
            shutil.rmtree(left)
        new.mkdir()
        write_tensors(new / "weights.safetensors", checkpoint.weights)
        write_tensors(new / "optimizer.safetensors", checkpoint.optimizer)
        write_json(new / "state.json", checkpoint.state)
        sync(new)
        if final.exists():
            shutil.rmtree(final)      # of a run that was resumed before it
        new.rename(final)
        sync(home)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        last = latest(home)
        kept = f"The last good one is {last}; make room and resume from it." if last else "There is none before it."
        raise StorageFailed(f"The checkpoint of step {step} could not be written: {error.strerror or error}. "
                            f"{kept}") from error
    for old in _all(home)[:-KEEP]:
        shutil.rmtree(old)
    return final


def latest(home: Path) -> Path | None:
    """The newest whole one."""
    found = _all(home)
    return found[-1] if found else None


def read_checkpoint(folder: Path) -> Checkpoint:
    """BadFile if a file is missing or damaged."""
    return Checkpoint(read_tensors(folder / "weights.safetensors"), read_tensors(folder / "optimizer.safetensors"),
                      dict(JsonFile.read(folder / "state.json").values))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One safetensors file, on the disk when this returns; OSError if it cannot be."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(held, path, {"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path.name}: {error}") from error
    path.chmod(0o644)      # safetensors lets nobody else read what it writes
    sync(path)


def read_tensors(path: Path) -> Tensors:
    """All of a file; BadFile if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{path} is not a whole safetensors file: {error}. Remove its folder; the one before it is then "
                      "resumed from.") from error


def write_json(path: Path, value: object) -> None:
    """Indented, on the disk when this returns."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """In place of what stands there, at once."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _all(home: Path) -> list[Path]:
    return sorted(path for path in home.glob("step-*") if NAME.fullmatch(path.name)) if home.is_dir() else []
