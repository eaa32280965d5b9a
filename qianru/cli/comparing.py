"""qianru similarity and similar: how alike texts are, and which item is most like one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qianru.cli.cutting import OwnWords, StopWords, UserWords, made_analyzer, own_words
from qianru.cli.layout import one_line
from qianru.cli.options import AsJson, Encoding, ItemName, examples
from qianru.cli.reading import items_of, lines_of
from qianru.cli.terminal import note, progress, show, show_json, stdout
from qianru.errors import BadFile, BadInput

if TYPE_CHECKING:
    from qianru.models.base import Fittable, Model
    from qianru.scores import Vectors
    from qianru.types import FloatArray, Progress
    from qianru.use.recommend import Similar

CELLS_AT_MOST = 400       # of a table; a larger one is told row by row
BEST_SHOWN = 3


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=examples(
        'qianru similarity "我喜欢吃肉" "我爱吃蔬菜"',
        "qianru similarity titles.txt --plot titles.png",
        "qianru similarity a.txt b.txt --model tfidf --json",
        'qianru similarity "我喜欢吃肉" "我爱吃肉" --model char --ngrams 1-2 --metric jaccard',
    ))(similarity)
    app.command(epilog=examples(
        'qianru similar hotels.csv --text desc --item "Hilton Seattle Airport"',
        "qianru similar dishes.csv --text 做法 --name 菜名 --item 红烧肉 -k 5",
    ))(similar)


def similarity(
    inputs: Annotated[
        list[str], typer.Argument(metavar="TEXT|FILE", help="Texts, or files with one text a line.")
    ],
    metric: Annotated[str, typer.Option(help="cosine, dot, euclidean or jaccard.")] = "cosine",
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="counts|tfidf|char|NAME|FOLDER", help="How to make vectors.")
    ] = "counts",
    ngrams: Annotated[
        str | None, typer.Option(metavar="N|A-B", help="Lengths of runs to count: of words (1) or characters (3).")
    ] = None,
    user_words: UserWords = None,
    stop_words: StopWords = "",
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Of two files: the first line with the first, the second with the second, …")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw a heat map: .png, .svg or .pdf.")] = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Compare texts: each with each, or those of two files.

    Two texts give one number; two files with one text a line give a table.
    Anything else is compared each with each.
    """
    import qianru.scores
    from qianru.use.plot import heat_map, picture_path

    if plot is not None and pairs:
        raise BadInput("A heat map shows each text with each; leave out --plot or --pairs.")
    if plot is not None:
        picture_path(plot)
    score = qianru.scores.metric(metric)
    rows, others = compared(inputs, encoding)
    ready = comparing_model(model, ngrams, own_words(user_words, stop_words), [*rows, *others])
    if pairs:
        show_pairs(rows, others, ready, metric, as_json)
        return
    with progress("Comparing", "texts") as watch:
        left = vectors(ready, rows, watch)
        matrix = score(left, vectors(ready, others, watch) if others else left)
    columns = others or rows
    if plot is not None:
        heat_map(matrix, rows, columns, plot, f"{metric}, {ready.spec.name}")
    if as_json:
        show_json({"metric": metric, "model": ready.spec.name, "rows": rows, "columns": columns, "scores": matrix})
    else:
        note(f"{metric} of {ready.spec.name} vectors")
        show_matrix(matrix, rows, columns)
    if plot is not None:
        note(f"Drawn to {plot}")


def compared(inputs: Sequence[str], encoding: str | None) -> tuple[list[str], list[str]]:
    """The texts of the rows and those of the columns; the second empty where each is compared with each."""
    texts = [texts_named(name, encoding) for name in inputs]
    if len(texts) == 2:
        return texts[0], texts[1]
    everything = [text for some in texts for text in some]
    if len(everything) < 2:
        raise BadInput("One text has nothing to be compared with. Give two texts, or a file with one text a line.")
    return everything, []


def texts_named(name: str, encoding: str | None) -> list[str]:
    """The lines of the file by that name, else the name itself, which is a text."""
    from qianru.text.read.files import kind_of

    try:
        if Path(name).is_file():
            lines = lines_of(Path(name), encoding)
            if not lines:
                raise BadFile(f"There is no text in '{name}'.")
            return lines
    except OSError as error:                   # a long text is no name for a file
        if isinstance(error, BadFile):
            raise
    if kind_of(Path(name)) is not None and " " not in name:
        raise BadFile(f"There is no file '{name}'. Check the name, or add a space if it is a text.")
    return [name]


def show_pairs(rows: Sequence[str], others: Sequence[str], model: Model, metric: str, as_json: bool) -> None:
    """Prints the score of each line with the other file's line of the same number."""
    from qianru.scores import PAIR_METRICS

    if len(rows) != len(others):
        raise BadInput(f"Pairs need as many texts on both sides; there are {len(rows)} and {len(others)}.")
    with progress("Comparing", "texts") as watch:
        scores = PAIR_METRICS[metric](vectors(model, rows, watch), vectors(model, others, watch)).tolist()
    if as_json:
        told = [{"a": a, "b": b, "score": score} for a, b, score in zip(rows, others, scores, strict=True)]
        show_json({"metric": metric, "model": model.spec.name, "pairs": told})
        return
    note(f"{metric} of {model.spec.name} vectors")
    for a, b, score in zip(rows, others, scores, strict=True):
        show(f"{score:.4f}  {one_line(a)}  {one_line(b)}")


def comparing_model(name: str, ngrams: str | None, words: OwnWords, texts: Sequence[str]) -> Model:
    """The model by that name, fitted on the texts where it must be, or the one in that folder."""
    from qianru.models.lexical import Counts, TfIdf

    if name == "char":
        return Counts(made_analyzer(ngrams or "3", words, char=True)).fit(texts)
    if name in ("counts", "tfidf"):
        return (Counts if name == "counts" else TfIdf)(made_analyzer(ngrams or "1", words)).fit(texts)
    if ngrams is not None or any(words):
        raise BadInput("--ngrams, --user-words and --stop-words are for counts, tfidf and char; "
                       "a model from a folder has its own.")
    from qianru.models import load

    return load(name)


def vectors(model: Model, texts: Sequence[str], watch: Progress | None = None) -> Vectors:
    """The texts' dense vectors, else their sparse ones."""
    made = model.encode(texts, progress=watch)
    chosen = made.dense if made.dense is not None else made.sparse
    if chosen is None:
        raise BadInput(f"{model.spec.name} makes neither dense nor sparse vectors.")
    return chosen


def show_matrix(matrix: FloatArray, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Prints one score, or a table, or for each row of a large matrix its best columns."""
    from rich.table import Table

    from qianru.use.plot import shorten

    if matrix.size == 1:
        show(f"{matrix[0, 0]:.4f}")
        return
    console = stdout()
    label = min(40, max(12, console.width // 3))
    fits = label + 8 * len(columns) <= console.width and matrix.size <= CELLS_AT_MOST
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True, style="cyan")
    if fits:
        room = max(6, (console.width - label) // len(columns) - 2)
        for column in columns:
            table.add_column(shorten(one_line(column), room), justify="right", no_wrap=True)
        for row, scores in zip(rows, matrix.tolist(), strict=True):
            table.add_row(shorten(one_line(row), label), *(f"{score:.4f}" for score in scores))
    else:
        table.add_column("most alike", no_wrap=True)
        same = rows is columns
        for i, (row, scores) in enumerate(zip(rows, matrix, strict=True)):
            best = [j for j in (-scores).argsort(kind="stable").tolist() if not (same and i == j)][:BEST_SHOWN]
            shown = "   ".join(f"{scores[j]:.4f} {shorten(one_line(columns[j]), 24)}" for j in best)
            table.add_row(shorten(one_line(row), label), shown)
    console.print(table)


def similar(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="A table, one item a row.")],
    text: Annotated[str, typer.Option("--text", "-t", metavar="COLUMN[,COLUMN]", help="What describes an item.")],
    item: Annotated[str, typer.Option("--item", "-i", help="The item's name, or its beginning.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    name: ItemName = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="tfidf|counts|bm25|NAME|FOLDER", help="How to make vectors.")
    ] = "tfidf",
    user_words: UserWords = None,
    stop_words: StopWords = "",
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Recommend the items of a table that are most like one.

    By default: TF-IDF of their descriptions, cut into words as their script wants it, and the cosine.
    """
    from qianru.use.recommend import find_item, similar_items

    names, texts = items_of(file, [column.strip() for column in text.split(",")], name, encoding)
    chosen = names[find_item(names, item)]
    ready = describing_model(model, own_words(user_words, stop_words), texts)
    with progress("Comparing", "items") as watch:
        found = similar_items(texts, names, chosen, k, ready, progress=watch)
    if as_json:
        show_json({"item": chosen, "model": ready.spec.name,
                   "similar": [{"name": near.name, "row": near.row + 1, "score": near.score} for near in found]})
    else:
        show_items(chosen, found)


def show_items(item: str, found: Sequence[Similar]) -> None:
    """Prints the items, best first."""
    from rich.text import Text

    if not found:
        note(f"No item shares a word with {one_line(item)}.")
        return
    show(f"Like {one_line(item)}:")
    for rank, near in enumerate(found, 1):
        show(Text.assemble((f"{rank:<3} ", "bold"), (f"{near.score:.4f}  ", "green"), one_line(near.name)))


def describing_model(name: str, words: OwnWords, texts: Sequence[str]) -> Model:
    """The model by that name fitted on the descriptions, saying on stderr how it takes them, or the one in a folder."""
    from qianru.models.bm25 import BM25
    from qianru.models.lexical import Counts
    from qianru.use.recommend import script, suited_analyzer, suited_model

    if name not in ("tfidf", "counts", "bm25"):
        from qianru.models import load

        if any(words):
            raise BadInput("--user-words and --stop-words are for tfidf, counts and bm25; "
                           "a model from a folder has its own.")
        return load(name)
    analyzer = words.added_to(suited_analyzer(texts))
    families: dict[str, Fittable] = {
        "tfidf": suited_model(texts, analyzer), "counts": Counts(analyzer), "bm25": BM25(analyzer),
    }
    how = "segmented Chinese words" if script(texts) == "zh" else "English words"
    told = ", ".join((*analyzer.stop_lists, *(["your own"] if analyzer.stop_words else [])))
    note(f"{len(texts):,} descriptions, {name} over {how} in runs of {analyzer.ngrams[0]} to {analyzer.ngrams[1]}, "
         f"without stop words ({told})")
    return families[name].fit(texts)
