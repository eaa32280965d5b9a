"""What a classifier confuses and how far its confidence can be trusted: a picture, and an HTML page with all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qianru.errors import BadInput
from qianru.evaluate import drawing
from qianru.evaluate.page import html_page, shaded_table, shown
from qianru.types import FloatArray
from qianru.use.classify.calibration import N_BINS
from qianru.use.classify.fitting import Judgment
from qianru.use.plot import heat_map
from qianru.use.writing import written

MOST_LABELS = 120           # rows of a table that a person can read
_SIDE = 300


def draw_confusion(found: Judgment, path: str | Path) -> None:
    """Draws which labels are taken for which, as shares of the row's label; to .html with all else that was judged."""
    path = Path(path)
    if path.suffix.lower() == ".html":
        with written(path) as file:
            file.write(_page(found))
        return
    heat_map(_shares(found), list(found.labels), list(found.labels), path,
             f"rows: true labels; columns: predicted; accuracy {found.accuracy:.1%}")


def _shares(found: Judgment) -> FloatArray:
    counts = found.confusion
    shares: FloatArray = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _page(found: Judgment) -> str:
    if len(found.labels) > MOST_LABELS:
        raise BadInput(f"A page with {len(found.labels)} labels cannot be read. Draw a picture (.png, .svg, .pdf).")
    rows = "".join(
        f'<tr><td>{shown(label)}</td><td class="number">{n:,}</td><td class="number">{precision:.1%}</td>'
        f'<td class="number">{recall:.1%}</td><td class="number">{f1:.1%}</td></tr>'
        for label, (precision, recall, f1, n) in sorted(found.per_label.items(), key=lambda each: each[1][2]))
    lead = (f"{len(found.truth):,} texts, {len(found.labels)} labels; each text was labelled by a head that had not "
            f"learnt from it. Accuracy {found.accuracy:.1%}, macro F1 {found.macro_f1:.1%}, calibration error "
            f"{found.calibration_error:.3f}.")
    body = f"""<h2>Labels, the worst first</h2><div class="wide"><table><thead><tr><th>label</th>
<th class="number">texts</th><th class="number">precision</th><th class="number">recall</th>
<th class="number">F1</th></tr></thead>
<tbody>{rows}</tbody></table></div><h2>What is taken for what</h2>
<p class="faint">Rows: true labels; columns: predicted ones.</p>
{shaded_table(found.labels, found.labels, _shares(found), found.confusion)}
<h2>Is it as often right as it says?</h2><p class="faint">Each circle: labels told with about that confidence (left to
right), and the share of them that is right (bottom to top); its area is how many they are.</p>{_curve(found)}"""
    return html_page("Cross-validation", lead, body)


def _curve(found: Judgment) -> str:
    right = (found.truth == found.predicted).astype(np.float64)
    bins = np.minimum((found.confidence * N_BINS).astype(np.int64), N_BINS - 1)
    counts = np.bincount(bins, minlength=N_BINS)
    parts = [f'<line class="zero" x1="20" y1="{_SIDE - 20}" x2="{_SIDE - 20}" y2="20"/>']
    for i in np.flatnonzero(counts).tolist():
        said, true = float(found.confidence[bins == i].mean()), float(right[bins == i].mean())
        parts.append(f'<circle class="dot plain" cx="{20 + said * (_SIDE - 40):.1f}" '
                     f'cy="{_SIDE - 20 - true * (_SIDE - 40):.1f}" '
                     f'r="{3 + 14 * (counts[i] / counts.sum()) ** 0.5:.1f}"/>')
    for value in (0, 0.5, 1):
        parts.append(f'<text class="tick" x="{20 + value * (_SIDE - 40):.0f}" y="{_SIDE - 4}" text-anchor="middle">'
                     f'{value:g}</text><text class="tick" x="2" y="{_SIDE - 16 - value * (_SIDE - 40):.0f}">'
                     f"{value:g}</text>")
    return drawing.svg(_SIDE, _SIDE, parts)
