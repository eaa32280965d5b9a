"""Texts to vectors for an evaluation: block by block, each text once, every block checked, what is cut counted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from qianru.evaluate.rows import check
from qianru.evaluate.task import ASYMMETRIC, LABELLED, Task
from qianru.evaluate.vector_cache import VectorCache
from qianru.models.base import Model, chosen_kinds
from qianru.types import Embeddings, Kind, Progress, Role

BLOCK_TEXTS = 4096
BLOCK_CHARS = 2_000_000         # and fewer texts where they are long, which bounds what a model works on
MULTI_BLOCK_CHARS = 100_000     # where each token has a vector
EVALUATED: tuple[Kind, ...] = ("dense", "sparse", "multi")
LOG = logging.getLogger("qianru.evaluate")


@dataclass
class Encoder:
    """A model as an evaluation uses it.

    kinds: of the vectors that are made;  instruction: put before queries, None for the model's own prompt
    cache: None to embed everything anew. Models that learn are fast, and are never cached: what they make of a text
        depends on all that they have read.
    n_texts, n_truncated: counted as work goes on
    """

    model: Model
    kinds: tuple[Kind, ...]
    instruction: str | None = None
    cache: VectorCache | None = None
    progress: Progress | None = None
    n_texts: int = 0
    n_truncated: int = 0
    _cached: bool = field(init=False)

    def __post_init__(self) -> None:
        self._cached = self.cache is not None and not learns(self.model)

    def encode(self, texts: Sequence[str], role: Role = "document", kinds: Sequence[Kind] | None = None) -> Embeddings:
        """The vectors of texts, row i for text i; equal texts are embedded once."""
        numbers: dict[str, int] = {}
        rows = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int64, len(texts))
        named = ((str(i), text) for i, text in enumerate(numbers))
        parts = [part for _, part in self.blocks(named, role, kinds, len(numbers))]
        whole = Embeddings.concat(parts) if parts else self._embedded([], role, tuple(kinds or self.kinds))
        return whole if len(numbers) == len(texts) else whole.take(rows, whole.n_truncated)

    def blocks(
        self, named: Iterable[tuple[str, str]], role: Role = "document", kinds: Sequence[Kind] | None = None,
        total: int | None = None,
    ) -> Iterator[tuple[list[str], Embeddings]]:
        """(ids, vectors) of any number of (id, text), block by block; total: how many there are, for the progress."""
        chosen = tuple(kinds or self.kinds)
        most_chars = MULTI_BLOCK_CHARS if "multi" in chosen else BLOCK_CHARS
        done = 0
        for ids, texts in _grouped(named, BLOCK_TEXTS, most_chars):
            made = self._found_or_embedded(texts, role, chosen)
            self.n_texts += len(texts)
            self.n_truncated += made.n_truncated
            done += len(texts)
            if self.progress is not None:
                self.progress(done, total)
            yield ids, made

    def _found_or_embedded(self, texts: list[str], role: Role, kinds: tuple[Kind, ...]) -> Embeddings:
        if not self._cached or self.cache is None:
            return self._embedded(texts, role, kinds)
        space = self.cache.space(self.model, role, self._instruction(role), kinds)
        found, missing = space.find(texts)
        if not len(missing):
            assert found is not None
            return found
        wanted = [texts[i] for i in missing.tolist()]
        made = self._embedded(wanted, role, kinds)
        space.store(wanted, made)
        if found is None:
            return made
        there = np.setdiff1d(np.arange(len(texts)), missing)
        order = np.argsort(np.concatenate([there, missing]), kind="stable")
        return Embeddings.concat([found, made]).take(order, found.n_truncated + made.n_truncated)

    def _embedded(self, texts: list[str], role: Role, kinds: tuple[Kind, ...]) -> Embeddings:
        made = self.model.encode(texts, role=role, kinds=list(kinds), instruction=self._instruction(role))
        check(made, texts, kinds)
        return made

    def _instruction(self, role: Role) -> str | None:
        return self.instruction if role == "query" else None


def encoder_for(model: Model, task: Task, kinds: Sequence[Kind] | None, cache: VectorCache | None,
                instructions: bool = True, progress: Progress | None = None) -> Encoder:
    """The model as the task asks it: kinds None for all that can be scored, the task's instruction if it follows one.

    Raises BadInput for kinds that the model does not make.
    """
    spec = model.spec
    chosen = chosen_kinds(spec, kinds) if kinds is not None else spec.kinds
    instruction = task.instruction if instructions and follows_instructions(model) else None
    return Encoder(model, tuple(kind for kind in chosen if kind in EVALUATED), instruction, cache, progress)


def learns(model: Model) -> bool:
    """Whether the model, or one that it is joined of, learns from texts."""
    return hasattr(model, "fit") or any(learns(part) for part in getattr(model, "parts", ()))


def follows_instructions(model: Model) -> bool:
    """Whether the model has a place for an instruction: its prompts say so, or what the catalogue knows of it."""
    for holder in ("prompts", "card"):
        known = getattr(model, holder, None)
        if known is not None and getattr(known, "instruction", None):
            return True
    return False


def roles_of(task: Task, kind: Kind, encoder: Encoder) -> tuple[Role, Role]:
    """The roles of the two sides of a task.

    Texts side by side, and texts with labels, are documents, as there is nothing asked, or queries where an instruction
    tells what is asked of all. Sparse vectors side by side are a query and a document: only so is BM25's right.
    """
    if task.type in LABELLED:
        return ("document", "document") if encoder.instruction is None or kind == "sparse" else ("query", "query")
    if task.type in ASYMMETRIC or kind == "sparse":
        return "query", "document"
    return ("query", "query") if encoder.instruction is not None else ("document", "document")


def prompts_used(model: Model, encoder: Encoder, roles: Iterable[Role]) -> dict[str, str]:
    """Role -> what stood before its texts, as far as the model tells; the instruction itself for those that follow."""
    used: dict[str, str] = {}
    prompts = getattr(model, "prompts", None)
    for role in roles:
        if role == "query" and encoder.instruction is not None:
            used[role] = encoder.instruction
        elif before := str(getattr(prompts, role, "")):
            used[role] = before
    return used


def _grouped(named: Iterable[tuple[str, str]], most: int, most_chars: int) -> Iterator[tuple[list[str], list[str]]]:
    """Blocks of so many texts and characters at most, at least one text each."""
    iterator = iter(named)
    ids: list[str] = []
    texts: list[str] = []
    n_chars = 0
    while batch := list(islice(iterator, 256)):
        for name, text in batch:
            if texts and (len(texts) == most or n_chars + len(text) > most_chars):
                yield ids, texts
                ids, texts, n_chars = [], [], 0
            ids.append(name)
            texts.append(text)
            n_chars += len(text)
    if texts:
        yield ids, texts
