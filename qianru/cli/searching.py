"""qianru search: questions in, passages out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import Span, columns, excerpt, one_line, wrap
from qianru.cli.options import AsJson, CollectionPath, Where, examples, note_unknown_fields, open_to_read
from qianru.cli.terminal import note, show_json, stdout
from qianru.errors import BadInput

if TYPE_CHECKING:
    from rich.text import Text

    from qianru.index.collection import Collection
    from qianru.index.explanation import Explanation
    from qianru.types import Hit, Kind

EXCERPT = 240          # characters of a passage to show
WORDS_EXPLAINED = 12
INDENT = "   "
LABEL = 40             # columns of a row's other values
PLACES = ("path", "line", "heading", "part", "title", "page")
MATCH, SOURCE = "bold yellow", "cyan"
ALIKE = ((0.8, "not dim bold green"), (0.6, "not dim green"))     # of token vectors, from these similarities on
BLANK = "␣"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples(
        'qianru search "怎样申请退款"',
        'qianru search "no-fault divorce" -k 3 --explain',
        "qianru search 违约金 --where 'path ^= \"laws/\"' --json",
        "qianru search 违约金 --fusion weighted --weights sparse=0.7,dense=0.3",
        "qianru search 违约金 --group-by path --explain --plot why.html",
        "qianru search --ask < questions.txt",
    ))(search)


def search(
    question: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 5,
    where: Where = None,
    plan: Annotated[
        str | None, typer.Option(metavar="NAME|JSON", help="How to search: rrf, weighted, bge-m3, or its steps; else "
                                 "the collection's own plan (see tune).", show_default=False)
    ] = None,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,…", help="The vectors to search by: dense, sparse, multi.", show_default=False)
    ] = "",
    fusion: Annotated[
        str | None, typer.Option(metavar="rrf|weighted", help="With two kinds of vectors: join their ranks, or their "
                                 "scores.", show_default=False)
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="KIND=N,…", help="How much each kind counts in it: sparse=2,dense=1.",
                          show_default=False)
    ] = "",
    group_by: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Only the best passage of each value, e.g. of each path.",
                                 show_default=False)
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(metavar="N", help="Leave out what scores less.", show_default=False)
    ] = None,
    collection: CollectionPath = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what made each score.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --explain: draw it to a .png, .svg, .pdf or .html.",
                                  show_default=False)
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show whole passages, not their best part.")] = False,
    ask: Annotated[bool, typer.Option("--ask", help="Read questions from stdin until an empty line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the passages that answer a question."""
    from qianru.index.plan import Plan

    if (question is None) != ask:
        raise typer.BadParameter("Give one question, or --ask to be asked for them.")
    if plot is not None and (ask or not explain):
        raise typer.BadParameter("--plot draws what --explain says of one question.")
    if plot is not None:
        from qianru.use.plot import picture_path

        picture_path(plot, page=True)
    how: dict[str, Any] = {"kinds": [kind.strip() for kind in kinds.split(",")] if kinds else None, "fusion": fusion,
                           "weights": kind_weights(weights) or None, "where": where}
    steps = {name: step for name, step in (("group_by", group_by), ("min_score", min_score)) if step is not None}
    with open_to_read(collection) as library:
        chosen = (library.plan if plan is None else Plan.parse(plan)).altered(**steps)
        for text in questions() if ask else [question or ""]:
            hits = library.search(text, k, plan=chosen, **how)
            reasons = [library.explain(text, hit.id) for hit in hits] if explain else [None] * len(hits)
            if as_json:
                root = library.path.parent
                show_json({"query": text, "hits": [_hit_json(*pair, root) for pair in zip(hits, reasons, strict=True)]})
            else:
                show_hits(library, text, zip(hits, reasons, strict=True), EXCERPT if not full else sys.maxsize)
            if plot is not None:
                draw(library, text, hits, reasons, plot)
            if not hits:
                note_unknown_fields(library, where)


def draw(
    library: Collection, query: str, hits: Sequence[Hit], reasons: Sequence[Explanation | None], plot: Path
) -> None:
    """Writes the picture or the page of what made the scores."""
    from qianru.use.explain_page import write_explanations

    found = [(hit, reason) for hit, reason in zip(hits, reasons, strict=True) if reason is not None]
    write_explanations(plot, query, found, [library.matches(query, hit.text) for hit in hits])
    note(f"Drawn to {plot}.")


def kind_weights(given: str) -> dict[Kind, float]:
    """The weight of each kind of vector.

    >>> kind_weights("sparse=0.7,dense=0.3")
    {'sparse': 0.7, 'dense': 0.3}
    """
    weights: dict[Kind, float] = {}
    for part in filter(None, given.split(",")):
        kind, _, weight = part.partition("=")
        try:
            weights[kind.strip()] = float(weight)  # type: ignore[index]   # the collection knows its kinds
        except ValueError:
            raise BadInput(f"'{part}' is no weight of a kind of vector. Write for example sparse=0.7.") from None
    return weights


def questions() -> Iterator[str]:
    """Questions from stdin until an empty line or its end; with a prompt where a person types."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield from iter(lambda: sys.stdin.readline().strip(), "")
        return
    with suppress(ImportError):
        import readline  # noqa: F401   gives input() arrow keys and a history
    note("Ask a question; an empty line ends.")
    with suppress(EOFError):
        yield from iter(lambda: input("? ").strip(), "")


def show_hits(
    library: Collection, query: str, hits: Iterable[tuple[Hit, Explanation | None]], length: int
) -> None:
    """Prints the hits, best first, the words of the query marked."""
    console = stdout()
    found = False
    for rank, (hit, reason) in enumerate(hits, 1):
        found = True
        text = one_line(body(hit))
        text, spans = excerpt(text, library.matches(query, text), length)
        console.print(_wrapped(_headline(rank, hit, library.path.parent), console.width, ""))
        console.print(_wrapped(_marked(text, spans), console.width))
        if reason is not None:
            console.print(_wrapped(_reason(hit, reason), console.width))
        console.print()
    if not found:
        note(f"Nothing found for: {one_line(query)}")


def _headline(rank: int, hit: Hit, root: Path) -> Text:
    from rich.text import Text

    line = Text(f"{rank:<2} ", style="bold")
    line.append(f"{hit.score:.3f}  ", style="green")
    line.append(one_line(source(hit, root)), style=SOURCE)
    if label := hit.fields.get("heading") or _row_label(hit):
        line.append(f"  {one_line(str(label))}", style="bold")
    return line


def _row_label(hit: Hit) -> str:
    """The other columns of a table's row, as far as they are short."""
    others = [value for name, value in hit.fields.items() if name not in PLACES and isinstance(value, str)]
    return ", ".join(value for value in others if columns(value) <= LABEL)


def body(hit: Hit) -> str:
    """The passage without the headings that it begins with, which stand in the line above it."""
    titles = str(hit.fields.get("heading", "")).split(" > ")
    lines = hit.text.splitlines()
    first = next((i for i, line in enumerate(lines) if " ".join(line.strip(" #\t").split()) not in ("", *titles)), 0)
    return "\n".join(lines[first:])


def source(hit: Hit, root: Path) -> str:
    """Where the passage stands: path:line as editors know it, short where it lies below here; else its id.

    root: the folder that the paths of passages are seen from
    """
    path, line = hit.fields.get("path"), hit.fields.get("line")
    return file_line(path, line, root) if isinstance(path, str) else hit.id


def file_line(path: str, line: object, root: Path) -> str:
    """path:line, short where it lies below here; the line may be None."""
    here, whole = Path.cwd(), root / path
    below = whole.is_relative_to(here)
    short = str(whole.relative_to(here)) if below else str(whole) if os.path.exists(whole) else path  # noqa: PTH110   never raises, whatever the name
    return short if line is None else f"{short}:{line}"


def _marked(text: str, spans: Iterable[Span]) -> Text:
    from rich.text import Text

    marked = Text(text)
    for start, end in spans:
        marked.stylize(MATCH, start, end)
    return marked


def _wrapped(text: Text, width: int, first: str = INDENT) -> Text:
    """The text in lines of that width, indented; the first line by first."""
    from rich.text import Text

    lines = text.divide(wrap(text.plain, max(width - len(INDENT), 8)))
    indented = [Text(INDENT if i else first) + line for i, line in enumerate(lines)]
    return Text("\n", no_wrap=True, overflow="ignore").join(indented)


def _reason(hit: Hit, reason: Explanation) -> Text:
    from rich.text import Text

    parts = [f"{kind} {score:.3f}" + (f" (rank {hit.ranks[kind]})" if kind in hit.ranks else "")
             for kind, score in (dict(reason.scores) | dict(hit.scores)).items()]
    words = [f"{one_line(word)} {weight:.2f}" for word, weight in reason.terms[:WORDS_EXPLAINED]]
    told = Text("= " + ", ".join(parts) + (": " + " + ".join(words) if words else ""), style="dim")
    if reason.alignment is not None and reason.alignment.pairs:
        told.append("\n~ ")
        for query, document, score in reason.alignment.pairs[:WORDS_EXPLAINED]:
            style = next((style for least, style in ALIKE if score >= least), "")
            told.append(f"{one_line(query) or BLANK}→{one_line(document) or BLANK} {score:.2f}  ", style=style)
    return told


def _hit_json(hit: Hit, reason: Explanation | None, root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"id": hit.id, "score": hit.score, "source": source(hit, root), "text": hit.text,
                             "fields": dict(hit.fields), "scores": dict(hit.scores), "ranks": dict(hit.ranks)}
    if reason is not None:
        found["explanation"] = reason.to_dict()
        start, end = reason.snippet
        found["snippet"] = hit.text[start:end]
    return found
