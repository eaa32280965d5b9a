"""qianru embed and inspect: the vectors of any number of texts, in files; what a model's folder holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qianru.cli.fetching import GET
from qianru.cli.layout import one_line
from qianru.cli.looking import show_facts
from qianru.cli.options import AsJson, Encoding, MaxTokens, Precision, examples, runtime_of
from qianru.cli.terminal import note, progress, show, show_json

if TYPE_CHECKING:
    from qianru.models.base import Model

PROBLEMS_SHOWN = 20
FAILED = 1
ON_RAY = "On several machines"      # the help page's panel of options


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=examples(
        "qianru embed reviews.csv -o vectors --model m3e-base",
        "qianru embed big.jsonl -o vectors -m bge-m3 --kinds dense,sparse --text-columns title,text --id id",
        "qianru embed questions.txt -o questions -m bge-base-zh-v1.5 --role query",
        "qianru embed reports.jsonl -o vectors -m bge-m3 --kinds dense --max-tokens 8192 --cls-every 256",
    ))(embed)
    app.command(rich_help_panel=GET, epilog=examples(
        "qianru inspect models/m3e-base", "qianru inspect bge-m3 --no-check --json", "qianru inspect vectors",
    ))(inspect)


def embed(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Lines of .txt; rows of tables.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the vectors go.")],
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="How to make vectors.")],
    role: Annotated[str, typer.Option(metavar="document|query", help="What the texts are.")] = "document",
    kinds: Annotated[
        str | None, typer.Option(metavar="dense,sparse,multi,tokens", show_default=False,
                                 help="Which vectors; else all that the model makes, but tokens.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="The task, for models that follow one.", show_default=False)
    ] = None,
    precision: Precision = None,
    max_tokens: MaxTokens = None,
    truncate_dim: Annotated[
        int | None, typer.Option(min=1, help="Keep the first so many dimensions.", show_default=False)
    ] = None,
    cls_every: Annotated[
        int | None, typer.Option(min=1, metavar="256", show_default=False,
                                 help="For long texts: average a [CLS] before every so many tokens.")
    ] = None,
    text_columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns of tables that hold the text.", show_default=False)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="What names a row; else file:line.",
                                 show_default=False)
    ] = None,
    shard_texts: Annotated[int, typer.Option(min=1, help="Texts in one file of vectors.")] = 4096,
    ray: Annotated[
        bool, typer.Option("--ray", help="Share the work out by Ray.", rich_help_panel=ON_RAY)
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="How many, each with a model of its own.", rich_help_panel=ON_RAY)
    ] = 2,
    worker_cpus: Annotated[
        float, typer.Option(min=0, help="Processor cores for each.", rich_help_panel=ON_RAY)
    ] = 1,
    worker_gpus: Annotated[
        float, typer.Option(min=0, help="GPUs for each, also parts of one.", rich_help_panel=ON_RAY)
    ] = 0,
    ray_address: Annotated[
        str | None, typer.Option(metavar="auto|ray://HOST:PORT", help="A cluster that runs; else one on this machine.",
                                 show_default=False, rich_help_panel=ON_RAY)
    ] = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Write the vectors of texts to a folder; stopped, go on where it was.

    The folder holds safetensors files and a manifest.json.
    The same command again embeds only what is not there yet.
    """
    from qianru.models.embedding_folder import EmbedPlan, embed_to

    columns = _names(text_columns)
    plan = EmbedPlan(role, _names(kinds), instruction, shard_texts)      # type: ignore[arg-type]   # embed_to checks
    opened = partial(_loaded, model, precision, max_tokens, truncate_dim, cls_every)
    read = partial(texts_of, files, columns, id_column, encoding)
    problems: list[str] = []
    try:
        with progress("Embedding", "texts") as watch:
            if ray:
                from qianru.models.embedding_ray import Cluster, embed_on_ray

                cluster = Cluster(workers, worker_cpus, worker_gpus, ray_address)
                report = embed_on_ray(output, opened, read, plan, cluster, progress=watch,
                                      on_problem=partial(_tell, problems))
            else:
                report = embed_to(output, opened(), read(problems), plan, watch)
    except KeyboardInterrupt:
        note(f"Stopped. What is in {output} stays; the same command goes on from there.")
        raise
    if len(problems) > PROBLEMS_SHOWN:
        note(f"warning: and {len(problems) - PROBLEMS_SHOWN:,} more; --json lists all")
    if as_json:
        show_json({"folder": str(output), "n_texts": report.n_texts, "n_embedded_before": report.n_before,
                   "n_truncated": report.n_truncated, "n_shards": report.n_shards, "problems": problems})
        return
    if report.n_truncated and report.n_shards > 1:       # else it is told already
        note(f"warning: {report.n_truncated:,} of all {report.n_texts:,} texts were too long for {model} and were cut.")
    before = f", {report.n_before:,} of them before" if report.n_before else ""
    show(f"{report.n_texts:,} texts embedded{before}; {output} holds {report.n_shards:,} "
         f"file{'s' * (report.n_shards != 1)} of vectors")


def inspect(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Of a model or of vectors, or a model's name.")],
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Load it and embed a few texts; of vectors: checksums.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Tell what is in a model's folder, what is applied, and whether it works.

    Of a folder of vectors: which model made them, and whether every file is what was written.
    Exit code 1 and a line on stderr if something is wrong.
    """
    from qianru.models.embedding_reader import is_embeddings
    from qianru.models.inspection import inspect_model

    if is_embeddings(Path(folder)):
        _inspect_vectors(Path(folder), check, as_json)
        return
    found = inspect_model(folder, check=check)
    if as_json:
        show_json({**found.facts, "check": found.check, "problem": found.problem})
    else:
        show_facts(found.facts)
        if found.check is not None:
            show("", "Self-check: passed")
            show_facts({name: f"{value:.2g}" if isinstance(value, float) else value
                        for name, value in found.check.items()})
    if found.problem is not None:
        note(f"error: {found.problem}")
        raise typer.Exit(FAILED)


def _inspect_vectors(folder: Path, check: bool, as_json: bool) -> None:
    """What a folder of vectors holds, and whether it is whole."""
    from qianru.models.embedding_folder import read_manifest
    from qianru.models.embedding_reader import check_embeddings

    card = read_manifest(folder)
    facts = {name: card[name] for name in ("model", "fingerprint", "kinds", "dim", "role", "instruction")
             if card.get(name) is not None}
    problems: list[str] = [] if card.get("complete") else [
        f"{folder} is not complete: embedding was stopped. The same command goes on from there."]
    if check:
        with progress("Checking", "MB", scale=1e6) as watch:
            found = check_embeddings(folder, watch)
        facts |= {"texts": found.n_texts, "files": found.n_shards, "megabytes": round(found.size_bytes / 1e6, 1)}
        problems += found.problems
    else:
        facts |= {"texts": card.get("n_texts"), "files": len(card["shards"])}
    if as_json:
        show_json({"folder": str(folder), **facts, "problems": problems})
    else:
        show_facts({"folder": str(folder), **facts})
        if check and not problems:
            show("", "Every file is what was written.")
    for problem in problems:
        note(f"error: {problem}")
    if problems:
        raise typer.Exit(FAILED)


def texts_of(
    files: Sequence[Path], columns: tuple[str, ...] | None, id_column: str | None, encoding: str | None,
    problems: list[str],
) -> Iterator[tuple[str, str]]:
    """(id, text) of every line or row; what cannot be read is told on stderr and noted."""
    from qianru.text.read import Problem
    from qianru.text.read.stream import stream_file

    streams = [stream_file(file, text_columns=columns, id_column=id_column, encoding=encoding) for file in files]
    for stream in streams:
        for source in stream:
            if not isinstance(source, Problem):
                yield source.id or f"{source.path}:{source.line}", source.text
                continue
            _tell(problems, str(source))


def _loaded(
    name: str, precision: str | None, max_tokens: int | None, truncate_dim: int | None, cls_every: int | None
) -> Model:
    """The model, run as asked; BadInput for wishes that only a transformer can follow."""
    from qianru.errors import BadInput
    from qianru.models import load

    model = load(name, runtime_of(precision, max_tokens, truncate_dim))
    if cls_every is None:
        return model
    if model.spec.family != "transformer":
        raise BadInput(f"--cls-every is for transformers that pool [CLS]; {name} is a model of the family "
                       f"'{model.spec.family}'. Leave it out.")
    from qianru.models.transformer import Transformer

    assert isinstance(model, Transformer)
    return model.altered(cls_every=cls_every)


def _tell(problems: list[str], problem: str) -> None:
    problems.append(problem)
    if len(problems) <= PROBLEMS_SHOWN:
        note(f"warning: {one_line(problem)}")


def _names(given: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in given.split(",")) if given else None
