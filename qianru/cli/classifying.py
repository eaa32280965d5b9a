"""qianru classify: labels for texts, learnt from examples or told by the labels' names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.layout import counted, one_line
from qianru.cli.options import GROUPS, AsJson, Encoding, IdColumn, TextColumns, examples
from qianru.cli.reading import check_apart, named_texts, names_in, streamed, told_problems
from qianru.cli.terminal import note, progress, show, show_json, stdout
from qianru.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from qianru.text.read import Source
    from qianru.use.classify import Judgment, Predictions

WORST_SHOWN = 10           # labels
SHOWN = 20                 # texts with their labels, in a terminal
TEXT_CHARS = 70

Texts = Annotated[
    list[Path], typer.Argument(metavar="FILE|FOLDER", help="Lines, rows or passages; or a collection.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="The label of each text: .csv or .jsonl.",
                              show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    classify = typer.Typer(no_args_is_help=True, help="Tell the labels of texts: from examples, or from their names.")
    classify.command(epilog=examples(
        "qianru classify fit reviews.csv --label category -o reviews.model",
        "qianru classify fit mails.jsonl --label topic -m m3e-base -o mails.model --precision 0.95 --plot mails.html",
    ))(fit)
    classify.command(epilog=examples(
        "qianru classify predict reviews.model new.csv -o labelled.csv",
    ))(predict)
    classify.command("zero-shot", epilog=examples(
        "qianru classify zero-shot news.txt --labels 体育,财经,科技,娱乐",
        "qianru classify zero-shot news.txt --labels sports,business -m m3e-base --template \"News about {}\"",
    ))(zero_shot)
    app.add_typer(classify, name="classify", rich_help_panel=GROUPS)


def fit(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Tables with texts and labels; or a collection.")],
    label: Annotated[str, typer.Option("--label", "-l", metavar="COLUMN", help="What holds the label.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the classifier goes.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FOLDER", show_default=False,
                                 help="How to make vectors; else words and our own model.")
    ] = None,
    precision: Annotated[
        float | None, typer.Option(help="Abstain so that this share of the labels told is right.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False,
                                  help="Draw what is taken for what (.png, .svg, .pdf), or the whole report (.html).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of how texts are spread over folds.")] = 0,
    text_columns: TextColumns = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Learn labels from examples; report how well by cross-validation.

    Eight examples of a label are enough to begin with. Probabilities are calibrated: of labels told with 80 % about
    80 % are right.
    """
    from qianru.models import load
    from qianru.models.files import check_place
    from qianru.use.classify import fit_classifier
    from qianru.use.classify.pictures import draw_confusion
    from qianru.use.plot import picture_path

    if plot is not None:
        picture_path(plot, page=True)
    check_place(output)
    check_apart(files, output, plot)
    texts, labels = _labelled(files, label, text_columns, encoding)
    loaded = None if model is None else load(model)
    with progress("Learning", "heads") as watch:
        classifier, found = fit_classifier(texts, labels, loaded, precision=precision, name=model, seed=seed,
                                           progress=watch)
    classifier.save(output)
    if plot is not None:
        draw_confusion(found, plot)
    if as_json:
        show_json(_json(found, classifier.min_confidence, classifier.model.spec.name))
    else:
        _show(found, precision, output)
    if plot is not None:
        note(f"Drawn to {plot}")


def predict(
    classifier: Annotated[Path, typer.Argument(metavar="CLASSIFIER", help="Folder that classify fit wrote.")],
    files: Texts,
    output: Output = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FOLDER", show_default=False,
                                 help="Where the model is now, if it has moved.")
    ] = None,
    text_columns: TextColumns = None,
    id_column: IdColumn = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Tell the labels of texts, each with its probability."""
    from qianru.models import load
    from qianru.use.classify import Classifier
    from qianru.use.writing import check_table

    check_table(output, "Labels")
    check_apart([classifier, *files], output)
    ready = Classifier.load(classifier, None if model is None else load(model))
    ids, texts = _texts(files, text_columns, id_column, encoding)
    with progress("Labelling", "texts") as watch:
        found = ready.predict(texts, progress=watch)
    _tell(found, ids, texts, output, as_json)


def zero_shot(
    files: Texts,
    labels: Annotated[str, typer.Option("--labels", "-l", metavar="A,B,…", help="The labels, in words of such texts.")],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="A model that knows their words.")
    ] = "qianru-zh-mini",
    template: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", show_default=False,
                                       help='What a label is put into, such as "关于{}的新闻"; several are averaged.')
    ] = None,
    output: Output = None,
    text_columns: TextColumns = None,
    id_column: IdColumn = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Tell the labels of texts from the labels' names alone. Their confidence is not calibrated."""
    from qianru.models import load
    from qianru.use.classify import zero_shot as labelled
    from qianru.use.writing import check_table

    check_table(output, "Labels")
    check_apart(files, output)
    ready = load(model)
    ids, texts = _texts(files, text_columns, id_column, encoding)
    with progress("Labelling", "texts") as watch:
        found = labelled(texts, names_in(labels) or (), ready, templates=template or None, progress=watch)
    _tell(found, ids, texts, output, as_json)


def _labelled(
    files: Sequence[Path], column: str, text_columns: str | None, encoding: str | None
) -> tuple[list[str], list[str]]:
    """Texts and labels of the rows that have both; those without a label are told."""
    texts: list[str] = []
    labels: list[str] = []
    problems: list[str] = []
    n_without, known = 0, dict[str, None]()
    for source in streamed(files, names_in(text_columns), None, encoding, problems):
        known.update(dict.fromkeys(source.fields))
        label = _label(source, column)
        if label is None or not source.text.strip():
            n_without += 1
            continue
        texts.append(source.text)
        labels.append(label)
    told_problems(problems)
    if not texts and not n_without:
        raise BadInput("There is no text in these files.")
    if not texts:
        raise UnknownName("column", column, known, f"with labels in {', '.join(map(str, files))}")
    if n_without:
        note(f"warning: left out {counted(n_without, 'row')} without a text or a '{column}'.")
    return texts, labels


def _label(source: Source, column: str) -> str | None:
    """The label as a text: true, 1 for 1.0; None where there is none."""
    from qianru.use.classify.fitting import MISSING

    value = source.row.get(column)
    if isinstance(value, list | dict):
        raise BadInput(f"The '{column}' of {source.place} is no label but a list or an object: "
                       f"{value!r:.60}. A text has one label, a text or a number.")
    if isinstance(value, float) and value.is_integer():      # as pandas writes whole numbers of which some are missing
        value = int(value)
    label = value if isinstance(value, str) else json.dumps(value)
    return None if value is None or not label.strip() or label in MISSING else label


def _texts(
    files: Sequence[Path], text_columns: str | None, id_column: str | None, encoding: str | None
) -> tuple[list[str], list[str]]:
    named = named_texts(files, text_columns, id_column, encoding)
    return [id for id, _ in named], [text for _, text in named]


def _tell(found: Predictions, ids: Sequence[str], texts: Sequence[str], output: Path | None, as_json: bool) -> None:
    """The labels to a file, or on stdout."""
    from qianru.use.writing import write_table

    confident = [round(value, 4) for value in found.confidence.tolist()]
    rows = list(zip(ids, found.labels, confident, texts, strict=True))
    header = ("id", "label", "confidence", "text")
    n_none = sum(label is None for label in found.labels)
    if output is not None:
        write_table(output, header, rows)
    if as_json:
        show_json({"n_texts": len(rows), "n_without_label": n_none,
                   **({"output": str(output)} if output else
                      {"texts": [dict(zip(header, row, strict=True)) for row in rows]})})
        return
    if output is None:
        for _, label, confidence, text in rows[:SHOWN]:
            show(f"{label if label is not None else '-'}\t{confidence:.2f}\t{one_line(text)[:TEXT_CHARS]}")
    abstained = f"; {n_none:,} not sure enough to be labelled" if n_none else ""
    note(f"{counted(len(rows), 'text')}{abstained}" + (f"; written to {output}" if output else
         f"; the first {SHOWN} are shown, -o writes all" if len(rows) > SHOWN else ""))


def _json(found: Judgment, min_confidence: float, model: str) -> dict[str, Any]:
    return {
        "model": model, "n_texts": len(found.truth), "accuracy": found.accuracy, "macro_f1": found.macro_f1,
        "calibration_error": found.calibration_error, "min_confidence": min_confidence, "covered": found.covered,
        "precision": found.precision, "precision_range": found.precision_range, "labels": {
            label: {"precision": precision, "recall": recall, "f1": f1, "n_texts": n}
            for label, (precision, recall, f1, n) in found.per_label.items()},
        "confusion": found.confusion,
    }


def _show(found: Judgment, precision: float | None, output: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    show(f"{len(found.truth):,} texts, {len(found.labels)} labels; on texts held back: accuracy {found.accuracy:.1%}, "
         f"macro F1 {found.macro_f1:.1%}, calibration error {found.calibration_error:.3f}")
    if precision is not None:
        low, high = found.precision_range
        show(f"labels told: {found.covered:.1%} of the texts, {found.precision:.1%} of them right (of so many texts: "
             f"between {low:.0%} and {high:.0%})")
    table = Table(box=None, pad_edge=False)
    for name in ("label", "texts", "precision", "recall", "F1"):
        table.add_column(name, justify="left" if name == "label" else "right")
    worst = sorted(found.per_label.items(), key=lambda each: each[1][2])
    for label, (right, recall, f1, n) in worst[:WORST_SHOWN]:
        table.add_row(Text(one_line(label)), f"{n:,}", f"{right:.1%}", f"{recall:.1%}", f"{f1:.1%}")
    stdout().print(table)
    if len(worst) > WORST_SHOWN:
        note(f"The {WORST_SHOWN} worst of {len(worst)} labels; --json or --plot shows all.")
    note(f"Written to {output}")
