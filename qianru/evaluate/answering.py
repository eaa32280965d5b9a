"""What a knowledge base would put before its model: is the sentence that holds the answer inside of so many tokens?

Paragraphs are cut into passages as collections cut them, the model finds the best of these, and their sentences are
packed (qianru.text.context). Beside it whole passages, best first, as many as there is room for: so it is done usually.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qianru.errors import BadFile, SpecMismatch
from qianru.evaluate.data import Search
from qianru.evaluate.encode import Encoder
from qianru.evaluate.outcome import Outcome
from qianru.evaluate.places import Places
from qianru.evaluate.search import Ids, SearchPlan, search
from qianru.evaluate.searches import squad_paragraphs
from qianru.evaluate.task import Task
from qianru.models.remote import estimated_tokens
from qianru.text.chunk import chunk
from qianru.text.context import Found, Stretch, pack_each, whole
from qianru.text.read.source import Source
from qianru.text.sentences import sentences
from qianru.types import Kind

BUDGETS = (500, 1000, 2000)      # tokens
N_FOUND = 50                     # passages whose sentences are looked at


def read_answers(task: Task, places: Places) -> Search:
    """The task's questions, passages, and for each question the sentence that holds its answer.

    A sentence that is longer than a passage counts by the piece of it that holds the answer. Questions whose answer
    does not stand in their paragraph are left out.
    """
    if task.layout != "squad":
        raise SpecMismatch(f"{task.name} is of the type Answering, which needs answers inside of paragraphs. "
                           'Set layout = "squad", and give such a file.')
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    answers: dict[str, str] = {}
    passages: dict[str, str] = {}
    seen: dict[str, int] = {}
    for text, questions in squad_paragraphs(task, places):
        name = seen.setdefault(text, len(seen))
        pieces = chunk(Source("", text))
        ids = [f"{name}#{number}" for number in range(1, len(pieces) + 1)]
        passages.update(zip(ids, (piece.text for piece in pieces), strict=True))
        for query, question, given in questions:
            at = _place(text, given)
            holding = [(id, piece) for id, piece in zip(ids, pieces, strict=True) if piece.start <= at < piece.end]
            if not holding:
                continue
            piece = holding[0][1]
            within = [(start, end) for start, end in sentences(piece.text) if piece.start + start <= at]
            queries[query], qrels[query] = question, {id: 1 for id, _ in holding}
            answers[query] = piece.text[slice(*within[-1])]
    if not queries:
        raise BadFile(f"{task.name} has no question whose answer stands in its paragraph. Is it laid out as SQuAD is?")
    return Search(queries, qrels, lambda: iter(passages.items()), answers=answers)


def answer(encoder: Encoder, data: Search, weights: Mapping[Kind, float] | None, memory_bytes: int) -> Outcome:
    """packed_at_n: the share of questions whose answer's sentence is inside of n tokens that were packed; whole_at_n of
    n tokens of whole passages, cut_at_n with a part of the next one. An item is a question at 1,000 tokens: 0 or 1.

    Tokens are estimated (qianru.models.remote.estimated_tokens).
    """
    assert data.answers is not None
    ids = Ids.of(data.corpus)
    texts = dict(data.corpus())
    names = list(data.queries)
    queries = encoder.encode([data.queries[name] for name in names], "query")
    inside: dict[str, list[float]] = {}
    plan = SearchPlan(N_FOUND, weights, memory_bytes)
    for name, (numbers, _) in zip(names, search(encoder, queries, data.corpus, ids, plan), strict=True):
        found = [_found(ids.name(number), texts) for number in np.asarray(numbers).tolist()]
        documents = {id.partition("#")[0] for id in data.qrels[name]}
        packed = pack_each(data.queries[name], found, BUDGETS, count=estimated_tokens)
        for budget, stretches in zip(BUDGETS, packed, strict=True):
            made = {"packed": stretches, "whole": whole(found, budget, count=estimated_tokens),
                    "cut": whole(found, budget, count=estimated_tokens, cut=True)}
            for how, told in made.items():
                value = float(holds(told, documents, data.answers[name]))
                inside.setdefault(f"{how}_at_{budget}", []).append(value)
    scores = {how: float(np.mean(values)) for how, values in inside.items()}
    return Outcome(scores, dict(zip(names, inside["packed_at_1000"], strict=True)),
                   texts={name: (data.queries[name],) for name in names})


def _place(text: str, answers: Sequence[Mapping[str, object]]) -> int:
    """Where the first answer stands in the paragraph; -1 if nowhere. Some files count wrongly, so it is looked for."""
    for one in answers:
        told, start = str(one.get("text") or ""), one.get("answer_start")
        if told and isinstance(start, int) and start >= 0 and text.startswith(told, start):
            return start
        if told and told in text:
            return text.index(told)
    return -1


def _found(id: str, texts: Mapping[str, str]) -> Found:
    document, _, number = id.partition("#")
    return Found(texts[id], document, int(number))


def holds(stretches: Sequence[Stretch], documents: set[str], sentence: str) -> bool:
    """Whether a stretch of one of these documents has the sentence inside."""
    return any(one.found.document in documents and sentence in one.text for one in stretches)
