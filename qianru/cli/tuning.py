"""qianru tune, optimize: how a collection is searched best, and fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.options import CARE, AsJson, CollectionPath, collection_path, examples
from qianru.cli.terminal import note, progress, show, show_json

if TYPE_CHECKING:
    from qianru.use.tune import Tuning


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel=CARE, epilog=examples(
        "qianru tune .qianru queries.jsonl",
        "qianru tune .qianru queries.jsonl --dry-run --json",
    ))(tune)
    app.command(rich_help_panel=CARE, epilog=examples("qianru optimize", "qianru optimize -c novels.qianru"))(optimize)


def tune(
    collection: Annotated[Path, typer.Argument(metavar="COLLECTION", help="Folder of the collection.")],
    queries: Annotated[
        Path, typer.Argument(metavar="QUERIES.jsonl", help='Lines with "query" and "relevant", a list of ids, or '
                             '"path" and perhaps "line" of the answer.')
    ],
    folds: Annotated[int, typer.Option(min=2, help="Parts of the queries, each judged by what the others taught.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report; keep the plan as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from labelled queries how a collection is searched best, and keep it as its plan."""
    from qianru.index.collection import Collection
    from qianru.use.labels import read_labelled
    from qianru.use.tune import tune

    labelled = read_labelled(queries)
    with Collection.open(collection) as library:
        with progress("Learning", "queries") as watch:
            found = tune(library, labelled, n_folds=folds, progress=watch)
        better = found.gain.value > 0
        if better and not dry_run:
            library.set_plan(found.plan)
    if as_json:
        show_json(_json(found) | {"stored": better and not dry_run})
    else:
        _show(found, better, dry_run)


def optimize(collection: CollectionPath = None, as_json: AsJson = False) -> None:
    """Build the graph of a collection's dense vectors, so that hundreds of thousands are searched fast."""
    from qianru.index.collection import Collection

    path = collection_path(collection)
    with Collection.open(path) as library, progress("Building the graph", "graphs") as watch:
        built = library.optimize(progress=watch)
    if as_json:
        show_json({"collection": str(path), "built": built})
    else:
        show(f"Built the graph of {path}." if built else f"{path} has too few dense vectors to need a graph.")


def _json(found: Tuning) -> dict[str, Any]:
    return {"plan": found.plan.to_dict(), "ndcg_at_10": {"before": found.before, "after": found.after, **found.alone},
            "gain": found.gain._asdict(), "n_queries": found.n_queries, "n_unknown": found.n_unknown}


def _show(found: Tuning, better: bool, dry_run: bool) -> None:
    if found.n_unknown:
        note(f"warning: {found.n_unknown:,} queries have no answer in this collection and were left out.")
    alone = ", ".join(f"{kind} alone {value:.4f}" for kind, value in found.alone.items())
    show(f"nDCG@10 over {found.n_queries:,} queries: {found.before:.4f} before, {found.after:.4f} on queries that were "
         f"not learnt from ({alone})",
         f"gain {found.gain.value:+.4f}, with 95 % confidence from {found.gain.low:+.4f} to {found.gain.high:+.4f}",
         f"plan {found.plan.to_json()}")
    if not better:
        note("The collection keeps its plan: the one that was learnt is not better on queries held back.")
    elif dry_run:
        note("The collection keeps its plan: --dry-run.")
