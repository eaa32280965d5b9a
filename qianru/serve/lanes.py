"""What a model does with the texts of many requests at once: read them, compute them, part and join what came out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from qianru.errors import BadInput, RequestRefused
from qianru.models.base import Model, as_texts, check_role, chosen_kinds
from qianru.models.cross_encoder import CrossEncoder
from qianru.models.remote import estimated_tokens
from qianru.models.tokenizer import Tokens
from qianru.models.transformer import Transformer
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Role

PLAIN_BUDGET = 32768        # estimated tokens at once for models that count and look up


class Ask(NamedTuple):
    """How texts are to be embedded. normalize: None as the model does."""

    role: Role = "document"
    kinds: tuple[Kind, ...] = ("dense",)
    instruction: str | None = None
    normalize: bool | None = None


class Group(NamedTuple):
    """What a transformer computes in one pass: rows behind one prompt, for the same kinds."""

    prompt: str
    kinds: tuple[Kind, ...]
    normalize: bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Texts as a lane takes them.

    group: what is read under one group is computed together
    items: one for each text;  sizes: (n,) tokens that computing each will cost
    n_tokens: (n,) of each text before any cut, without special ones; None where only computing tells
    n_cut: texts that were cut
    numbers: that the answer will hold
    """

    group: Hashable
    items: Sequence[Any]
    sizes: IntArray
    n_tokens: IntArray | None = None
    n_cut: int = 0
    numbers: int = 0

    @property
    def longest(self) -> int:
        """Tokens of the longest text before any cut."""
        return 0 if self.n_tokens is None else int(self.n_tokens.max(initial=0))


class Lane(Protocol):
    """A model at work. budget: tokens that it computes at once with profit."""

    budget: int

    def compute(self, group: Hashable, items: list[Any]) -> Any:
        """What the model makes of items that were read under one group."""
        ...

    def part(self, made: Any, start: int, end: int) -> Any:
        """Of items start to end."""
        ...

    def join(self, parts: list[Any]) -> Any:
        """The parts as one, in order."""
        ...


class Embedder:
    """The lane of any model that makes vectors. Its texts are read by `encode`, so their tokens are an estimate."""

    budget = PLAIN_BUDGET

    def __init__(self, model: Model) -> None:
        self.model = model
        self.spec = model.spec      # hashes the weights, so once

    def ask(self, ask: Ask) -> Ask:
        """The same with its kinds in the model's order. Raises BadInput for what the model cannot do."""
        check_role(ask.role)
        return ask._replace(kinds=chosen_kinds(self.spec, ask.kinds))

    def read(self, texts: Sequence[str], ask: Ask) -> Read:
        """The texts, ready to be computed."""
        sizes = np.array([max(estimated_tokens(text), 1) for text in texts], np.int64)
        numbers = len(texts) * (self.spec.dim or 0) if "dense" in ask.kinds else int(sizes.sum())
        return Read(ask, texts, sizes, numbers=numbers)

    def read_ids(self, rows: Sequence[Sequence[int]], ask: Ask) -> Read:
        """BadInput: only a transformer has ids that can be sent to it."""
        raise BadInput(f"{self.spec.name} reads texts, not token ids. Send texts.")

    def compute(self, group: Hashable, items: list[Any]) -> Embeddings:
        """By the model's own encode."""
        assert isinstance(group, Ask)
        made = self.model.encode(items, role=group.role, kinds=group.kinds, instruction=group.instruction)
        return replace(made, dense=unit(made.dense)) if group.normalize and made.dense is not None else made

    def part(self, made: Embeddings, start: int, end: int) -> Embeddings:
        """Rows start to end."""
        return made if end - start == len(made) else made.take(np.arange(start, end))

    def join(self, parts: list[Embeddings]) -> Embeddings:
        """The rows of all parts."""
        return Embeddings.concat(parts)

    @property
    def normalized(self) -> bool:
        """Whether the model's dense vectors have length 1."""
        return bool(getattr(self.model, "normalized", False))


class TransformerEmbedder(Embedder):
    """The lane of a transformer: rows of tokens are read before they queue, and packed whosever they are."""

    model: Transformer

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        self.model = model
        self.budget = budget_of(model.device.batch_tokens, model.device.threads, model.device.name)
        self._variants: dict[bool | None, Transformer] = {None: model}

    @property
    def normalized(self) -> bool:
        """Whether the model's dense vectors have length 1."""
        return self.model.recipe.normalize

    def read(self, texts: Sequence[str], ask: Ask) -> Read:
        """Rows of tokens behind the prompt, cut, with how many were."""
        prompt = self.model.prompts.before(ask.role, ask.instruction)
        return self._read(self.model.tokenizer.rows(as_texts(texts), prompt), ask, prompt)

    def read_ids(self, rows: Sequence[Sequence[int]], ask: Ask) -> Read:
        """Rows of the model's own ids; its special tokens are put around those that come without them."""
        tokenizer, size = self.model.tokenizer, self.model.network.backbone.config.vocab_size
        before, after = tokenizer.prefix, tokenizer.suffix
        framed: list[IntArray] = []
        n_cut = 0
        n_tokens = np.zeros(len(rows), np.int64)
        for i, row in enumerate(rows):
            if row and not (min(row) >= 0 and max(row) < size):
                raise BadInput(f"Text {i} (counting from 0) holds a token id outside 0 to {size - 1}. Send ids of this "
                               "model's own tokenizer, as /tokenize gives them, or texts.")
            whole = len(row) >= len(before) + len(after) > 0 and [*row[: len(before)]] == before and \
                [*row[len(row) - len(after) :]] == after
            own = list(row[len(before) : len(row) - len(after)] if whole else row)
            room = tokenizer.max_tokens - len(before) - len(after)
            n_tokens[i], n_cut = len(own), n_cut + (len(own) > room)
            framed.append(np.array([*before, *own[:room], *after] if own else [], np.int64))
        return self._read(Tokens(framed, n_tokens, n_cut), ask, "")

    def _read(self, tokens: Tokens, ask: Ask, prompt: str) -> Read:
        sizes = np.array([max(len(row), 1) for row in tokens.rows], np.int64)
        numbers, n, total = 0, len(sizes), int(sizes.sum())
        network = self.model.network
        for kind in ask.kinds:
            numbers += {"dense": n * (self.spec.dim or 0), "sparse": 2 * total, "multi": total * network.multi_dim,
                        "tokens": total * network.backbone.config.hidden_size}[kind]
        group = Group(prompt, ask.kinds, ask.normalize)
        return Read(group, tokens.rows, sizes, tokens.n_tokens, tokens.n_cut, numbers)

    def compute(self, group: Hashable, items: list[Any]) -> Embeddings:
        """One packed pass."""
        assert isinstance(group, Group)
        if group.normalize not in self._variants:
            self._variants[group.normalize] = self.model.altered(normalize=group.normalize)
        made = self._variants[group.normalize].outputs(items, group.kinds, group.prompt)
        n_tokens = np.array([len(row) for row in items], np.int64)
        return Embeddings(self.spec.name, n_tokens, 0, made.dense, made.sparse, made.multi, made.tokens)


class PairScorer:
    """The lane of a cross-encoder: pairs of texts in, scores out."""

    def __init__(self, model: CrossEncoder) -> None:
        self.model = model
        self.spec = model.spec
        self.budget = budget_of(model.device.batch_tokens, model.device.threads, model.device.name)

    def read(self, pairs: Sequence[tuple[str, str]]) -> Read:
        """Rows of tokens and their types."""
        tokens = self.model.tokenizer.rows(pairs)
        sizes = np.array([len(row) for row in tokens.rows], np.int64)
        items = list(zip(tokens.rows, tokens.types, strict=True))
        return Read(None, items, sizes, tokens.n_tokens, tokens.n_cut, len(sizes))

    def compute(self, group: Hashable, items: list[Any]) -> FloatArray:
        """(n,) scores."""
        scores = self.model.labels.scores(self.model.logits([row for row, _ in items], [types for _, types in items]))
        if not np.isfinite(scores).all():
            raise RequestRefused(f"{self.spec.name} gives a score that is not a finite number. Look at its weights.",
                                 500)
        return scores

    def part(self, made: FloatArray, start: int, end: int) -> FloatArray:
        """Scores start to end."""
        return made[start:end]

    def join(self, parts: list[FloatArray]) -> FloatArray:
        """All of them."""
        return np.concatenate(parts)


def lane_of(model: Any) -> Embedder | PairScorer:
    """The lane of a model that qianru.load gave."""
    if isinstance(model, CrossEncoder):
        return PairScorer(model)
    return TransformerEmbedder(model) if isinstance(model, Transformer) else Embedder(model)


def budget_of(batch_tokens: int, threads: int | None, device: str) -> int:
    """Tokens for one step: a batch for each thread. More would only let others wait longer."""
    if device != "cpu":
        return batch_tokens
    import torch

    return batch_tokens * (threads or torch.get_num_threads())


def unit(vectors: FloatArray | None) -> FloatArray | None:
    """The rows at length 1; a zero row stays."""
    if vectors is None:
        return None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    made: FloatArray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return made
