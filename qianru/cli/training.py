"""qianru train, qianru pretrain, qianru mine, qianru merge: a model made better on the user's own texts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from qianru.cli.evaluating import DATA_VARIABLE, task_data
from qianru.cli.layout import one_line
from qianru.cli.options import AsJson, examples
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput, require

if TYPE_CHECKING:
    from qianru.train.config import TrainConfig
    from qianru.train.data.sets import DataSet
    from qianru.train.loop import Evaluate, Step

Settings = TypeVar("Settings")
NEW = re.compile(r"new:(\d+)x(\d+)")
N_NOTES = 20   # lines that say how a training goes


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=examples(
        "qianru train m3e-base pairs.jsonl -o mine",
        "qianru train bge-m3 pairs.jsonl more.csv -o mine --dev dev.jsonl --loss three_heads",
        "qianru train m3e-base pairs.jsonl -o mine --task faq.toml      [dim]# keeps what does best on your task[/dim]",
        "qianru train config.toml --resume",
    ))(train)
    app.command(epilog=examples(
        "qianru pretrain bert-base-chinese texts.jsonl -o mine",
        "qianru pretrain new:4x256 texts.jsonl -o mine --vocab vocab.txt   [dim]# from nothing[/dim]",
    ))(pretrain)
    app.command(epilog=examples(
        "qianru mine pairs.jsonl --model m3e-base --corpus passages.jsonl -o mined.jsonl",
        "qianru train m3e-base mined.jsonl -o mine",
    ))(mine)
    app.command(epilog=examples(
        "qianru merge mine-1 mine-2 m3e-base -o merged --weights 1,1,2",
    ))(merge)


def train(
    what: Annotated[list[str], typer.Argument(
        metavar="MODEL FILE... | CONFIG.toml", help="A model and files of examples, or a file of settings.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FOLDER",
                                                help="Where the model is written.", show_default=False)] = None,
    dev: Annotated[Path | None, typer.Option(metavar="FILE", show_default=False, help=(
        "Held-out examples: the weights that do best on them are kept."))] = None,
    task: Annotated[list[str] | None, typer.Option("--task", "-t", metavar="NAME|FILE", show_default=False, help=(
        "In place of --dev: tasks as qianru evaluate takes them; may be given again."))] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", show_default=False, help=(
        f"Where files of tasks are looked for; else ${DATA_VARIABLE}."))] = None,
    hold_out: Annotated[float | None, typer.Option(metavar="SHARE", show_default=False, help=(
        "Judge by this share of the examples, 0.05 say, and learn from the rest."))] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    loss: Annotated[str | None, typer.Option(metavar="NAME", show_default=False, help=(
        "For queries with documents: info_nce, four_directions or three_heads."))] = None,
    heads: Annotated[bool, typer.Option("--heads", help="Give the model BGE-M3's sparse and multi heads.")] = False,
    epochs: Annotated[float | None, typer.Option(help="Passes over the examples.", show_default="1")] = None,
    steps: Annotated[int | None, typer.Option(help="In place of epochs.", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples.", show_default="by the model's size")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="by the model's size")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the loss.", show_default="0.02")] = None,
    negatives: Annotated[int | None, typer.Option(help="Hard negatives of each row.", show_default="7")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Cut texts after so many.", show_default="the model's")] = None,
    nested: Annotated[str | None, typer.Option(metavar="D,D", show_default=False, help=(
        "Matryoshka sizes, e.g. 768,256,64: vectors can be cut to these."))] = None,
    lora: Annotated[int | None, typer.Option(metavar="RANK", show_default=False, help=(
        "Train thin matrices beside fixed weights: large models in little memory."))] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default="auto")] = None,
    seed: Annotated[int | None, typer.Option(help="For results that can be repeated.", show_default="42")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model further on your own pairs."""
    from qianru.train.lora import LoraConfig

    if dev is not None and task:
        raise BadInput("Held-out examples or tasks say which weights are best, not both. Leave out --dev or --task.")
    config = _with(
        _begun(what, output), epochs=epochs, steps=steps, batch_size=batch_size, n_negatives=negatives,
        max_tokens=max_tokens, precision=precision, seed=seed, add_heads=heads or None,
        hold_out=hold_out, lora=None if lora is None else LoraConfig(lora),
    )
    sizes = None if nested is None else tuple(map(_whole, nested.split(",")))
    config = replace(config, loss=_with(config.loss, ranked=loss, temperature=temperature, nested_dims=sizes),
                     optimizer=_with(config.optimizer, lr=lr))
    _run(config, _on_tasks(task, data) if task else dev, resume, as_json)


def pretrain(
    model: Annotated[str, typer.Argument(help="An encoder, or new:LAYERSxWIDTH for one drawn at random.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Texts.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the model is written.")],
    task: Annotated[str, typer.Option(help="mlm, retromae or dupmae.")] = "retromae",
    vocab: Annotated[Path | None, typer.Option(metavar="FILE", show_default=False, help=(
        "For a new model: BERT's vocab.txt."))] = None,
    dev: Annotated[Path | None, typer.Option(metavar="FILE", show_default=False, help=(
        "Held-out pairs: the weights that do best on them are kept."))] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    epochs: Annotated[float, typer.Option(help="Passes over the texts.")] = 1.0,
    steps: Annotated[int | None, typer.Option(help="In place of epochs.", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts.", show_default="by the model's size")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="1e-4")] = None,
    share: Annotated[float, typer.Option(help="Of the tokens that are hidden.")] = 0.3,
    max_tokens: Annotated[int | None, typer.Option(help="Cut texts after so many.", show_default="the model's")] = None,
    seed: Annotated[int, typer.Option(help="For results that can be repeated.")] = 42,
    as_json: AsJson = False,
) -> None:
    """Teach an encoder the language of your own texts, before it is trained on pairs."""
    from qianru.train import DataConfig, OptimizerConfig, TrainConfig
    from qianru.train.pretraining.config import PretrainConfig
    from qianru.train.pretraining.create import create_encoder

    shape = NEW.fullmatch(model)
    if shape:
        if vocab is None:
            raise BadInput("A new model needs a vocabulary. Say which with --vocab, e.g. the vocab.txt of a BERT.")
        start = output.with_name(f"{output.name}-start")
        if not (resume and start.exists()):
            create_encoder(start, vocab, int(shape[1]), int(shape[2]), seed=seed)
        model = str(start)
    config = TrainConfig(
        model, str(output), tuple(DataConfig(path) for path in files), optimizer=OptimizerConfig(lr=lr),
        batch_size=batch_size, epochs=epochs, steps=steps, max_tokens=max_tokens, seed=seed,
        pretrain=PretrainConfig(task, share),   # type: ignore[arg-type]   # checked there
    )
    _run(config, dev, resume, as_json)


def mine(
    pairs: Annotated[Path, typer.Argument(metavar="FILE", help="Queries with positives.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="JSONL with query, pos and neg.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Whose dense vectors rank the corpus.")],
    corpus: Annotated[Path | None, typer.Option(metavar="FILE", show_default=False, help=(
        "Texts to find negatives among; else the positives of all queries."))] = None,
    cross_check: Annotated[str | None, typer.Option(metavar="MODEL", show_default=False, help=(
        "Another model, e.g. bm25: what it too ranks with the positive is dropped."))] = None,
    ranks: Annotated[str, typer.Option(metavar="FIRST-LAST", help="Ranks to take negatives from.")] = "10-210",
    n: Annotated[int, typer.Option("-n", min=1, help="Negatives of each query.")] = 7,
    margin: Annotated[float, typer.Option(help=(
        "Texts that score above 1 - MARGIN of the positive are dropped as likely right."))] = 0.05,
    nearest: Annotated[bool, typer.Option("--nearest", help="The nearest, not any, of those that remain.")] = False,
    scores: Annotated[bool, typer.Option("--scores", help="Write the model's scores too, for distillation.")] = False,
    seed: Annotated[int, typer.Option(help="For results that can be repeated.")] = 42,
    as_json: AsJson = False,
) -> None:
    """Find hard negatives for training: near the query, and no answer to it."""
    from qianru.models import load
    from qianru.models.bm25 import BM25
    from qianru.train.data.examples import Ranked
    from qianru.train.mine import MineConfig, mine as run, write_mined
    from qianru.train.mined import as_json as told

    first, _, last = ranks.partition("-")
    config = MineConfig(_whole(first), _whole(last), n, margin, "nearest" if nearest else "random", scores, seed)
    data = _read(pairs)
    rows = [e for i in range(len(data)) if isinstance(e := data[i], Ranked)]
    if not rows:
        raise BadInput(f"{pairs} holds {data.task} texts; mining needs queries with positives.")
    texts = _texts(_read(corpus)) if corpus else [text for e in rows for text in e.positives]
    judge = load(cross_check) if cross_check else None
    if isinstance(judge, BM25) and cross_check == "bm25":
        judge.fit(texts)           # the built-in one knows no words yet
    with progress("Mining", "texts") as watch:
        made, report = run(rows, texts, load(model), config, cross_check=judge, progress=watch)
    write_mined(output, made)
    advice = report.advice(config.first, config.last, config.margin, len(set(texts)))
    if as_json:
        show_json({"path": str(output), **told(report, advice)})
        return
    show(f"{report.n_kept:,} negatives for {report.n_queries:,} queries, saved to {one_line(str(output))}")
    show(f"of {report.n_candidates:,} candidates: {report.n_known:,} known to be right, {report.n_repeated:,} copies, "
         f"{report.n_likely_right:,} likely right, {report.n_cross_checked:,} dropped by the cross-check")
    if report.n_short:
        show(f"{report.n_short:,} queries have fewer than {config.n}, {report.n_none:,} of them none")
    for cause in advice:
        show(cause)
    for doubt in report.doubtful:
        show(f"likely right ({doubt['score']:.3f}, its positive {doubt['score_of_positive']:.3f}): "
             f"{one_line(str(doubt['query']))[:60]} → {one_line(str(doubt['text']))[:80]}")


def merge(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Folders or names, of one shape.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the model is written.")],
    weights: Annotated[str | None, typer.Option(metavar="W,W", show_default="all alike", help=(
        "Of each model, brought to a sum of 1."))] = None,
    as_json: AsJson = False,
) -> None:
    """Make one model of several that grew out of one: the mean of their weights."""
    from qianru.train.merging import merge as run

    shares = None if weights is None else [_decimal(weight) for weight in weights.split(",")]
    folder = run(models, output, shares)
    if as_json:
        show_json({"path": str(folder), "models": models})
    else:
        show(f"{len(models)} models merged; saved to {one_line(str(folder))}")


def _on_tasks(names: list[str], data: Path | None) -> Evaluate:
    """What evaluates a model on the tasks of these names."""
    from qianru.evaluate.run import How
    from qianru.evaluate.task import find_tasks
    from qianru.evaluate.while_training import OnTasks

    return OnTasks([task for name in names for task in find_tasks(name)], How(task_data(data)))


def _run(config: TrainConfig, dev: Path | Evaluate | None, resume: bool, as_json: bool) -> None:
    """Trains, showing how it goes, and says what came out."""
    from qianru.train import train as run
    from qianru.train.heldout import HeldOut

    require("torch", "torch", "Training")
    from qianru.train.processes import Processes

    evaluate = HeldOut(_read(dev)) if isinstance(dev, Path) else dev
    if not Processes.joined().first:      # of those that torchrun has started, one speaks
        run(config, evaluate=evaluate, resume=resume)
        return
    with progress("Training", "steps") as watch:

        def report(step: Step) -> None:
            watch(step.step, step.n_steps)
            if step.step % max(step.n_steps // N_NOTES, 1) == 0 or step.step == step.n_steps:
                note(f"step {step.step:,}/{step.n_steps:,}: loss {step.loss:.4f}, learning rate {step.lr:.1e}, "
                     f"{step.tokens_per_s:,.0f} tokens/s, {_duration(step.left_s)} left")

        made = run(config, evaluate=evaluate, resume=resume, on_step=report)
    if as_json:
        show_json({"path": str(made.folder), "steps": made.steps, "best": made.best, "best_step": made.best_step})
        return
    best = "" if made.best is None else f", the best at step {made.best_step:,} with {made.best:.4f}"
    show(f"{made.steps:,} steps{best}; saved to {one_line(str(made.folder))}")
    note(f"Use it: qianru index FOLDER --model {made.folder}")


def _begun(what: list[str], output: Path | None) -> TrainConfig:
    from qianru.train import DataConfig, TrainConfig

    if len(what) == 1 and what[0].endswith(".toml"):
        config = TrainConfig.read(Path(what[0]))
        return config if output is None else replace(config, output=str(output))
    if len(what) < 2 or output is None:
        raise BadInput("Name a model, files of examples and -o FOLDER; or one file of settings, CONFIG.toml.")
    return TrainConfig(what[0], str(output), tuple(DataConfig(path) for path in what[1:]))


def _with(settings: Settings, **chosen: object) -> Settings:
    """The settings with those that were chosen on the command line."""
    given = {name: value for name, value in chosen.items() if value is not None}
    return replace(settings, **given)   # type: ignore[type-var]


def _read(path: Path) -> DataSet:
    from qianru.train.data.sets import DataConfig, DataSet

    return DataSet(DataConfig(str(path)))


def _texts(data: DataSet) -> list[str]:
    from qianru.train.data.examples import Labelled, Plain, Ranked, Scored

    found: list[str] = []
    for i in range(len(data)):
        e = data[i]
        if isinstance(e, Ranked):
            found += [*e.positives, *e.negatives]
        elif isinstance(e, Scored):
            found += [e.left, e.right]
        elif isinstance(e, (Plain, Labelled)):
            found.append(e.text)
    return found


def _whole(text: str) -> int:
    if not text.strip().isdecimal():
        raise BadInput(f"'{text}' is no whole number.")
    return int(text)


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"'{text}' is no number.") from None


def _duration(seconds: float) -> str:
    """For people.

    >>> _duration(42), _duration(100), _duration(7500)
    ('42 s', '2 min', '2.1 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
