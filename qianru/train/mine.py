"""Hard negatives: texts that a model finds near a query and that do not answer it, as far as can be told.

    ranked by the model   ranks 10 to 210, say: the very first are often right and only unlabelled
    dropped               what is known to be right, the query's own text, texts that are there twice
    dropped               what scores above 95 % of the positive: likely right (NV-Retriever, arXiv 2407.15831)
    dropped, if asked     the same by another model, which errs elsewhere
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qianru.errors import BadInput, StorageFailed
from qianru.models.base import Model
from qianru.scores import dense_top_k, kind_scores_pairs
from qianru.text.normalize import fold
from qianru.train.data.examples import Ranked
from qianru.train.mined import Mined
from qianru.types import Embeddings, FloatArray, IntArray, Progress

QUERIES_AT_ONCE = 256
N_SHOWN = 8


@dataclass(frozen=True, slots=True)
class MineConfig:
    """Which candidates become negatives.

    first, last: ranks to take from, counted from 0, last excluded;  n: negatives of each query
    margin: candidates above (1 - margin) of the positive's score are likely right; None to keep them
    choose: "random" among the candidates, or the "nearest" of them;  scores: whether to write the model's scores too
    """

    first: int = 10
    last: int = 210
    n: int = 7
    margin: float | None = 0.05
    choose: str = "random"
    scores: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.last or self.n < 1:
            raise BadInput(f"Ranks go from first to last and n is at least 1; they are {self.first}, {self.last} and "
                           f"{self.n}.")
        if self.choose not in ("random", "nearest"):
            raise BadInput(f"choose is 'random' or 'nearest', not {self.choose!r:.40}.")


def mine(
    examples: Sequence[Ranked], corpus: Sequence[str], model: Model, config: MineConfig | None = None, *,
    cross_check: Model | None = None, progress: Progress | None = None,
) -> tuple[list[Ranked], Mined]:
    """The examples with mined negatives in place of their own, and a report of what was dropped.

    model: ranks by its dense vectors;  cross_check: another model, of any kind
    Memory: the corpus's vectors, 4 bytes a dimension.
    Raises BadInput for a model without dense vectors and for a corpus smaller than the first rank.
    """
    config = config or MineConfig()
    if "dense" not in model.spec.kinds:
        raise BadInput(f"Mining ranks by dense vectors, and {model.spec.name} makes {', '.join(model.spec.kinds)}. Use "
                       "another model, or this one for the cross-check.")
    corpus = list(dict.fromkeys(corpus))
    if len(corpus) <= config.first:
        raise BadInput(f"The corpus has {len(corpus)} texts, and negatives are taken from rank {config.first} on. Use "
                       "a larger corpus, or a lower first rank.")
    right = _right(examples)
    report = Mined(n_queries=len(examples))
    documents, everything = _unit(model, corpus, "document", progress), np.arange(len(corpus))
    judge = _Judge(cross_check, corpus) if cross_check else None
    made: list[Ranked] = []
    for start in range(0, len(examples), QUERIES_AT_ONCE):
        some = examples[start : start + QUERIES_AT_ONCE]
        queries = _unit(model, [e.query for e in some], "query", None)
        positives = _unit(model, [p for e in some for p in e.positives], "document", None)
        ends = np.cumsum([len(e.positives) for e in some])
        nearest = dense_top_k(queries, [(everything, documents)], min(config.last, len(corpus)))
        for i, (e, (places, scores)) in enumerate(zip(some, nearest, strict=True)):
            own = positives[ends[i] - len(e.positives) : ends[i]] @ queries[i]
            chosen = _chosen(e, corpus, places, scores, own, right[_key(e.query)], config, judge, report)
            kept = _drawn(chosen, config, start + i)
            report.n_kept += len(kept)
            report.n_none += not kept
            if len(kept) < config.n:
                report.n_short += 1
                report.n_deeper += len(places) > config.first and float(scores[-1]) > _limit(own, config)
            taught = (*own.tolist(), *(score for _, score in kept)) if config.scores else None
            made.append(Ranked(e.query, e.positives, tuple(corpus[place] for place, _ in kept), taught))
        if progress:
            progress(start + len(some), len(examples))
    return made, report


def write_mined(path: Path, examples: Sequence[Ranked]) -> None:
    """JSONL with query, pos and neg, and scores where there are any; in place of what stands there, at once."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8") as file:
            for e in examples:
                row: dict[str, object] = {"query": e.query, "pos": e.positives, "neg": e.negatives}
                if e.scores is not None:
                    row |= {"pos_scores": e.scores[: len(e.positives)], "neg_scores": e.scores[len(e.positives) :]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise StorageFailed(f"{path} could not be written: {error.strerror or error}.") from error


class _Judge:
    """Another model's opinion of single pairs."""

    def __init__(self, model: Model, corpus: Sequence[str]) -> None:
        self.model, self.corpus = model, corpus

    def scores(self, query: str, texts: Sequence[str]) -> FloatArray:
        """(n,) of each text with the query."""
        queries: Embeddings = self.model.encode([query] * len(texts), role="query")
        scores = kind_scores_pairs(queries, self.model.encode(texts, role="document"))
        return next(iter(scores.values()))


def _chosen(
    e: Ranked, corpus: Sequence[str], places: IntArray, scores: FloatArray, own: FloatArray, right: set[str],
    config: MineConfig, judge: _Judge | None, report: Mined,
) -> list[tuple[int, float]]:
    """(place in the corpus, score) of the candidates that may be negatives, nearest first."""
    limit = _limit(own, config)
    left: list[tuple[int, float]] = []
    seen: set[str] = set()
    for place, score in zip(places[config.first :].tolist(), scores[config.first :].tolist(), strict=True):
        report.n_candidates += 1
        key = _key(corpus[place])
        if key in right:
            report.n_known += 1
        elif key in seen:
            report.n_repeated += 1
        elif score > limit:
            report.n_likely_right += 1
            if len(report.doubtful) < N_SHOWN:
                report.doubtful.append({"query": e.query, "positive": e.positives[int(own.argmin())],
                                        "text": corpus[place], "score": score, "score_of_positive": float(own.min())})
        else:
            left.append((place, score))
        seen.add(key)
    if judge is None or not left:
        return left
    judged = judge.scores(e.query, [*e.positives, *(corpus[place] for place, _ in left)])
    least = float(judged[: len(e.positives)].min())
    above = judged[len(e.positives) :] > least - abs(least) * (config.margin or 0.0)
    report.n_cross_checked += int(above.sum())
    return [one for one, drop in zip(left, above, strict=True) if not drop]


def _limit(own: FloatArray, config: MineConfig) -> float:
    """The score above which a candidate is likely right, by the lowest of the positives'."""
    lowest = float(own.min())
    return math.inf if config.margin is None else lowest - abs(lowest) * config.margin


def _drawn(left: list[tuple[int, float]], config: MineConfig, row: int) -> list[tuple[int, float]]:
    if config.choose == "nearest" or len(left) <= config.n:
        return left[: config.n]
    drawn = np.random.default_rng([config.seed, row]).permutation(len(left))[: config.n]
    return [left[i] for i in sorted(drawn.tolist())]


def _right(examples: Sequence[Ranked]) -> dict[str, set[str]]:
    """query -> all texts that are right for it in any row, and its own."""
    right: dict[str, set[str]] = {}
    for e in examples:
        right.setdefault(_key(e.query), {_key(e.query)}).update(map(_key, e.positives))
    return right


def _key(text: str) -> str:
    """Texts that differ in width, case or spaces only are one.

    >>> _key(" ＡＢＣ　你好 ") == _key("abc 你好")
    True
    """
    return " ".join(fold(text).lower().split())


def _unit(model: Model, texts: Sequence[str], role: str, progress: Progress | None) -> FloatArray:
    """(n, dim) vectors of length 1."""
    made = model.encode(texts, role=role, kinds=["dense"], progress=progress)   # type: ignore[arg-type]
    assert made.dense is not None
    lengths = np.linalg.norm(made.dense, axis=1, keepdims=True)
    unit: FloatArray = made.dense / np.where(lengths > 0, lengths, 1)
    return unit
