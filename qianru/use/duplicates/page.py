"""Near-duplicates to look at: how similar they are, and on an HTML page what in each differs from what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import SequenceMatcher
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from qianru.errors import BadInput
from qianru.evaluate import drawing
from qianru.evaluate.page import html_page, shown
from qianru.types import FloatArray
from qianru.use.pictures import histogram
from qianru.use.plot import picture_path
from qianru.use.writing import written

GROUPS_SHOWN = 300
MEMBERS_SHOWN = 5            # of a group
TEXT = 400                   # characters of a text
STYLE = "ins{background:var(--mark);text-decoration:none}del{color:var(--red)}"


def check_picture(path: Path, groups: Path | None) -> None:
    """BadInput for a picture that could not be drawn when all is done."""
    if picture_path(path, page=True).suffix.lower() == ".html" and groups is None:
        raise BadInput("A page of the groups needs the groups. Write them too, with --groups FILE.jsonl.")


def draw_duplicates(similarities: FloatArray, groups: Path | None, path: Path, threshold: float) -> None:
    """Draws the similarities of what was dropped with what is kept; to .html the groups with what differs in them.

    groups: the file of groups that deduplicate wrote
    """
    if path.suffix.lower() != ".html":
        histogram(similarities if len(similarities) else np.array([threshold]), path,
                  f"{len(similarities):,} near-duplicates", mark=threshold, x="similarity", y="texts")
        return
    assert groups is not None
    with written(path) as file:
        file.write(_page(similarities, groups, threshold))


def _page(similarities: FloatArray, groups: Path, threshold: float) -> str:
    picture = drawing.histogram(np.zeros(0), similarities) if len(similarities) else "<p>There are none.</p>"
    with groups.open(encoding="utf-8") as file:
        rows = "".join(_group(json.loads(line)) for line in islice(file, GROUPS_SHOWN))
        n_more = sum(1 for _ in file)
    more = f'<p class="faint">and {n_more:,} more groups in {shown(groups.name)}</p>' if n_more else ""
    body = f"""<h2>Similarity with the text that is kept</h2>{picture}<h2>Groups</h2>
<p class="faint">Of each group the text that is kept, then what is dropped: <del>what it lacks</del>, <ins>what it has
besides</ins>.</p><div class="wide"><table><tbody>{rows}</tbody></table></div>{more}"""
    return html_page(f"{len(similarities):,} near-duplicates", f"From a similarity of {threshold:.3f} on.", body, STYLE)


def _group(told: dict[str, Any]) -> str:
    kept = told["kept"]["text"]
    rows = [f'<tr><td class="number">kept</td><td class="text"><b>{shown(kept[:TEXT])}</b> '
            f'<span class="faint">{shown(told["kept"]["id"])}</span></td></tr>']
    for one in told["duplicates"][:MEMBERS_SHOWN]:
        rows.append(f'<tr><td class="number">{one["similarity"]:.3f}</td><td class="text">'
                    f'{"".join(_difference(kept[:TEXT], one["text"][:TEXT]))} '
                    f'<span class="faint">{shown(one["id"])}</span></td></tr>')
    if len(told["duplicates"]) > MEMBERS_SHOWN:
        rows.append(f'<tr><td></td><td class="faint">and {len(told["duplicates"]) - MEMBERS_SHOWN:,} more</td></tr>')
    return "".join(rows)


def _difference(kept: str, other: str) -> Iterator[str]:
    """The other text as HTML, with marks at what it lacks and has besides."""
    for what, a, b, c, d in SequenceMatcher(None, kept, other, autojunk=False).get_opcodes():
        if what == "equal":
            yield _plain(kept[a:b])
            continue
        if b > a:
            yield f"<del>{_plain(kept[a:b])}</del>"
        if d > c:
            yield f"<ins>{_plain(other[c:d])}</ins>"


def _plain(text: str) -> str:
    """A part of a text, its spaces kept: shown would take them off the ends."""
    return escape("".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text))
