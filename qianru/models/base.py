"""The contract of models: texts in, Embeddings out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from qianru.errors import BadInput, UnknownName
from qianru.text.analyze import Analyzer
from qianru.types import Embeddings, FloatArray, Kind, Progress, Role


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model is and can do: capability is data, not a subclass.

    name: for people, e.g. "bm25" or "m3e-base"
    family: which code runs it, e.g. "bm25", "word2vec"
    kinds: what encode makes;  on_request: what it makes besides if asked by name, being large
    fingerprint: changes if and only if the vectors may change; stored with every collection
    dim: of dense vectors;  max_tokens: None if texts of any length are read whole
    """

    name: str
    family: str
    kinds: tuple[Kind, ...]
    fingerprint: str
    dim: int | None = None
    max_tokens: int | None = None
    on_request: tuple[Kind, ...] = ()


@runtime_checkable
class Model(Protocol):
    """Anything that turns texts into Embeddings."""

    @property
    def spec(self) -> ModelSpec:
        """What this model is and can do."""
        ...

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """The texts' vectors, row i for text i; a text's vectors do not depend on its neighbours.

        role: queries and documents may be embedded differently
        kinds: a subset of spec.kinds and spec.on_request, None for all of the former
        Raises BadInput for kinds that the model cannot make, NotFitted before fit.
        """
        ...


class Fittable(Model, Protocol):
    """A model that learns from plain texts."""

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Learns from the texts, forgetting what it learnt before; returns itself."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the model to a folder that qianru.load reads."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Anything that reads a query and a document together and says how well they fit."""

    @property
    def spec(self) -> ModelSpec:
        """What this model is; it makes no vectors, so its kinds are empty."""
        ...

    def score(self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> FloatArray:
        """(n,) scores of n pairs (query, document), larger is better; none depends on its neighbours."""
        ...


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list; BadInput for one text instead of a list of them and for things that are no text.

    >>> as_texts(line.strip() for line in ["春眠不觉晓 ", "处处闻啼鸟"])
    ['春眠不觉晓', '处处闻啼鸟']
    """
    if isinstance(texts, (str, bytes)):
        raise BadInput("A list of texts is needed, not one text: its letters would be taken as texts. Write [text].")
    if not isinstance(texts, Iterable):
        raise BadInput(f"A list of texts is needed, not {type(texts).__name__}.")
    listed = list(texts)
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise BadInput(f"Text {i} (counting from 0) is {type(text).__name__}, not str: {text!r:.60}.")
    return listed


def refuse_instruction(spec: ModelSpec, instruction: str | None) -> None:
    """BadInput if an instruction is given to a model that has no place for one."""
    if instruction is not None:
        raise BadInput(f"{spec.name} takes no instruction. Leave it out, or load a model that follows instructions.")


def check_role(role: str) -> None:
    """UnknownName unless the role is one that there is."""
    if role not in ("query", "document"):
        raise UnknownName("role", role, ["query", "document"])


@runtime_checkable
class Explains(Protocol):
    """A model of words, which can say what a score is made of."""

    @property
    def analyzer(self) -> Analyzer:
        """How it sees words."""
        ...

    def contributions(self, query: str, text: str) -> list[tuple[str, float]]:
        """The words that query and document share, each with what it adds to the score, largest first."""
        ...


def chosen_kinds(spec: ModelSpec, kinds: Sequence[Kind] | None) -> tuple[Kind, ...]:
    """The kinds to make: those asked for, in the model's order, or all that need not be asked for."""
    if kinds is None:
        return spec.kinds
    if isinstance(kinds, str):
        raise BadInput(f"kinds is a list of kinds. Write [{kinds!r}].")
    able = (*spec.kinds, *spec.on_request)
    missing = [kind for kind in kinds if kind not in able]
    if missing or not kinds:
        raise BadInput(
            f"{spec.name} makes {' and '.join(spec.kinds)} vectors, not {' and '.join(missing) or 'none'}. "
            f"Ask for {', '.join(able)}, or load a model that makes the others."
        )
    return tuple(kind for kind in able if kind in kinds)
