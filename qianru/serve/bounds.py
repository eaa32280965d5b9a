"""How much of everything a request may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from qianru.errors import BadInput, RequestRefused, UnknownName
from qianru.index.intake import fields_json
from qianru.index.plan import Plan
from qianru.serve.options import Limits
from qianru.types import Document

EXPLAINED_CHARS = 2_000     # of a question whose tokens are set beside those of every sentence


def check_k(limits: Limits, name: str, value: int) -> None:
    """Raises RequestRefused for a k that is larger than the server allows."""
    if value > limits.k:
        raise RequestRefused(f"{name} is {value:,}; the server goes to {limits.k:,} (--limit k=N).", 422)


def check_chars(limits: Limits, name: str, *texts: str) -> None:
    """Raises RequestRefused for questions or a filter so long that the collection's thread would be held up by them."""
    n, most = sum(map(len, texts)), limits.query_chars
    if n > most:
        raise RequestRefused(f"{name}: {n:,} characters; the server reads {most:,} (--limit query_chars=N).", 413)


def check_explained(queries: Iterable[str]) -> None:
    """Raises RequestRefused for a question too long to be explained."""
    n = max(map(len, queries))
    if n > EXPLAINED_CHARS:
        raise RequestRefused(f"A query of {n:,} characters cannot be explained; one of {EXPLAINED_CHARS:,} can. "
                             "Shorten it.", 413)


def check_count(limits: Limits, n: int, what: str) -> None:
    """Raises RequestRefused for more texts, documents or ids than one request may have, BadInput for none."""
    if n == 0:
        raise BadInput(f"There are no {what} in the request. Send at least one.")
    if n > limits.texts:
        raise RequestRefused(f"{n:,} {what}; the server takes {limits.texts:,} at once (--limit texts=N). Send them in "
                             "several requests.", 413)


def check_search(limits: Limits, queries: Sequence[str], k: int, plan: Plan | None, explained: bool) -> None:
    """Raises RequestRefused for a search of too many hits, or of too many that are rescored or explained.

    plan: that the request names; what the collection's own costs is seen in its thread, see check_hits
    """
    if len(queries) > limits.queries:
        raise RequestRefused(f"{len(queries):,} queries; the server answers {limits.queries:,} at once (--limit "
                             "queries=N).", 413)
    check_chars(limits, "queries", *queries)
    check_k(limits, "k", k)
    check_hits(limits, len(queries), k, plan)
    if explained:
        check_explained(queries)
        if (n := len(queries) * k) > limits.explained:
            raise RequestRefused(f"{n:,} hits to be explained; the server explains {limits.explained:,} at once "
                                 "(--limit explained=N). Ask for fewer hits, or without explain.", 413)


def check_hits(limits: Limits, n_queries: int, k: int, plan: Plan | None) -> None:
    """Raises RequestRefused for a search of too many hits, or where the plan rescores or compares too many."""
    deep = plan.depth if plan is not None and (plan.rescore is not None or plan.mmr is not None) else 0
    if (n := n_queries * max(k, deep)) > limits.hits:
        what = f"k = {k:,}" if k >= deep else f"plan.depth = {deep:,}"
        raise RequestRefused(f"{n_queries:,} queries with {what} make {n:,} hits; the server gives {limits.hits:,} "
                             "at once (--limit hits=N). Ask for fewer, or in several requests.", 413)


def check_answer(limits: Limits, n_chars: int) -> None:
    """Raises RequestRefused for an answer whose texts are too long together."""
    if n_chars > limits.answer_chars:
        raise RequestRefused(f"The answer would hold more than {limits.answer_chars:,} characters of text (--limit "
                             "answer_chars=N). Ask for fewer documents.", 413)


def check_documents(limits: Limits, documents: Sequence[Document]) -> None:
    """Raises RequestRefused for documents that are too long, or have too many or too large fields; BadInput for what is
    no field."""
    for document in documents:
        if (n := len(document.text)) > limits.text_chars:
            raise RequestRefused(f"Document {document.id[:60]!r} has {n:,} characters; the server keeps "
                                 f"{limits.text_chars:,} (--limit text_chars=N). Cut it into passages, which are found "
                                 "more exactly.", 413)
        n, size = len(document.fields), len(fields_json(document).encode())
        if n > limits.fields:
            raise RequestRefused(f"Document {document.id[:60]!r} has {n:,} fields; the server keeps {limits.fields:,} "
                                 "(--limit fields=N).", 413)
        if size > limits.fields_bytes:
            raise RequestRefused(
                f"The fields of document {document.id[:60]!r} take {size:,} bytes; the server keeps "
                f"{limits.fields_bytes:,} (--limit fields_bytes=N). What is to be searched belongs in its text.", 413)


def check_room(limits: Limits, name: str, n: int) -> None:
    """Raises RequestRefused where a collection would come to hold more documents than the server keeps in one."""
    if n > limits.documents:
        raise RequestRefused(f"{name} would hold {n:,} documents; the server keeps {limits.documents:,} in one "
                             "(--limit documents=N). Delete some, or make another collection.", 413)


def plan_of(limits: Limits, given: str | dict[str, Any] | None) -> Plan | None:
    """The plan of a request. Raises RequestRefused for one that would load a model or cost too much."""
    if given is None:
        return None
    try:
        plan = Plan.parse(given)
    except (BadInput, UnknownName, TypeError) as error:
        raise RequestRefused(f"plan: {error}", 422) from None
    if plan.reranker:
        raise RequestRefused("A plan that is sent may not name a reranker, since the server would load it. Leave the "
                             "name out: rescore \"reranker\" uses the one that the server has.", 403)
    usual = Plan()
    for step in ("candidates", "depth", "per_group"):
        if (value := getattr(plan, step)) > getattr(usual, step):       # the usual is never refused
            check_k(limits, f"plan.{step}", value)
    return plan
