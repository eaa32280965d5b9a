"""A picture of a run under load: what every request waited, when it was due; and the share that waited no longer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qianru.errors import BadInput
from qianru.serve.load import Outcome
from qianru.use.plot import families, picture_path, save_figure

MARKED = (0.5, 0.9, 0.99)
MOST_POINTS = 20_000


def draw(outcome: Outcome, path: Path, title: str) -> None:
    """Draws the run to a .png, .svg or .pdf file. Raises BadInput for another suffix and for a run without answers."""
    picture_path(path)
    good = np.sort(outcome.answered_s) * 1e3
    if not len(good):
        raise BadInput("There is nothing to draw: no request was answered with 200.")
    from matplotlib.figure import Figure

    status = np.array(outcome.status)
    started, waited = np.array(outcome.started), np.array(outcome.seconds) * 1e3
    step = max(1, len(status) // MOST_POINTS)
    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    figure.suptitle(title, family=families(), parse_math=False)
    over_time, shares = figure.subplots(1, 2)
    for kind, colour, mask in (("200", "#2a6f97", status == 200), ("429", "#e09f3e", status == 429),
                               ("other", "#9e2a2b", (status != 200) & (status != 429))):
        if mask.any():
            over_time.plot(started[mask][::step], waited[mask][::step], ".", ms=3, alpha=0.5, color=colour, label=kind)
    over_time.set(xlabel="due after (s)", ylabel="latency (ms)", yscale="log")
    over_time.legend(loc="upper right", title="status")
    shares.plot(good, np.arange(1, len(good) + 1) / len(good), color="#2a6f97")
    for share in MARKED:
        value = float(np.quantile(good, share))
        shares.axhline(share, color="#bbbbbb", lw=0.6)
        shares.annotate(f"p{share * 100:g}: {value:.1f} ms", (value, share), xytext=(-6, 4),
                        textcoords="offset points", fontsize=8, ha="right")
    shares.set(xlabel="latency (ms)", ylabel="share answered by then", xscale="log", ylim=(0, 1.02))
    save_figure(figure, path)
