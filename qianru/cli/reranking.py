"""qianru rerank: texts in the order in which a cross-encoder says that they answer a question."""

from __future__ import annotations

from typing import Annotated

import typer

from qianru.cli.comparing import texts_named
from qianru.cli.layout import one_line
from qianru.cli.options import AsJson, Encoding, MaxTokens, Precision, examples, runtime_of
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples(
        'qianru rerank "怎样申请退款" answers.txt --model bge-reranker-base -k 5',
        'qianru rerank "谁写了静夜思" "李白写了静夜思" "杜甫写了春望" -m bge-reranker-v2-m3 --json',
    ))(rerank)


def rerank(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What is asked.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="TEXT|FILE", help="Texts, or files with one text a line.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="A reranker.")],
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="How many of the best; else all.", show_default=False)
    ] = None,
    precision: Precision = None,
    max_tokens: MaxTokens = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Order texts by how well they answer a question.

    A reranker reads question and text together: slower than vectors, and better at telling the best of some dozens.
    The first number is the probability, the second the score that the model gives.
    """
    import numpy as np

    from qianru.models import load
    from qianru.models.base import Reranker

    texts = [text for name in inputs for text in texts_named(name, encoding)]
    ready = load(model, runtime_of(precision, max_tokens))
    if not isinstance(ready, Reranker):
        raise BadInput(f"{model} makes {' and '.join(ready.spec.kinds)} vectors; it is no reranker. Use one, such as "
                       "bge-reranker-base, or compare with: qianru similarity.")
    with progress("Reranking", "texts") as watch:
        scores = ready.score([(query, text) for text in texts], progress=watch)
    order = np.argsort(-scores, kind="stable")[:k]
    told = [{"rank": rank, "row": int(i) + 1, "score": float(scores[i]), "probability": probability(float(scores[i])),
             "text": texts[i]} for rank, i in enumerate(order, 1)]
    if as_json:
        show_json({"query": query, "model": ready.spec.name, "results": told})
        return
    note(f"{len(texts):,} texts by {ready.spec.name}")
    for line in told:
        show(f"{line['rank']:<3} {line['probability']:.4f}  {line['score']:8.3f}  {one_line(str(line['text']))}")


def probability(score: float) -> float:
    """The sigmoid of a score.

    >>> probability(0.0), round(probability(-800.0), 4)
    (0.5, 0.0)
    """
    from math import exp

    return 1 / (1 + exp(-score)) if score >= 0 else exp(score) / (1 + exp(score))
