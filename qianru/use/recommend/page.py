"""What is recommended to look at: how well the items go together, and on an HTML page why, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qianru.evaluate import drawing
from qianru.evaluate.page import html_page, shaded_table, shown
from qianru.evaluate.resampling import Estimate
from qianru.use.plot import heat_map, picture_path
from qianru.use.recommend.learning import Learned
from qianru.use.recommend.recommender import Recommended, Recommender
from qianru.use.writing import written

TEXT = 240                   # characters of a description
EACH = "how well the column goes with the row"


def draw_recommended(
    made: Recommender, items: Sequence[int], found: Sequence[Recommended], path: str | Path, *,
    texts: Sequence[str] = (), learned: Learned | None = None,
) -> None:
    """Draws how well the items asked for and those found go together; to .html with all that is known of them.

    items: the rows asked for;  texts: of the first items;  learned: what the ways are worth
    """
    path = picture_path(path, page=True)
    rows = [*items, *(one.row for one in found)]
    if path.suffix.lower() != ".html":
        names = [made.names[row] for row in rows]
        heat_map(made.matrix(rows), names, names, path, EACH)
        return
    with written(path) as file:
        file.write(_page(made, items, found, texts, learned))


def _page(
    made: Recommender, items: Sequence[int], found: Sequence[Recommended], texts: Sequence[str],
    learned: Learned | None,
) -> str:
    by = "their texts" if made.behaviour is None else "what people did" if made.texts is None else \
        "their texts and what people did"
    asked = "".join(f"<tr><td>{_named(made.names[row], row, texts)}</td></tr>" for row in items)
    body = f"""<div class="wide"><table><tbody>{asked}</tbody></table></div>
<h2>Goes with {"it" if len(items) == 1 else "them"}</h2>{_table(made, found, texts)}
<h2>Each with each</h2><p class="faint">{EACH.capitalize()}: 1 for the best of all items, 0 for those on average.</p>
{_each(made, [*items, *(one.row for one in found)], len(items))}{_worth(learned)}"""
    return html_page(", ".join(made.names[row] for row in items), f"{len(made.names):,} items, by {by}.", body)


def _table(made: Recommender, found: Sequence[Recommended], texts: Sequence[str]) -> str:
    if not found:
        return "<p>Nothing.</p>"
    parts = [name for name, there in (("text", made.texts is not None), ("behaviour", made.behaviour is not None),
                                      ("sessions", made.behaviour is not None)) if there]
    head = "".join(f'<th class="number">{name}</th>' for name in ("score", *parts))
    rows = ""
    for rank, one in enumerate(found, 1):
        said = {"text": f"{one.text:.2f}", "behaviour": f"{one.behaviour:.2f}", "sessions": f"{one.seen:,}"}
        cells = "".join(f'<td class="number">{value}</td>' for value in (f"{one.score:.4f}", *map(said.get, parts)))
        rows += (f'<tr><td class="number">{rank}</td>{cells}'
                 f'<td class="text">{_named(one.name, one.row, texts)}</td></tr>')
    return (f'<div class="wide"><table><thead><tr><th></th>{head}<th>item</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></div>")


def _named(name: str, row: int, texts: Sequence[str]) -> str:
    text = texts[row] if row < len(texts) else ""
    cut = text[:TEXT] + "…" * (len(text) > TEXT)
    return f"<b>{shown(name)}</b>" + (f'<br><span class="faint">{shown(cut)}</span>' if text else "")


def _each(made: Recommender, rows: Sequence[int], n_asked: int) -> str:
    """Those found bear their ranks, which also head the columns."""
    ranks = ["" if i < n_asked else str(i - n_asked + 1) for i in range(len(rows))]
    names = [f"{rank} {made.names[row]}".strip() for rank, row in zip(ranks, rows, strict=True)]
    heads = [rank or "asked" for rank in ranks]
    return shaded_table(names, heads, made.matrix(rows))


def _worth(learned: Learned | None) -> str:
    if learned is None or not learned.ways:
        return ""
    found = {way: (Estimate(*judged.hit_rate), Estimate(*judged.ndcg)) for way, judged in learned.ways.items()}
    scale = drawing.scale_of([hit for hit, _ in found.values()])
    rows = "".join(f'<tr><td>{way}</td><td class="number">{hit.value:.1%}</td><td>'
                   f'{drawing.interval(hit, scale, "plain")}</td><td class="number">{ndcg.value:.4f}</td></tr>'
                   for way, (hit, ndcg) in found.items())
    return f"""<h2>How often the next item is found</h2>
<p class="faint">Of {learned.n_held:,} sessions held back the last item was asked for; so often it is among the first
{learned.k}. Each way is judged on sessions that it did not learn from; the lines hold the true share in 95 of 100
cases.</p><div class="wide"><table><thead><tr><th></th><th class="number">found</th><th></th>
<th class="number">nDCG@{learned.k}</th></tr></thead>
<tbody>{rows}<tr><td></td><td></td><td>{drawing.axis(scale)}</td><td></td></tr></tbody></table></div>"""
