"""Retrieval quality on real questions: nDCG@10 of BM25 and hybrids, beside bm25s with jieba's words.

    python bench/retrieval.py            # prints one line of JSON and a table for docs/benchmarks.md
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import bm25s
import jieba
import numpy as np
import pytrec_eval
from common import data_folder, report

from qianru import Collection, Document
from qianru.models import load
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.models.joined import JoinedModel
from qianru.models.word2vec import Word2Vec
from qianru.text.analyze import SEARCH, Analyzer

DEPTH = 100


class Task(NamedTuple):
    """Passages, questions, and for each question the place of its passage."""

    name: str
    passages: list[str]
    questions: list[str]
    right: list[int]


def squad(name: str, path: Path) -> Task:
    articles = json.loads(gzip.decompress(path.read_bytes()))
    passages: list[str] = []
    questions: list[str] = []
    right: list[int] = []
    for article in articles["data"] if isinstance(articles, dict) else articles:
        for paragraph in article["paragraphs"]:
            passages.append(paragraph["context"])
            for question in paragraph["qas"]:
                questions.append(question["question"])
                right.append(len(passages) - 1)
    return Task(name, passages, questions, right)


def titles(name: str, path: Path) -> Task:
    text = gzip.decompress(path.read_bytes()).decode()
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    return Task(name, [row[1] for row in rows], [row[2] for row in rows], list(range(len(rows))))


def tasks(data: Path) -> Iterator[Task]:
    yield squad("DRCD dev", data / "retrieval/drcd/DRCD_dev.json.gz")
    yield squad("CMRC 2018 trial", data / "retrieval/cmrc2018/cmrc2018_trial.json.gz")
    yield titles("CSL title, dev", data / "retrieval/csl_title/dev.tsv.gz")


def ndcg_at_10(task: Task, rankings: list[list[tuple[int, float]]]) -> list[float]:
    """nDCG@10 of each question, as pytrec_eval computes it."""
    qrels = {str(i): {str(right): 1} for i, right in enumerate(task.right)}
    run = {str(i): {str(n): float(score) for n, score in ranking} for i, ranking in enumerate(rankings)}
    per_query = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
    return [per_query.get(str(i), {"ndcg_cut_10": 0.0})["ndcg_cut_10"] for i in range(len(rankings))]


def by_bm25s(task: Task) -> list[list[tuple[int, float]]]:
    retriever = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    retriever.index([jieba.lcut(passage) for passage in task.passages], show_progress=False)
    asked = [jieba.lcut(question) for question in task.questions]
    found = retriever.retrieve(asked, k=min(DEPTH, len(task.passages)), show_progress=False)
    return [list(zip(ids.tolist(), scores.tolist(), strict=True))
            for ids, scores in zip(found.documents, found.scores, strict=True)]


def by_collection(task: Task, model: Model, **how: Any) -> list[list[tuple[int, float]]]:
    with tempfile.TemporaryDirectory() as folder, Collection.create(Path(folder) / "c", model) as collection:
        collection.add([Document(str(i), passage) for i, passage in enumerate(task.passages)])
        found = collection.search_many(task.questions, k=DEPTH, **how)
        return [[(int(hit.id), hit.score) for hit in hits] for hits in found]


def main() -> None:
    jieba.setLogLevel(logging.ERROR)
    table: dict[str, dict[str, float]] = {}
    analyzers = {
        "BM25, words": Analyzer(),
        "BM25, words, script folded": Analyzer(fold_script=True),
        "BM25, search mode": Analyzer(mode="search"),
        "BM25, search mode, script folded": Analyzer(mode="search", fold_script=True),
        "BM25, search mode and characters, script folded": SEARCH,
        "BM25, characters and pairs of them": Analyzer(unit="char", ngrams=(1, 2), fold_script=True),
    }
    for task in tasks(data_folder()):
        print(f"{task.name}: {len(task.passages)} passages, {len(task.questions)} questions", file=sys.stderr)
        runs = {"bm25s + jieba": by_bm25s(task)}
        for name, analyzer in analyzers.items():
            runs[name] = by_collection(task, BM25(analyzer))
        runs["BM25, the same without function words in queries (collections)"] = by_collection(task, load("bm25"))
        vectors = Word2Vec(dim=128, min_count=2, seed=1, workers=1, analyzer=Analyzer(fold_script=True))
        both = JoinedModel([load("bm25"), vectors.fit(task.passages)])
        runs["word2vec"] = by_collection(task, both, kinds=["dense"])
        runs["hybrid, RRF"] = by_collection(task, both)
        weights = {"sparse": 0.9, "dense": 0.1}
        runs["hybrid, weighted 0.9 + 0.1"] = by_collection(task, both, fusion="weighted", weights=weights)
        for name, ranking in runs.items():
            table.setdefault(name, {})[task.name] = round(float(np.mean(ndcg_at_10(task, ranking))), 4)
    names = list(next(iter(table.values())))
    print("| model | " + " | ".join(names) + " |\n|---|" + "---|" * len(names), file=sys.stderr)
    for model, row in table.items():
        print(f"| {model} | " + " | ".join(f"{row[name]:.4f}" for name in names) + " |", file=sys.stderr)
    report("retrieval", ["bm25s", "jieba", "rjieba", "gensim", "pytrec-eval-terrier"], ndcg_at_10=table)


if __name__ == "__main__":
    main()
