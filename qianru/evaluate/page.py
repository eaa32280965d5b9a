"""A report as one HTML page that needs nothing from elsewhere, for day and night.

Texts of data sets are hostile: each is escaped where it stands, those of the maps are JSON that is only ever shown as
text, and the page's own policy lets no script run but ours.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from qianru.errors import StorageFailed
from qianru.evaluate import drawing
from qianru.evaluate.atlas import Atlas
from qianru.evaluate.compare import NOT_SHOWN, Comparison, Row, Win
from qianru.evaluate.report import Report, Split
from qianru.evaluate.resampling import Estimate
from qianru.types import FloatArray, IntArray

TEXT = 160              # characters of a text that are shown
N_COLOURS = 10          # labels with a colour of their own; the last of them is for all others
OTHERS = "…"


def write_page(report: Report, path: Path, title: str = "") -> None:
    """Writes the page, whole or not at all, and makes folders on the way; StorageFailed if that cannot be done."""
    path = Path(path)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_bytes(page(report, title).encode("utf-8", "replace"))
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"The report could not be written to {path}: {error.strerror or error}. Name another "
                            "place with -o.") from error


def page(report: Report, title: str = "") -> str:
    """The page."""
    title = title or " · ".join(report.labels)
    body = "\n".join(part for part in (
        _cautions(report), _scores(report), *(_comparison(found) for found in report.comparisons), _wins(report),
        _splits(report), *(_atlas(atlas) for atlas in report.atlases),
    ) if part)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()) if version)
    return html_page(title, f"""Scores are points of 100. Intervals hold the true value in 95 of 100 cases: the items of
each task are drawn again and again, the same for all models. {shown(versions)}""", body)


def html_page(title: str, lead: str, body: str, style: str = "") -> str:
    """A whole page in our style, with the script that draws maps; lead and body are HTML, the title any text."""
    data = files("qianru") / "data"
    script = (data / "report.js").read_text("utf-8")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_digest(script)}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">
<title>{shown(title)}</title>
<style>{(data / "report.css").read_text("utf-8")}{style}</style>
</head>
<body>
<h1>{shown(title)}</h1>
<p class="faint">{lead}</p>
{body}
<script>{script}</script>
</body>
</html>
"""


def _cautions(report: Report) -> str:
    return "\n".join(f'<div class="caution">{shown(line)}</div>' for line in report.cautions)


def _scores(report: Report) -> str:
    scale = drawing.scale_of([one for _, _, found in report.scores for one in found.values()])
    alone = len(report.labels) == 1
    head = "".join(f'<th class="number">{shown(label)}</th>' for label in report.labels)
    rows = []
    for name, metric, found in report.scores:
        best = max((one.value for one in found.values()), default=0)
        cells = "".join(_score(found.get(label), best, alone) for label in report.labels)
        picture = f"<td>{drawing.interval(next(iter(found.values())), scale, 'plain')}</td>" if alone else ""
        rows.append(f'<tr><td>{shown(name)}</td><td class="faint">{shown(metric)}</td>{cells}{picture}</tr>')
    if report.means:
        cells = "".join(f'<td class="number">{_points(report.means.get(label))}</td>' for label in report.labels)
        rows.append(f'<tr class="mean"><td>mean</td><td></td>{cells}{"<td></td>" * alone}</tr>')
    last = f"<tr><td></td><td></td><td></td><td>{drawing.axis(scale)}</td></tr>" if alone else ""
    return (f'<h2>Scores</h2><div class="wide"><table><thead><tr><th>task</th><th>score</th>{head}'
            f'{"<th></th>" * alone}</tr></thead><tbody>{"".join(rows)}{last}</tbody></table></div>')


def _score(found: Estimate | None, best: float, alone: bool) -> str:
    if found is None:
        return '<td class="number none">–</td>'
    span = "" if found.low != found.low else f'<span class="small">{_points(found.low)} – {_points(found.high)}</span>'
    style = "number best" if found.value == best and not alone else "number"
    return f'<td class="{style}">{_points(found.value)}{span}</td>'


def _comparison(found: Comparison) -> str:
    every = (*found.rows, *([found.mean] if found.mean else []))
    scale = drawing.scale_of([row.difference for row in every], zero=True)
    rows = "".join(_compared(row, scale) for row in every)
    notes = "".join(f'<p class="faint">{shown(line)}</p>' for line in (
        *found.differs, *(f"Left out: {line}" for line in found.left_out), *found.notes))
    return f"""<h2>{shown(found.a)} against {shown(found.b)}</h2>
<p class="faint">To the right of the dashed line {shown(found.a)} is better. p is corrected for all tasks and models by
Holm's method; "{NOT_SHOWN}" means that so many items cannot tell, not that both are alike.</p>
<div class="wide"><table><thead><tr><th>task</th><th class="number">{shown(found.a)}</th>
<th class="number">{shown(found.b)}</th><th class="number">difference</th><th></th><th class="number">p</th>
<th class="number">won / alike / lost</th><th></th></tr></thead>
<tbody>{rows}<tr><td></td><td></td><td></td><td></td><td>{drawing.axis(scale)}</td><td></td><td></td><td></td></tr>
</tbody></table></div>{notes}"""


def _compared(row: Row, scale: tuple[float, float]) -> str:
    style = "none" if row.verdict == NOT_SHOWN else row.verdict
    p = "&lt; .001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}".removeprefix("0")
    return (f'<tr{" class=mean" * (row.task == "mean")}><td>{shown(row.task)}</td>'
            f'<td class="number">{_points(row.a.value)}</td><td class="number">{_points(row.b.value)}</td>'
            f'<td class="number">{row.difference.value * 100:+.2f}</td>'
            f"<td>{drawing.interval(row.difference, scale, style, zero=True)}</td><td class=\"number\">{p}</td>"
            f'<td class="number">{row.wins:,} / {row.ties:,} / {row.losses:,}</td>'
            f'<td class="{style}">{row.verdict}</td></tr>')


def _wins(report: Report) -> str:
    if not report.wins:
        return ""
    parts = [f"<details><summary>{shown(task)}: where {shown(winner)} does better than {shown(loser)}</summary>"
             f'<div class="wide"><table><thead><tr><th class="number">{shown(winner)}</th>'
             f'<th class="number">{shown(loser)}</th><th>text</th></tr></thead>'
             f"<tbody>{''.join(_won(win) for win in wins)}</tbody></table></div></details>"
             for task, winner, loser, wins in report.wins]
    return f"<h2>Where they differ most</h2>{''.join(parts)}"


def _won(win: Win) -> str:
    text = "<br>".join(shown(part[:TEXT]) for part in win.texts) or shown(win.id)
    return (f'<tr><td class="number">{_points(win.a)}</td><td class="number">{_points(win.b)}</td>'
            f'<td class="text">{text}</td></tr>')


def _splits(report: Report) -> str:
    if not report.splits:
        return ""
    cards = "".join(_card(split) for split in report.splits)
    return f"""<h2>From which similarity on?</h2>
<p class="faint">What a similarity of 0.9 means differs from model to model: what counts is how far right pairs lie from
wrong ones. <span class="key together"></span>belong together <span class="key apart"></span>do not. Both are drawn
equally high. The line is the suggested threshold, the band around it its interval. A threshold holds for data in which
as many pairs belong together as here.</p><div class="cards">{cards}</div>"""


def _card(split: Split) -> str:
    found = split.suggestion
    n_right, n_wrong = len(split.together), len(split.apart)
    if found is None:
        said = "No threshold reaches the wanted precision."
    else:
        said = (f"From <b>{found.threshold.value:.3f}</b> on ({_span(found.threshold, 3)}) pairs belong together with "
                f"a precision of {found.precision.value:.0%} ({_span(found.precision, 0)}); "
                f"{found.recall.value:.0%} of those that do are found ({_span(found.recall, 0)}).")
    picture = drawing.histogram(split.apart, split.together, found.threshold if found else None)
    return (f'<div class="card"><h3>{shown(split.model)} <span class="faint">{shown(split.task)}</span></h3>{picture}'
            f'<p>{said}</p><p class="faint">{n_right:,} pairs belong together, {n_wrong:,} do not; on average '
            f"{_mean(split.together)} and {_mean(split.apart)}.</p></div>")


def _span(found: Estimate, digits: int) -> str:
    if digits:
        return f"{found.low:.{digits}f} – {found.high:.{digits}f}"
    return f"{found.low:.0%} – {found.high:.0%}"


def _mean(values: Sequence[float] | np.ndarray) -> str:
    return f"{np.mean(values):.3f}" if len(values) else "–"


def _atlas(atlas: Atlas) -> str:
    shares = " and ".join(f"{share:.0%}" for share in atlas.explained)
    return f"""<h2>{shown(atlas.task)} as {shown(atlas.model)} sees it</h2>
<p class="faint">{len(atlas.texts):,} texts on the two directions in which they differ most ({shares} of all difference:
what is near here may be far apart in truth, so trust the neighbours). Point at a text, click it, or search.</p>
{atlas_box(atlas)}"""


def atlas_box(atlas: Atlas, n_colours: int = N_COLOURS) -> str:
    """The map of an atlas, which the page's script draws; labels beyond so many share the last colour."""
    return f"""<div class="atlas"><script type="application/json">{atlas_json(atlas, n_colours)}</script>
<div><canvas></canvas><div class="legend"></div></div>
<div><input type="search" placeholder="Search the texts 搜索" aria-label="Search the texts">
<div class="chosen"></div></div></div>"""


def atlas_json(atlas: Atlas, n_colours: int = N_COLOURS) -> str:
    """The map as JSON that no text of it can end: neither tags nor line separators stand in it."""
    names, numbers, sizes = np.unique(np.array(atlas.labels, np.object_).astype(str), return_inverse=True,
                                      return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    own = order if len(order) <= n_colours else order[: n_colours - 1]
    group = np.full(len(names), len(own))
    group[own] = np.arange(len(own))
    groups = group[numbers]
    shown = [str(names[i]) for i in own] + ([OTHERS] if len(own) < len(names) else [])
    ends = [np.quantile(atlas.points[:, i], q) if len(atlas.points) else q for i in (0, 1) for q in (0.0, 1.0)]
    for i in (0, 2):
        if not ends[i + 1] - ends[i] > 1e-12:
            ends[i], ends[i + 1] = ends[i] - 1, ends[i + 1] + 1
    said = json.dumps({
        "x": atlas.points[:, 0].round(4).tolist(), "y": atlas.points[:, 1].round(4).tolist(),
        "box": [round(float(end), 4) for end in ends], "group": groups.tolist(), "names": shown,
        "sizes": np.bincount(groups, minlength=len(shown)).tolist(), "labels": list(map(str, atlas.labels)),
        "texts": list(_cut(atlas.texts)), "near": atlas.neighbours.tolist(),
        "close": atlas.similarities.round(3).tolist(),
    }, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        said = said.replace(char, f"\\u{ord(char):04x}")
    return said


def _cut(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        line = " ".join(text[: 4 * TEXT].split())
        yield line if len(line) <= TEXT else line[:TEXT] + "…"


def _points(score: float | None) -> str:
    return "–" if score is None or score != score else f"{score * 100:.2f}"


def shown(text: str) -> str:
    """Any text as HTML shows it, on one line, its control characters made visible."""
    return escape("".join(char if char.isprintable() or char == " " else "\ufffd" for char in " ".join(text.split())))


def shaded_table(rows: Sequence[str], columns: Sequence[str], shares: FloatArray, told: IntArray | None = None) -> str:
    """A table of numbers, the bluer the nearer their (n, m) shares come to 1; names are any texts, NaN stays blank.

    told: whole numbers to show in place of the shares, none for 0
    """
    head = "".join(f'<th class="shade">{shown(name)}</th>' for name in columns)
    body = ""
    for i, (name, row) in enumerate(zip(rows, shares.tolist(), strict=True)):
        cells = ""
        for j, share in enumerate(row):
            number = (f"{told[i, j]:,}" if told[i, j] else "") if told is not None else f"{share:.2f}"
            depth = 0.65 * min(max(share, 0.0), 1.0)       # ink stays readable on it, by day and by night
            cells += '<td class="shade"></td>' if share != share else \
                f'<td class="shade" style="background:rgb(40 103 196 / {depth:.2f})">{number}</td>'
        body += f"<tr><td>{shown(name)}</td>{cells}</tr>"
    return (f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _digest(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()
