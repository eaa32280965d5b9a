"""A heat map of similarities whose Chinese labels render on a machine without any Chinese font."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from unicodedata import east_asian_width

import numpy as np

from qianru.errors import BadInput, ShapeMismatch, StorageFailed, require
from qianru.types import FloatArray

FONT_FILE = Path(__file__).parents[1] / "data" / "fonts" / "QianruFallback.ttf"
FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
LABEL_WIDTH = 28           # columns of a terminal; a Chinese character takes two
SIDE = 14.4                # inches of the longer side at most, so that the pixels stay bounded
LABELS_AT_MOST = 120       # rows or columns; a larger map has no room for words
VALUES_FROM = 0.4          # inches of a cell; in smaller ones numbers would touch
REPLACEMENT = "□"


def heat_map(
    matrix: FloatArray, rows: Sequence[str], columns: Sequence[str], path: str | Path, title: str = ""
) -> None:
    """Draws the (n, m) matrix to a .png, .svg or .pdf file, with the names of its rows and columns at the edges.

    Numbers stand in the cells of a small map; long names are cut in the middle; cells that are not a number stay blank.
    The file appears whole or not at all. Raises BadInput for another suffix, ShapeMismatch for a wrong number of names.
    """
    path = picture_path(path)
    values = np.asarray(matrix, np.float64)
    if values.ndim != 2 or values.shape != (len(rows), len(columns)):
        named = f"{len(rows)} rows and {len(columns)} columns"
        raise ShapeMismatch(f"A matrix of shape {values.shape} does not fit {named}.")
    if values.size == 0:
        raise BadInput("There is nothing to draw: the matrix is empty.")
    figure = _drawn(values, [_label(row) for row in rows], [_label(column) for column in columns], drawable(title))
    save_figure(figure, path)


def picture_path(path: str | Path, *, page: bool = False) -> Path:
    """The path, if a picture can be drawn there: what is asked before the work that it shall show.

    page: whether a page (.html) will do as well
    Raises BadInput for another suffix, MissingExtra for a picture without matplotlib.
    """
    path, able = Path(path), (*FORMATS, *([".html"] if page else []))
    if path.suffix.lower() not in able:
        raise BadInput(f"Cannot draw to '{path.name}'. Give a name that ends in {', '.join(able)}.")
    if path.suffix.lower() in FORMATS:
        require("matplotlib", "plot", "Drawing a picture")
    return path


def shorten(label: str, width: int = LABEL_WIDTH) -> str:
    """The label on one line, cut in the middle when it is wider than that many terminal columns.

    >>> shorten("孙悟空大闹天宫", 10), shorten("two\\nlines")
    ('孙悟…天宫', 'two lines')
    """
    label = " ".join(label.split())
    if sum(map(_columns, label)) <= width:
        return label
    half = (width - 1) // 2
    return _head(label, half) + "…" + _head(label[::-1], half)[::-1]


def _head(text: str, width: int) -> str:
    used = 0
    for i, char in enumerate(text):
        used += _columns(char)
        if used > width:
            return text[:i]
    return text


def _columns(char: str) -> int:
    return 2 if east_asian_width(char) in "WF" else 1


@cache
def families() -> list[str]:
    """The font families to draw with: matplotlib's own, then ours for what it lacks."""
    from matplotlib.font_manager import FontProperties, fontManager

    fontManager.addfont(str(FONT_FILE))
    return ["DejaVu Sans", FontProperties(fname=str(FONT_FILE)).get_name()]


@cache
def _known_characters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = [findfont(FontProperties(family=[name])) for name in families()]
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


def drawable(text: str) -> str:
    """The text with a box for each character that no font has: matplotlib would warn on stderr, glyph by glyph."""
    known = _known_characters()
    return "".join(char if ord(char) in known else REPLACEMENT for char in text)


def _label(name: str) -> str:
    return drawable(shorten(name)) or " "


def _drawn(values: FloatArray, rows: list[str], columns: list[str], title: str) -> Any:
    """The finished figure; its size follows the number of cells."""
    from matplotlib.figure import Figure  # not pyplot: it keeps global state and may want a screen

    n, m = values.shape
    cell = min(SIDE / max(n, m), 0.75)                     # inches
    size = float(np.clip(cell * 40, 5, 10))                # points; rows of slanted labels must not touch
    width, height = max(m * cell, 0.3), max(n * cell, 0.3)
    figure = Figure(figsize=(width, height), dpi=150)      # what lies outside is added when it is saved
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = _limits(values)
    image = axes.imshow(values, cmap="YlGnBu", aspect="auto", interpolation="nearest", vmin=low, vmax=high)
    named: dict[str, Any] = {"family": families(), "size": size, "parse_math": False}   # $5 is no formula
    axes.set_xticks([])
    axes.set_yticks([])
    if max(n, m) <= LABELS_AT_MOST:
        axes.set_xticks(range(m), columns, rotation=45, ha="right", rotation_mode="anchor", **named)
        axes.set_yticks(range(n), rows, **named)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, family=families(), size=11, parse_math=False)
    if cell >= VALUES_FROM:
        _write_values(axes, values, image, min(cell * 18, 9))
    bar = figure.colorbar(image, cax=axes.inset_axes((1 + 0.2 / width, 0, 0.14 / width, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    return figure


def _limits(values: FloatArray) -> tuple[float, float]:
    """The ends of the colour scale: 0 to 1 where that fits, so that two maps of cosines compare by eye."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if low >= 0 and high <= 1 + 1e-9:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def _write_values(axes: Any, values: FloatArray, image: Any, size: float) -> None:
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = "white" if image.norm(value) > 0.55 else "black"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, size=size)


def save_figure(figure: Any, path: Path) -> None:
    """Saves beside the target and moves it there: a reader never sees half a picture. Folders on the way are made."""
    from matplotlib import rc_context

    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as temporary, rc_context(
            {"svg.hashsalt": "qianru", "pdf.fonttype": 42}       # the same picture from the same numbers; real text
        ):
            kind = FORMATS[path.suffix.lower()]
            dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
            figure.savefig(temporary, format=kind, metadata=dated, bbox_inches="tight", pad_inches=0.15)
        Path(temporary.name).chmod(0o666 & ~_umask())
        Path(temporary.name).replace(path)
    except OSError as error:
        raise StorageFailed(f"Cannot write '{path}': {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            Path(temporary.name).unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
