"""Clusters as one HTML page that needs nothing from elsewhere: what each is about, and a map of the texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qianru.errors import require
from qianru.evaluate import drawing
from qianru.evaluate.atlas import Atlas, nearest
from qianru.evaluate.page import atlas_box, html_page, shown
from qianru.types import FloatArray, IntArray
from qianru.use.cluster.clustering import Clustering
from qianru.use.cluster.partition import fewest_near_best
from qianru.use.cluster.space import Views, main_axes, unit
from qianru.use.pictures import scatter
from qianru.use.writing import written

DRAWN = 2_000               # texts on a map; t-SNE takes some seconds for as many
STEPS = 500                 # of t-SNE
NEIGHBOURS = 8
PERPLEXITY = 30             # neighbours that t-SNE reckons with
TEXT = 120                  # characters of a central text
NO_CLUSTER = "in none"
_WIDTH, _HEIGHT, _MARGIN = 560, 170, 34


def draw_clusters(
    found: Clustering, vectors: Views, texts: Sequence[str], path: str | Path, title: str = "", *, seed: int = 0
) -> None:
    """Draws the texts in the colours of their clusters: .png, .svg or .pdf, or an .html page to search and click.

    vectors, texts: as the clusters were made of
    Of more than 2,000 texts a sample is drawn. Raises BadInput for another suffix.
    """
    path = Path(path)
    title = title or f"{len(texts):,} texts in {found.k} clusters"
    rows, space, points = map_of_texts(found, vectors, seed)
    if path.suffix.lower() != ".html":
        scatter(points, found.labels[rows], [" · ".join(words[:2]) for words in found.words], path, title)
        return
    with written(path) as file:
        file.write(_page(found, texts, rows, space, points, title))


def map_of_texts(found: Clustering, vectors: Views, seed: int = 0) -> tuple[IntArray, FloatArray, FloatArray]:
    """The rows drawn, their vectors in the space of the main axes, and where they lie: (m, 2), by t-SNE."""
    rows = np.arange(len(found.labels))
    if len(rows) > DRAWN:
        rows = np.sort(np.random.default_rng(seed).choice(rows, DRAWN, replace=False))
    space = main_axes(vectors, seed=seed)[rows]
    if len(rows) < 8:                   # of so few there are no neighbourhoods to keep
        return rows, space, found.points[rows]
    manifold = require("sklearn.manifold", "evaluate", "Drawing a map of clusters")
    pools = require("threadpoolctl", "evaluate", "Drawing a map of clusters")
    tsne = manifold.TSNE(2, perplexity=min(PERPLEXITY, (len(rows) - 1) / 3), init="pca", max_iter=STEPS,
                         random_state=seed)
    with pools.threadpool_limits(1):    # its threads wait for one another so busily that two are often slower
        return rows, space, tsne.fit_transform(unit(space)).astype(np.float64)


def _page(
    found: Clustering, texts: Sequence[str], rows: IntArray, space: FloatArray, points: FloatArray, title: str
) -> str:
    names = [f"{i + 1}. {name}" for i, name in enumerate(found.names)]
    labels = [names[c] if c >= 0 else NO_CLUSTER for c in found.labels[rows].tolist()]
    neighbours, cosines = nearest(space, min(NEIGHBOURS, len(rows) - 1))
    atlas = Atlas("", "", [texts[row] for row in rows.tolist()], labels, points, np.zeros(2), neighbours, cosines,
                  np.zeros(0), np.zeros(0))
    n_none = int((found.labels < 0).sum())
    lead = f"Number of clusters: {shown(found.criterion)}." + (f" {n_none:,} texts are in none." if n_none else "")
    sample = f"A sample of {len(rows):,} texts; n" if len(rows) < len(texts) else "N"
    body = f"""{_tried(found)}<h2>Clusters</h2>
<div class="wide"><table><thead><tr><th class="number">texts</th><th>words that tell it from the others</th>
<th>most central texts</th></tr></thead><tbody>{"".join(_row(found, i, texts) for i in range(found.k))}</tbody></table>
</div><h2>Map</h2><p class="faint">{sample}ear texts are alike; how far two groups lie apart says little (t-SNE, van der
Maaten and Hinton 2008). Point at a text, click it, or search; a click on a cluster's name hides it.</p>
{atlas_box(atlas, found.k + 1)}"""
    return html_page(title, lead, body, _colours(found.k + 1))


def _row(found: Clustering, i: int, texts: Sequence[str]) -> str:
    central = "<br>".join(shown(texts[row][:TEXT]) for row in found.central[i])
    return (f'<tr><td class="number">{found.sizes[i]:,}</td><td><b>{i + 1}.</b> {shown("、".join(found.words[i]))}</td>'
            f'<td class="text">{central}</td></tr>')


def _tried(found: Clustering) -> str:
    """The silhouette of each number of clusters that was tried, as a picture; the number taken says its own."""
    if len(found.tried) < 2:
        return ""
    ks, values = list(found.tried), list(found.tried.values())
    low = min(0.0, *values)
    high = max(low + 0.1, *values)
    base, top = _HEIGHT - 24, 24                  # above: room for the value of the number that is taken

    def at(value: float) -> float:
        return base - (value - low) / (high - low) * (base - top)

    parts = [f'<line class="tick" x1="{_MARGIN}" x2="{_WIDTH}" y1="{at(tick):.1f}" y2="{at(tick):.1f}"/>'
             f'<text class="tick" x="{_MARGIN - 6}" y="{at(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
             for tick in drawing.ticks(low, high, 3)]
    xs = np.linspace(_MARGIN + 20, _WIDTH - 20, len(ks)).tolist()
    line = " ".join(f"{x:.1f},{at(value):.1f}" for x, value in zip(xs, values, strict=True))
    best = fewest_near_best(found.tried)
    parts.append(f'<polyline points="{line}" fill="none" stroke="var(--blue)" stroke-width="1.5"/>')
    for x, k, value in zip(xs, ks, values, strict=True):
        parts.append(f'<circle class="dot plain" cx="{x:.1f}" cy="{at(value):.1f}" r="{6 if k == best else 3}"/>'
                     f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{k}</text>')
        if k == best:
            parts.append(f'<text class="tick" x="{x:.1f}" y="{at(value) - 10:.1f}" text-anchor="middle">{value:.2f}'
                         "</text>")
    return f"<h2>How many</h2><p>Mean silhouette by number of clusters</p>{drawing.svg(_WIDTH, _HEIGHT, parts)}"


def _colours(n: int) -> str:
    """Colours for more groups than the style sheet has, apart by the golden angle."""
    return ":root{" + "".join(f"--c{i}:hsl({i * 137.508 % 360:.0f} {55 + i % 3 * 12}% {42 + i % 4 * 7}%);"
                              for i in range(10, n)) + "}" if n > 10 else ""
