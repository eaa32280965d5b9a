"""qianru recommend: what goes with an item, by its text, by what people did, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.comparing import describing_model
from qianru.cli.cutting import StopWords, UserWords, own_words
from qianru.cli.layout import counted, one_line
from qianru.cli.options import AsJson, Encoding, ItemName, examples
from qianru.cli.reading import items_of
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput

if TYPE_CHECKING:
    from qianru.models.base import Model
    from qianru.use.recommend import Learned, Recommended, Recommender, Sessions

HELD = 0.2      # of the sessions


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples(
        'qianru recommend hotels.csv --text desc --item "Hilton Seattle Airport" --plot hilton.html',
        "qianru recommend dishes.csv --text 做法 --sessions clicks.jsonl --item 番茄炒蛋 --item 红烧肉",
        "qianru recommend --sessions baskets.txt --evaluate --json",
    ))(recommend)


def recommend(
    file: Annotated[
        Path | None, typer.Argument(metavar="ITEMS.csv", help="A table, one item a row.", show_default=False)
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option("--item", "-i", show_default=False, help="An item's name, or its beginning. "
                                       "Several, in their order, are a session.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", "-t", metavar="COLUMN[,COLUMN]", help="What describes an item.",
                                 show_default=False)
    ] = None,
    sessions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What people did: a session a line (.txt), or a table of user, "
                                  "item and time (.csv, .jsonl).", show_default=False)
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    name: ItemName = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="tfidf|counts|bm25|NAME|FOLDER", show_default=False,
                                 help="How to make vectors of texts; tfidf when not given.")
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Tell how often the next item of sessions held back is found.")
    ] = False,
    held: Annotated[
        float | None, typer.Option(help="Share of the sessions that is held back; 0.2 when not given.",
                                   show_default=False)
    ] = None,
    dim: Annotated[
        int | None, typer.Option(min=1, help="Length of the vectors learnt from sessions; 64 when not given.",
                                 show_default=False)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the sessions; 20 when not given.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For results that can be repeated.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False,
                                  help="Draw how well the items go together: .html, .png, .svg or .pdf.")
    ] = None,
    user_words: UserWords = None,
    stop_words: StopWords = "",
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Recommend items that go with one, or with a session of several.

    By texts alone, by sessions alone (item2vec), or by both: the rarer an item was seen, the more its text counts, as
    far as sessions held back show that it helps. An item that nobody has seen is found by its text.
    """
    from qianru.text.read.files import check_there
    from qianru.use.recommend import Item2Vec, find_item, learn_recommender, read_sessions, recommender

    for path in (file, sessions):
        if path is not None:
            check_there(path)
    if file is None and (text, name, model, user_words, stop_words) != (None, None, None, None, ""):
        raise BadInput("--text, --name, --model, --user-words and --stop-words are for a table of items. Name it: "
                       "qianru recommend ITEMS.csv --text COLUMN.")
    if file is not None and text is None:
        raise BadInput("Texts need the column that holds them: qianru recommend ITEMS.csv --text COLUMN.")
    if file is None and sessions is None:
        raise BadInput("Items are recommended by a table of texts, by --sessions, or by both. Give one of them.")
    if sessions is None and (evaluate, held, dim, epochs) != (False, None, None, None):
        raise BadInput("--evaluate, --held, --dim and --epochs are for sessions. Give them with --sessions.")
    if not item and not evaluate:
        raise BadInput("Name at least one --item, or judge sessions with --evaluate.")
    if plot is not None and not item:
        raise BadInput("--plot draws what is recommended; name an --item.")
    if plot is not None:
        from qianru.use.plot import picture_path

        picture_path(plot, page=True)       # sooner than what is learnt
    names: list[str] = []
    texts: list[str] | None = None
    ready: Model | None = None
    if file is not None and text is not None:
        names, texts = items_of(file, [column.strip() for column in text.split(",")], name, encoding)
    acted = None if sessions is None else read_sessions(sessions, encoding)
    known = list(dict.fromkeys([*names, *(one for session in acted.lists for one in session)] if acted else names))
    for one in item or ():
        find_item(known, one)       # a wrong name is told before anything is learnt
    if texts is not None:
        ready = describing_model(model or "tfidf", own_words(user_words, stop_words), texts)
    learned: Learned | None = None
    with progress("Learning", "steps") as watch:
        if acted is None:
            made = recommender(names, texts, None, ready, progress=watch)
        else:
            how = Item2Vec(seed=seed)
            how = replace(how, dim=dim or how.dim, epochs=epochs or how.epochs)
            learned = learn_recommender(names, texts, acted, ready, how, k=k, held=HELD if held is None else held,
                                        seed=seed, progress=watch)
            made = learned.recommender
    if acted is not None:
        _note_sessions(acted, made, len(names))
    found = made.recommend(item, k) if item else []
    if plot is not None:
        from qianru.use.recommend.page import draw_recommended

        rows = [find_item(made.names, one) for one in item or ()]
        draw_recommended(made, rows, found, plot, texts=texts or (), learned=learned)
    if as_json:
        show_json(_json(item or [], found, learned))
    else:
        if learned is not None and (evaluate or not learned.ways):
            _show_learned(learned)
        if item:
            _show_found(made, item, found)
    if plot is not None:
        note(f"Drawn to {plot}")


def _note_sessions(sessions: Sessions, made: Recommender, n_names: int) -> None:
    """How many sessions and items; n_names: items of the table, which come first."""
    told = f"{counted(len(sessions), 'session')} of {counted(int((made.seen > 0).sum()), 'item')}"
    if n_names:
        told += f"; {int((made.seen[:n_names] == 0).sum()):,} of the table's items are in none"
        if without := len(made.names) - n_names:
            told += f"; {without:,} are in sessions only, without a text"
    note(told)


def _show_learned(learned: Learned) -> None:
    from rich.table import Table

    from qianru.cli.terminal import stdout

    if not learned.ways:
        note("Too few sessions to hold some back, so nothing was judged, and text and behaviour are mixed as usual.")
        return
    which = "the latest" if learned.timed else "drawn"
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (f"next item of {learned.n_held:,} sessions, {which}", f"hit@{learned.k}", "95 %",
                   f"nDCG@{learned.k}", "95 %"):
        table.add_column(column, no_wrap=True)
    for way, judged in learned.ways.items():
        cells = [f"{value:.4f}" if end is None else f"{value:.4f} to {end:.4f}" for one in judged
                 for value, end in ((one.value, None), (one.low, one.high))]
        table.add_row(way, *cells)
    stdout().print(table)
    for way, gain in learned.gains.items():
        show(f"mixed - {way}: {gain.value:+.4f} nDCG@{learned.k}, with 95 % confidence from {gain.low:+.4f} to "
             f"{gain.high:+.4f}")
    mix = learned.recommender.mix
    texts = learned.recommender.texts is not None
    if not mix.half:
        first = "what people did is believed wholly" + "; texts count only for items that nobody has seen" * texts
    elif texts:
        first = f"an item seen in {mix.half:g} sessions is judged half by its text, half by what people did"
    else:
        first = f"what people did with an item seen in {mix.half:g} sessions is half believed"
    show(f"learnt: {first}" + f"; the best text is worth {mix.share:g} of the best behaviour" * texts
         + f"; an item counts {mix.decay:g} of the one after it")


def _show_found(made: Recommender, items: Sequence[str], found: Sequence[Recommended]) -> None:
    from rich.text import Text

    from qianru.use.recommend import find_item

    told = ", ".join(one_line(made.names[find_item(made.names, item)]) for item in items)
    if not found:
        note(f"Nothing goes with {told}.")
        return
    show(f"With {told}:")
    for rank, one in enumerate(found, 1):
        why = "" if made.behaviour is None else f"  ({_why(made, one)})"
        show(Text.assemble((f"{rank:<3} ", "bold"), (f"{one.score:.4f}  ", "green"), one_line(one.name), (why, "dim")))


def _why(made: Recommender, one: Recommended) -> str:
    seen = f"in {counted(one.seen, 'session')}" if one.seen else "in no session yet"
    return seen if made.texts is None else f"text {one.text:.2f}, behaviour {one.behaviour:.2f}, {seen}"


def _json(items: Sequence[str], found: Sequence[Recommended], learned: Learned | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if items:
        told |= {"items": list(items), "recommended": [one._replace(row=one.row + 1)._asdict() for one in found]}
    if learned is not None:
        told |= {
            "mix": learned.recommender.mix._asdict(), "k": learned.k, "n_held": learned.n_held,
            "n_repeats": learned.n_repeats, "by_time": learned.timed,
            "ways": {way: {name: one._asdict() for name, one in judged._asdict().items()}
                     for way, judged in learned.ways.items()},
            "gains": {way: gain._asdict() for way, gain in learned.gains.items()},
        }
    return told
