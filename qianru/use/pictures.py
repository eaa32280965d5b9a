"""Pictures of texts on a map, and of how scores are spread; Chinese renders on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qianru.errors import BadInput, ShapeMismatch
from qianru.types import FloatArray, IntArray
from qianru.use.plot import drawable, families, picture_path, save_figure, shorten

NAMED_AT_MOST = 60          # groups; more names would cover the map
NAME_WIDTH = 22             # columns of a terminal
NAME_SIZE = np.array([0.13, 0.026])     # of the picture's width and height
COLOURS = ("#2867c4", "#d9730d", "#1b8a5a", "#c0392b", "#7d4fc4", "#8a5a36", "#c93f93", "#4f8f00", "#008b9c")
NONE = "#a9b1bb"
N_BINS = 50


def scatter(points: FloatArray, groups: IntArray, names: Sequence[str], path: str | Path, title: str = "") -> None:
    """Draws the (n, 2) points to a .png, .svg or .pdf file, each in its group's colour, each group with its name.

    groups: (n,) from 0, -1 for none;  names: of the groups
    The file appears whole or not at all. Raises BadInput for another suffix or no points.
    """
    path = picture_path(path)
    points, groups = np.asarray(points, np.float64), np.asarray(groups)
    if points.shape != (len(groups), 2):
        raise ShapeMismatch(f"Points of shape {points.shape} do not fit {len(groups)} groups one to one.")
    if not len(points):
        raise BadInput("There is nothing to draw: there are no points.")
    figure, axes = _axes(title, (10, 7.5))
    colours = np.array([COLOURS[g % len(COLOURS)] if g >= 0 else NONE for g in groups.tolist()])
    order = np.lexsort((np.arange(len(groups)), groups >= 0))             # those in no group lie below
    axes.scatter(points[order, 0], points[order, 1], s=max(3.0, min(18.0, 6000 / len(points))), c=colours[order],
                 alpha=0.6, linewidths=0)
    axes.set_axis_off()
    placed: list[FloatArray] = []
    for group in range(min(len(names), NAMED_AT_MOST)):
        mine = points[groups == group]
        if len(mine):
            x, y = _free(np.median(mine, axis=0), placed, np.ptp(points, axis=0))
            axes.text(x, y, drawable(shorten(names[group], NAME_WIDTH)), ha="center", va="center", size=8,
                      family=families(), parse_math=False,
                      bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.75})
    save_figure(figure, path)


def _free(place: FloatArray, placed: list[FloatArray], size: FloatArray) -> FloatArray:
    """The place, moved down until no name that stands already is in its way."""
    for _ in range(NAMED_AT_MOST):
        if not any((np.abs(place - other) < NAME_SIZE * size).all() for other in placed):
            break
        place = place - [0, NAME_SIZE[1] * size[1]]
    placed.append(place)
    return place


def histogram(
    values: FloatArray, path: str | Path, title: str = "", *, mark: float | None = None, x: str = "", y: str = ""
) -> None:
    """Draws how often values occur, with a line at the mark; x and y name the axes."""
    path = picture_path(path)
    if not len(values):
        raise BadInput("There is nothing to draw: there are no values.")
    figure, axes = _axes(title, (8, 4.5))
    axes.hist(np.asarray(values), bins=N_BINS, color=COLOURS[0])
    if mark is not None:
        axes.axvline(mark, color="black", linewidth=1.2)
    for named, said in ((axes.set_xlabel, x), (axes.set_ylabel, y)):
        named(drawable(said), family=families(), parse_math=False)
    save_figure(figure, path)


def _axes(title: str, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if title:
        axes.set_title(drawable(shorten(title, 90)), family=families(), size=11, parse_math=False)
    return figure, axes
