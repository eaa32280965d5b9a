"""What a training leaves to be read: its log, its curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qianru.errors import BadFile
from qianru.train.checkpoint import write_text


class Log:
    """One line of JSON for each step and each evaluation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **values: Any) -> None:
        """Adds a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def cut(self, step: int) -> None:
        """Forgets what came after a step: it is about to happen again. So does a last line that a kill cut short."""
        if self.path.is_file():
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.read() if line["step"] <= step))

    def read(self) -> list[dict[str, Any]]:
        """All lines; BadFile for one that is no JSON, unless it is the last."""
        lines = self.path.read_text("utf-8").splitlines() if self.path.is_file() else []
        found: list[dict[str, Any]] = []
        for i, line in enumerate(lines, 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                if i < len(lines):
                    raise BadFile(f"{self.path}:{i} is not JSON: {error}.") from error
        return found


def draw_curves(log: Log, path: Path) -> bool:
    """Draws loss, learning rate and scores over the steps; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    lines = log.read()
    steps = [line for line in lines if "loss" in line]
    judged = [line for line in lines if "scores" in line]
    figure = Figure(figsize=(8, 3 * (2 + bool(judged))), layout="constrained")
    axes = figure.subplots(2 + bool(judged), sharex=True)
    axes[0].plot([line["step"] for line in steps], [line["loss"] for line in steps], linewidth=0.5, alpha=0.5)
    axes[0].plot([line["step"] for line in steps], _smooth([line["loss"] for line in steps]))
    axes[0].set_ylabel("loss")
    axes[1].plot([line["step"] for line in steps], [line["lr"] for line in steps])
    axes[1].set_ylabel("learning rate")
    if judged:
        for name in judged[0]["scores"]:
            axes[2].plot([line["step"] for line in judged], [line["scores"].get(name) for line in judged], "o-",
                         label=name)
        axes[2].set_ylabel("score")
        axes[2].legend()
    axes[-1].set_xlabel("step")
    figure.savefig(path, dpi=100)
    return True


def _smooth(values: list[float]) -> list[float]:
    """Running means.

    >>> _smooth([1.0, 1.0, 0.0])[:2]
    [1.0, 1.0]
    """
    smooth: list[float] = []
    for value in values:
        smooth.append(value if not smooth else 0.9 * smooth[-1] + 0.1 * value)
    return smooth
