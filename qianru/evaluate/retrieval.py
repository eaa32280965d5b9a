"""Retrieval and reranking: rankings of documents held against judgments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qianru.errors import BadFile
from qianru.evaluate.data import Search
from qianru.evaluate.encode import Encoder
from qianru.evaluate.outcome import Outcome
from qianru.evaluate.ranking_metrics import CUTS, means, ranking_metrics
from qianru.evaluate.search import Ids, SearchPlan, search, unit_dense, weights_for
from qianru.evaluate.task import Task
from qianru.scores import kind_scores, weighted_mean
from qianru.types import Embeddings, FloatArray, IntArray, Kind

DEPTH = max(CUTS)
QUERIES_AT_ONCE = 64      # whose candidates are embedded together


def retrieve(encoder: Encoder, task: Task, data: Search, plan: SearchPlan) -> Outcome:
    """Every metric of the task over its whole corpus, and the main one of each query."""
    ids = Ids.of(data.corpus)
    names = list(data.queries)
    queries = encoder.encode([data.queries[name] for name in names], "query")
    rankings = search(encoder, queries, data.corpus, ids, plan)
    found = np.zeros((len(names), DEPTH), np.int32)
    judged: list[IntArray] = []
    for i, (name, (numbers, _)) in enumerate(zip(names, rankings, strict=True)):
        judged.append(_grades(data.qrels[name], ids, numbers, found[i], name if task.ignore_identical_ids else None))
    return _outcome(task, data, names, found, judged)


def rerank(encoder: Encoder, task: Task, data: Search, weights: Mapping[Kind, float] | None) -> Outcome:
    """The same over the candidates of each query."""
    assert data.candidates is not None
    names = list(data.queries)
    queries = unit_dense(encoder.encode([data.queries[name] for name in names], "query"))
    texts = _texts(data)
    found = np.zeros((len(names), DEPTH), np.int32)
    judged: list[IntArray] = []
    for start in range(0, len(names), QUERIES_AT_ONCE):
        part = names[start : start + QUERIES_AT_ONCE]
        chosen = list(dict.fromkeys(document for name in part for document in data.candidates[name]))
        documents = unit_dense(encoder.encode([_text(task, texts, document) for document in chosen]))
        rows = {document: row for row, document in enumerate(chosen)}
        for i, name in enumerate(part, start):
            candidates = sorted(data.candidates[name], reverse=True)     # equal scores: the higher id first
            at = np.array([rows[document] for document in candidates])
            scores = _scores(queries.take([i]), documents.take(at), weights, encoder)
            grades = data.qrels[name]
            order = np.argsort(-scores, kind="stable")[:DEPTH]
            found[i, : len(order)] = [grades.get(candidates[place], 0) for place in order.tolist()]
            judged.append(np.array(list(grades.values()), np.int64))
    return _outcome(task, data, names, found, judged)


def _scores(query: Embeddings, documents: Embeddings, weights: Mapping[Kind, float] | None,
            encoder: Encoder) -> FloatArray:
    scores = kind_scores(query, documents)
    kinds = encoder.kinds
    whole = scores[kinds[0]] if len(kinds) == 1 else weighted_mean(scores, weights_for(kinds, weights))
    return np.asarray(whole[0])


def _texts(data: Search) -> dict[str, str]:
    """Document -> text, of those that are candidates."""
    assert data.candidates is not None
    wanted = {document for documents in data.candidates.values() for document in documents}
    return {name: text for name, text in data.corpus() if name in wanted}


def _text(task: Task, texts: Mapping[str, str], document: str) -> str:
    if document not in texts:
        raise BadFile(f"{task.name}: the corpus lacks the candidate {document}. Download the task again.")
    return texts[document]


def _grades(grades: Mapping[str, int], ids: Ids, numbers: IntArray, row: IntArray, but: str | None) -> IntArray:
    """Fills the row with the grades of what was found; returns all that were given for the query."""
    documents = list(grades)
    judged = np.array([grades[document] for document in documents], np.int64)
    places = ids.numbers(documents)
    if but is not None:
        numbers = numbers[numbers != ids.numbers([but])[0]]
    order = np.argsort(places)
    at = np.minimum(np.searchsorted(places[order], numbers), len(places) - 1)
    hit = places[order][at] == numbers
    row[: len(numbers)] = np.where(hit, judged[order][at], 0)[: len(row)]
    return judged


def _outcome(task: Task, data: Search, names: Sequence[str], found: IntArray, judged: list[IntArray]) -> Outcome:
    values = ranking_metrics(found, judged)
    mean = means(values)
    main = values.get(task.main_score, values["ndcg_at_10"])
    per_item = dict(zip(names, main.tolist(), strict=True))
    return Outcome(mean, per_item, texts={name: (data.queries[name],) for name in names})
