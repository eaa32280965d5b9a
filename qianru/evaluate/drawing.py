"""Small pictures as SVG, for a page that needs nothing from elsewhere: intervals on a common scale, and histograms.

They hold no text but numbers of ours; colours are classes of the page's style sheet, which knows day and night.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qianru.evaluate.resampling import Estimate
from qianru.types import FloatArray

WIDTH, HEIGHT = 260, 22           # of an interval
PLOT_WIDTH, PLOT_HEIGHT = 560, 190
MARGIN = 8
N_BINS = 50


def scale_of(estimates: Sequence[Estimate], *, zero: bool = False) -> tuple[float, float]:
    """The ends of a scale that holds all intervals, a little wider; with zero inside if so asked."""
    ends = [end for one in estimates for end in one if math.isfinite(end)] + ([0.0] if zero else [])
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    space = (high - low) * 0.05 or 0.01
    return low - space, high + space


def interval(estimate: Estimate, scale: tuple[float, float], style: str = "", *, zero: bool = False) -> str:
    """A point with its interval, on that scale; a line at zero if so asked."""
    low, high = scale
    middle = HEIGHT / 2

    def at(value: float) -> float:
        return MARGIN + (value - low) / (high - low) * (WIDTH - 2 * MARGIN)

    parts = [f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="0" y2="{HEIGHT}"/>'] if zero else []
    if math.isfinite(estimate.low):
        parts.append(f'<line class="span {style}" x1="{at(estimate.low):.1f}" x2="{at(estimate.high):.1f}" '
                     f'y1="{middle}" y2="{middle}"/>')
    parts.append(f'<circle class="dot {style}" cx="{at(estimate.value):.1f}" cy="{middle}" r="4"/>')
    return svg(WIDTH, HEIGHT, parts)


def axis(scale: tuple[float, float]) -> str:
    """The numbers below a column of intervals, in points."""
    low, high = scale
    parts = []
    for tick in ticks(low * 100, high * 100, 4):
        x = MARGIN + (tick / 100 - low) / (high - low) * (WIDTH - 2 * MARGIN)
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="4"/>'
                     f'<text class="tick" x="{x:.1f}" y="16" text-anchor="middle">{tick:g}</text>')
    return svg(WIDTH, HEIGHT, parts)


def histogram(apart: FloatArray, together: FloatArray, threshold: Estimate | None = None) -> str:
    """How similarities are spread, of pairs that do not belong together and of those that do, drawn equally high."""
    both = np.concatenate([apart, together])
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    if high - low < 1e-6:
        low, high = low - 0.01, high + 0.01
    base, top = PLOT_HEIGHT - 22, 6
    edges = np.linspace(low, high, N_BINS + 1)

    def at(value: float) -> float:
        return MARGIN + (value - low) / (high - low) * (PLOT_WIDTH - 2 * MARGIN)

    parts = []
    for values, style in ((apart, "apart"), (together, "together")):
        if not len(values):
            continue
        heights = np.histogram(values, edges)[0] / len(values)
        peak = heights.max() or 1
        steps = [f"M{at(low):.1f},{base}"]
        for i, height in enumerate(heights.tolist()):
            y = base - height / peak * (base - top)
            steps.append(f"L{at(edges[i]):.1f},{y:.1f}L{at(edges[i + 1]):.1f},{y:.1f}")
        parts.append(f'<path class="{style}" d="{"".join(steps)}L{at(high):.1f},{base}Z"/>')
    if threshold is not None and math.isfinite(threshold.low):
        left, right = at(max(low, threshold.low)), at(min(high, threshold.high))
        parts.append(f'<rect class="around" x="{left:.1f}" width="{max(1.0, right - left):.1f}" y="0" '
                     f'height="{base}"/>')
        x = at(threshold.value)
        parts.append(f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{base}"/>')
    parts.append(f'<line class="tick" x1="{MARGIN}" x2="{PLOT_WIDTH - MARGIN}" y1="{base}" y2="{base}"/>')
    for tick in ticks(low, high, 6):
        parts.append(f'<text class="tick" x="{at(tick):.1f}" y="{PLOT_HEIGHT - 6}" text-anchor="middle">{tick:g}'
                     "</text>")
    return svg(PLOT_WIDTH, PLOT_HEIGHT, parts)


def ticks(low: float, high: float, n: int) -> list[float]:
    """At most n + 1 round numbers between low and high.

    >>> ticks(-1.3, 4.2, 4), ticks(0.62, 0.97, 4)
    ([0.0, 2.0, 4.0], [0.7, 0.8, 0.9])
    """
    rough = (high - low) / n
    step = 10.0 ** math.floor(math.log10(rough))
    step = next(step * factor for factor in (1, 2, 5, 10) if step * factor >= rough)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def svg(width: int, height: int, parts: Sequence[str]) -> str:
    """The parts as one picture of that size, in pixels."""
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'
