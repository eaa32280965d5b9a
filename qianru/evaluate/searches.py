"""Queries, documents and judgments of retrieval and reranking, in every layout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from qianru.errors import BadFile, SpecMismatch
from qianru.evaluate.data import Search, as_text, cell, read_json, table
from qianru.evaluate.places import Places
from qianru.evaluate.task import Task


def read_search(task: Task, places: Places) -> Search:
    """The task's queries, documents and judgments; queries without a judged document are left out, as mteb does."""
    if task.layout == "squad":
        found = _squad(task, places)
    elif task.type == "Reranking" and _is_listed(task, places):
        found = _candidates(task, places)
    elif task.layout == "table":
        found = _known_items(task, places)
    else:
        found = _parts(task, places)
    if not found.queries:
        raise BadFile(f"{task.name} has no query with a judged document. Do the ids of queries and judgments agree?")
    return found


def _is_listed(task: Task, places: Places) -> bool:
    """Whether documents to rank stand beside their queries; else they lie in a corpus."""
    return task.layout == "table" or (task.layout == "hub" and not places.has(task, "corpus"))


def _parts(task: Task, places: Places) -> Search:
    qrels: dict[str, dict[str, int]] = {}
    last = task.max_passage
    for row in table(task, places, "qrels"):
        judged = str(cell(task, row, "judged"))
        if last and int(judged) > last:
            continue
        query = str(cell(task, row, "judged query"))
        qrels.setdefault(query, {})[judged] = _grade(task, cell(task, row, "grade"))
    if last:         # M3E: only queries that have a relevant passage among them
        qrels = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    queries = {str(cell(task, row, "query")): as_text(task, cell(task, row, "query text"), "query")
               for row in table(task, places, "queries")}
    queries = {name: text for name, text in queries.items() if name in qrels}

    def corpus() -> Iterator[tuple[str, str]]:
        for row in table(task, places, "corpus"):
            name = str(cell(task, row, "document"))
            if not last or int(name) <= last:
                text = as_text(task, cell(task, row, "document text"), "document")
                title = cell(task, row, "title", optional=True)
                yield name, f"{title} {text}".strip() if isinstance(title, str) and title != text else text.strip()

    candidates = None
    if task.type == "Reranking":
        candidates = {str(cell(task, row, "judged query")): [str(name) for name in cell(task, row, "candidates")]
                      for row in table(task, places, "top_ranked")}
        queries = {name: text for name, text in queries.items() if candidates.get(name)}
    return Search(queries, {name: qrels[name] for name in queries}, corpus, candidates)


def _known_items(task: Task, places: Places) -> Search:
    """Each row's query looks for the same row's document; equal documents are one."""
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    documents: dict[str, str] = {}        # text -> id
    for number, row in enumerate(table(task, places, "file")):
        text = as_text(task, cell(task, row, "document"), "document")
        name = documents.setdefault(text, str(number))
        queries[str(number)] = as_text(task, cell(task, row, "query"), "query")
        qrels[str(number)] = {name: 1}
    return Search(queries, qrels, lambda: ((name, text) for text, name in documents.items()))


def _candidates(task: Task, places: Places) -> Search:
    """Rows of query + document + grade, or of query + positive + negative; queries without both sorts are left out."""
    grouped: dict[str, dict[str, int]] = {}
    for row in table(task, places, "file"):
        query = as_text(task, cell(task, row, "query text"), "query")
        graded = grouped.setdefault(query, {})
        if "positive" in row or "positive" in task.columns:
            good, bad = cell(task, row, "positive"), cell(task, row, "negative")
            if not isinstance(good, list) or not isinstance(bad, list):
                raise BadFile(f"{task.name}: positive and negative must be lists of texts.")
            graded.update({str(text): 1 for text in good} | {str(text): 0 for text in bad if text not in good})
        else:
            graded[as_text(task, cell(task, row, "document text"), "document")] = _grade(task, cell(task, row, "grade"))
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    documents: dict[str, str] = {}
    for query, graded in grouped.items():
        if not (any(grade > 0 for grade in graded.values()) and any(grade <= 0 for grade in graded.values())):
            continue
        name = f"q{len(queries):06d}"
        queries[name] = query
        # so that equal scores fall as they do in mteb, whose ids begin with "apositive" and "negative"
        order = sorted(graded, key=lambda text: graded[text] <= 0)
        qrels[name] = {f"{'a' if graded[text] > 0 else 'n'}_{name}_{i:05d}": graded[text]
                       for i, text in enumerate(order)}
        documents.update(zip(qrels[name], order, strict=True))
    return Search(queries, qrels, lambda: iter(documents.items()), {name: list(ids) for name, ids in qrels.items()})


def _squad(task: Task, places: Places) -> Search:
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    documents: dict[str, str] = {}        # text -> id
    for text, questions in squad_paragraphs(task, places):
        name = documents.setdefault(text.strip(), f"p{len(documents)}")
        for query, question, _ in questions:
            queries[query] = question
            qrels[query] = {name: 1}
    return Search(queries, qrels, lambda: ((name, text) for text, name in documents.items()))


def squad_paragraphs(task: Task, places: Places) -> Iterator[tuple[str, list[tuple[str, str, list[Any]]]]]:
    """(text, questions) of each paragraph of SQuAD's JSON; a question is (id, text, answers as they stand there)."""
    for path in places.files(task, "file"):
        said = read_json(path)
        try:
            for paragraph in chain.from_iterable(article["paragraphs"] for article in said["data"]):
                yield as_text(task, paragraph["context"], "context"), [
                    (str(one["id"]), as_text(task, one["question"], "question"), list(one.get("answers") or ()))
                    for one in paragraph["qas"]]
        except (KeyError, TypeError) as error:
            raise SpecMismatch(f"{path} is not laid out as SQuAD is: data, paragraphs, context, qas, question, id; "
                               f"{error!r}.") from error


def _grade(task: Task, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise BadFile(f"{task.name}: a grade is {value!r:.60}; grades are whole numbers.") from None
