"""Why hits were found, as a picture or as a page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

from qianru.errors import BadInput
from qianru.index.explanation import Alignment, Explanation
from qianru.types import FloatArray, Hit
from qianru.use.plot import heat_map, picture_path
from qianru.use.writing import written

TOKENS_DRAWN = 60           # of a passage in a picture: those that answer the query best, in their order
TOKENS_SHOWN = 400          # of a passage on a page
WORDS_DRAWN = 30
BLANK = "␣"                 # a token that is a space

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
       max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
article { border-top: 1px solid var(--line); padding: 1rem 0; }
h2 { font-size: 1rem; margin: 0; } h2 small { font-weight: normal; opacity: .7; }
.scores { opacity: .8; font-variant-numeric: tabular-nums; }
mark { color: inherit; border-radius: 3px; } .snippet { text-decoration: underline; text-underline-offset: 4px;
       text-decoration-color: #3a76; }
.map { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
td { width: 1.6em; height: 1.6em; padding: 0; } th { font-weight: normal; padding: 2px 6px; white-space: nowrap;
       text-align: right; } thead th { writing-mode: vertical-rl; text-align: left; vertical-align: bottom; }
"""


def write_explanations(
    path: str | Path, query: str, found: Sequence[tuple[Hit, Explanation]], matches: Sequence[Sequence[tuple[int, int]]]
) -> None:
    """Draws what made the scores of hits: a page of all (.html), or a heat map (.png, .svg, .pdf).

    The picture shows how the tokens of the best hit answer those of the query; where there are no token vectors, what
    each word adds to each hit. matches: for each hit, (start, end) of the words that it shares with the query
    Raises BadInput where there is nothing to draw, StorageFailed where the file cannot be written.
    """
    path = Path(path)
    if not found:
        raise BadInput(f"There is nothing to draw: nothing was found for '{query}'.")
    if picture_path(path, page=True).suffix.lower() == ".html":
        with written(path) as file:
            file.write(_page(query, found, matches))
        return
    hit, why = found[0]
    if why.alignment is not None and why.alignment.pairs:
        values, rows, columns = _best_tokens(why.alignment)
        heat_map(values, rows, columns, path, f"{query} ~ {hit.id}")
        return
    words = list(dict.fromkeys(word for _, one in found for word, _ in one.terms))[:WORDS_DRAWN]
    if not words:
        raise BadInput("There is nothing to draw: the hits share no word with the query, and the collection stores no "
                       "token vectors. A page (.html) shows their scores.")
    adds = [dict(one.terms) for _, one in found]
    values = np.array([[part.get(word, np.nan) for word in words] for part in adds])
    heat_map(values, [hit.id for hit, _ in found], words, path, query)


def _best_tokens(alignment: Alignment) -> tuple[FloatArray, list[str], list[str]]:
    """(similarities, query tokens, passage tokens), with no more passage tokens than a picture has room for."""
    best = alignment.similarities.max(axis=0)
    places = np.sort(np.argsort(-best, kind="stable")[:TOKENS_DRAWN])
    columns = [alignment.document[i] or BLANK for i in places.tolist()]
    return alignment.similarities[:, places], [token or BLANK for token in alignment.query], columns


def _page(query: str, found: Sequence[tuple[Hit, Explanation]], matches: Sequence[Sequence[tuple[int, int]]]) -> str:
    parts = [_article(i, hit, why, spans) for i, ((hit, why), spans) in enumerate(zip(found, matches, strict=True), 1)]
    return (f'<!doctype html>\n<html lang="zh">\n<meta charset="utf-8">\n<meta name="viewport" '
            f'content="width=device-width">\n<title>{escape(query)}</title>\n<style>{STYLE}</style>\n'
            f"<h1>{escape(query)}</h1>\n" + "\n".join(parts) + "\n</html>\n")


def _article(rank: int, hit: Hit, why: Explanation, spans: Sequence[tuple[int, int]]) -> str:
    scores = " · ".join(f"{escape(kind)} {score:.4f}" + (f" (rank {hit.ranks[kind]})" if kind in hit.ranks else "")
                        for kind, score in {**why.scores, **hit.scores}.items())
    words = ", ".join(f"{escape(word)} +{adds:.3f}" for word, adds in why.terms[:WORDS_DRAWN])
    return (f"<article>\n<h2>{rank}. {escape(hit.id)} <small>{hit.score:.4f}</small></h2>\n"
            f'<p class="scores">{scores}</p>\n<p>{_passage(hit.text, why, spans)}</p>\n'
            + (f'<p class="scores">{words}</p>\n' if words else "")
            + (_table(why.alignment) if why.alignment is not None and why.alignment.pairs else "") + "</article>")


def _passage(text: str, why: Explanation, spans: Sequence[tuple[int, int]]) -> str:
    """The passage, its matching words marked by what they add, its best sentence underlined."""
    adds = dict(why.terms)
    most = max(adds.values(), default=0.0)
    start, end = why.snippet
    cuts = sorted({0, len(text), start, end, *(place for span in spans for place in span)})
    told = []
    for a, b in pairwise(cuts):
        piece = escape(text[a:b]).replace("\n", "<br>")
        if any(left <= a and b <= right for left, right in spans):
            share = adds.get(text[a:b].lower(), most / 2) / most if most > 0 else 0.5
            piece = f'<mark style="background: {_shade(share)}">{piece}</mark>'
        told.append(f'<span class="snippet">{piece}</span>' if start <= a and b <= end else piece)
    return "".join(told)


def _table(alignment: Alignment) -> str:
    """The similarities of all tokens as coloured cells, each with its number when pointed at."""
    values = alignment.similarities[:, :TOKENS_SHOWN]
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    head = "".join(f"<th>{escape(token) or BLANK}</th>" for token in alignment.document[:TOKENS_SHOWN])
    rows = []
    for token, row in zip(alignment.query, values.tolist(), strict=True):
        best = max(row)
        cells = "".join(f'<td title="{value:.3f}" style="background: {_shade((value - low) / span)}'
                        f'{"; outline: 2px solid" if value == best else ""}"></td>' for value in row)
        rows.append(f"<tr><th>{escape(token) or BLANK}</th>{cells}</tr>")
    return f'<div class="map"><table><thead><tr><th></th>{head}</tr></thead>{"".join(rows)}</table></div>\n'


def _shade(share: float) -> str:
    return f"rgb(40 130 190 / {0.05 + 0.85 * min(max(share, 0.0), 1.0):.2f})"
