"""qianru models and download: which models are known, and how one comes onto this machine."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.options import AsJson, examples
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput

if TYPE_CHECKING:
    from rich.table import Table

    from qianru.models.catalogue import Card

GET = "Get models"        # the help page's panel of commands


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel=GET, epilog=examples(
        "qianru models", "qianru models --json | jq '.[] | select(.languages | index(\"zh\")) | .name'",
    ))(models)
    app.command(rich_help_panel=GET, epilog=examples(
        "qianru download m3e-base",
        "qianru download iic/nlp_gte_sentence-embedding_chinese-base --from modelscope",
        "qianru download bge-m3 --from https://hf-mirror.com",
        "qianru download --task C-MTEB --from modelscope",
    ))(download)


def models(as_json: AsJson = False) -> None:
    """List the models that are known by name.

    Any other model of the same families works by its folder, or by owner/name after it was downloaded.
    """
    from qianru.models.catalogue import catalogue
    from qianru.models.download import is_here

    cards = [(card, is_here(card.name)) for card in catalogue()]
    if as_json:
        show_json([_facts(card) | {"here": here} for card, here in cards])
    else:
        show(_table(cards))


def download(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Of qianru models, or owner/name on the hub.",
                                   show_default=False)
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", metavar="NAME", help="The data of a task or suite of qianru evaluate, "
                                       "in place of a model.", show_default=False)
    ] = None,
    source: Annotated[
        str, typer.Option("--from", metavar="huggingface|modelscope|URL", help="A hub, or a mirror of Hugging Face.")
    ] = "huggingface",
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit; else the newest.", show_default=False)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Take what is there, or fail.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download a model or the data of tasks, or what a broken download still lacks.

    Prints the folder. Each file is checked against the hash that the hub gives.
    HF_ENDPOINT names a mirror, QIANRU_CACHE the place where models are kept.
    """
    from qianru.models import download as room

    if task or name is None:
        if name is not None or not task:
            raise BadInput("Name either a model or a task: qianru download m3e-base, qianru download --task STSB.")
        _download_tasks(task, source, revision, as_json)
        return
    with progress(f"Downloading {name}", "MB", scale=1e6) as watch:
        folder = room.download(name, source=source, revision=revision, offline=offline, progress=watch)
    if as_json:
        show_json({"name": name, "path": str(folder)})
    else:
        show(str(folder))
        if revision is None:
            note(f"Use it by its name: --model {name}")


def _download_tasks(names: list[str], source: str, revision: str | None, as_json: bool) -> None:
    """The data sets of the tasks; those that some tasks share once."""
    from qianru.evaluate.task import find_tasks
    from qianru.models.data_sets import download_data_set
    from qianru.models.hub import hub

    kind = hub(source).kind
    done: dict[tuple[str, str, str], str] = {}
    for one in [one for name in names for one in find_tasks(name)]:
        if kind not in one.ids:
            raise BadInput(f"{one.name} is not known to be on {kind}. " + (
                f"Add --from {next(iter(one.ids))}." if one.ids else "Its files are your own."))
        # the commit is one of Hugging Face; the files of a set of several lie in a folder of their own
        at = revision or (one.revision if kind == "huggingface" else "")
        for data_set in filter(None, (one.ids[kind], one.qrels_ids.get(kind))):
            only = () if one.layout == "hub" else tuple(one.files.values())
            key = (data_set, at, one.config)
            if key not in done:
                with progress(f"Downloading {data_set}", "MB", scale=1e6) as watch:
                    done[key] = str(download_data_set(data_set, source=source, revision=at, only=only, progress=watch))
                if not as_json:
                    show(done[key])
    if as_json:
        show_json([{"name": data_set, "path": path} for (data_set, _, _), path in done.items()])


def _facts(card: Card) -> dict[str, Any]:
    """What is known of a model; nothing of what is not."""
    facts = {field.name: getattr(card, field.name) for field in fields(card)}
    return {name: value for name, value in facts.items() if value is False or value}


def _table(cards: list[tuple[Card, bool]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", style="cyan", no_wrap=True)
    for title in ("dim", "tokens", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("languages", "licence", "here"):
        table.add_column(title)
    for card, here in cards:
        size = "" if card.n_parameters is None else _short(card.n_parameters)
        makes = _number(card.dim) if card.kinds else "score"
        table.add_row(card.name, makes, _number(card.max_tokens), size or card.family * (not card.ids),
                      ", ".join(card.languages), card.licence, "yes" if here else "")
    return table


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _short(n: int) -> str:
    """Millions or billions.

    >>> _short(23_953_920), _short(7_110_660_096)
    ('24M', '7.1B')
    """
    return f"{n / 1e9:.1f}B" if n >= 1e9 else f"{n / 1e6:.0f}M"
