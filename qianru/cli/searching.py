"""qianru search: questions in, passages out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
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


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples(
        'qianru search "怎样申请退款"',
        'qianru search "no-fault divorce" -k 3 --explain',
        "qianru search 违约金 --where 'path ^= \"laws/\"' --json",
        "qianru search 违约金 --fusion weighted --weights sparse=0.7,dense=0.3",
        "qianru search --ask < questions.txt",
    ))(search)


def search(
    question: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 5,
    where: Where = None,
    fusion: Annotated[
        str, typer.Option(metavar="rrf|weighted", help="With two kinds of vectors: join their ranks, or their scores.")
    ] = "rrf",
    weights: Annotated[
        str, typer.Option(metavar="KIND=N,…", help="How much each kind counts in it: sparse=2,dense=1.",
                          show_default=False)
    ] = "",
    collection: CollectionPath = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what made each score.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show whole passages, not their best part.")] = False,
    ask: Annotated[bool, typer.Option("--ask", help="Read questions from stdin until an empty line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the passages that answer a question."""
    if (question is None) != ask:
        raise typer.BadParameter("Give one question, or --ask to be asked for them.")
    shares = kind_weights(weights)
    with open_to_read(collection) as library:
        for text in questions() if ask else [question or ""]:
            hits = library.search(text, k, where=where, fusion=fusion, weights=shares)  # type: ignore[arg-type]   # checked there
            reasons = [library.explain(text, hit.id) for hit in hits] if explain else [None] * len(hits)
            if as_json:
                root = library.path.parent
                show_json({"query": text, "hits": [_hit_json(*pair, root) for pair in zip(hits, reasons, strict=True)]})
            else:
                show_hits(library, text, zip(hits, reasons, strict=True), EXCERPT if not full else sys.maxsize)
            if not hits:
                note_unknown_fields(library, where)


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
    if not isinstance(path, str):
        return hit.id
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
             for kind, score in reason.scores.items()]
    words = [f"{one_line(word)} {weight:.2f}" for word, weight in reason.terms[:WORDS_EXPLAINED]]
    return Text("= " + ", ".join(parts) + (": " + " + ".join(words) if words else ""), style="dim")


def _hit_json(hit: Hit, reason: Explanation | None, root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"id": hit.id, "score": hit.score, "source": source(hit, root), "text": hit.text,
                             "fields": dict(hit.fields), "scores": dict(hit.scores), "ranks": dict(hit.ranks)}
    if reason is not None:
        found["explanation"] = {"scores": dict(reason.scores), "terms": [list(term) for term in reason.terms]}
    return found
