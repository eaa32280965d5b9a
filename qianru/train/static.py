"""Static tables of token vectors, learnt like any model: the same data, losses, loop, checkpoints and run folder.

    vector of a token   its weight times (its own row + a share of the mean of its characters' rows)
    vector of a text    the sum of its tokens' vectors, brought to length 1

The table that is written has characters and weights multiplied in, and is evened out: at run time a token is one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from qianru.errors import BadInput
from qianru.models.base import ModelSpec
from qianru.models.pooling import sif_weights
from qianru.models.static import StaticModel
from qianru.train.config import TrainConfig
from qianru.train.data.batches import PlainBatch, collect
from qianru.train.data.sampler import Draw
from qianru.train.data.sets import DataSet
from qianru.train.data.texts import texts_in
from qianru.train.objective import dense_loss, texts_of
from qianru.train.static_config import StaticConfig
from qianru.train.static_even import Evening
from qianru.train.static_start import contexts
from qianru.train.static_vocabulary import characters_of, learn_vocabulary
from qianru.types import Embeddings, FloatArray, Kind, Progress, Role, SparseRows

NEW = "static"               # in place of a model: a table drawn up from the texts
CACHED_TOKENS = 60_000_000   # counts of texts that are kept between passes; 8 bytes each


class StaticNetwork(nn.Module):
    """The rows and how tokens are made of them.

    rows: (v, d);  scales: (v,) what a token's vector is multiplied with
    parts: of each token the rows of its characters, share: what these add;  neither is learnt
    """

    scales: Tensor

    def __init__(self, rows: Tensor, scales: Tensor, parts: Sequence[Sequence[int]], share: float) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.register_buffer("scales", scales)
        lengths = np.array([len(some) for some in parts], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.flat = np.array([row for some in parts for row in some], np.int64)
        self.share, self.dim = share, rows.shape[1]

    def forward(self, counts: SparseRows) -> Tensor:
        """(n, d) of texts given as how often each has each token; not brought to length 1."""
        weights = counts.weights * self.scales.numpy()[counts.terms]
        terms, amounts, offsets = self._with_characters(counts.terms, weights, counts.offsets)
        return embedding_bag(torch.from_numpy(terms), self.rows, torch.from_numpy(offsets[:-1]), mode="sum",
                             per_sample_weights=torch.from_numpy(amounts.astype(np.float32)))

    @torch.no_grad()
    def table(self) -> FloatArray:
        """(v, d) float32 vectors of all tokens, everything multiplied in."""
        each = np.arange(len(self.rows) + 1)
        one = SparseRows(each, each[:-1], np.ones(len(self.rows), np.float32), len(self.rows))
        table: FloatArray = self(one).numpy()
        return table

    def _with_characters(self, terms: Any, weights: Any, offsets: Any) -> tuple[Any, Any, Any]:
        """The same rows with each word's characters behind it, which share its weight."""
        if not self.share:
            return terms, weights, offsets
        n = self.starts[terms + 1] - self.starts[terms]                             # characters of each
        ends = np.cumsum(n + 1)
        places = np.concatenate([[0], ends])                                        # where each token's own row goes
        index = np.repeat(terms, n + 1)
        amounts = np.repeat(weights, n + 1)
        own = np.zeros(int(places[-1]), bool)
        own[places[:-1]] = True
        each = np.repeat(n, n)
        index[~own] = self.flat[np.repeat(self.starts[terms] - (np.cumsum(n) - n), n) + np.arange(len(each))]
        amounts[~own] *= self.share / each
        return index, amounts, places[offsets]


@dataclass(frozen=True, slots=True)
class _Cpu:
    name: str = "cpu"


class StaticLearner:
    """A static model while it learns: a model of the weights as they are now, whenever it is asked."""

    family = StaticModel.family

    def __init__(self, network: StaticNetwork, start: StaticModel, storage: str, name: str,
                 evening: Evening | None = None) -> None:
        self.network, self.start, self.storage, self.name, self.evening = network, start, storage, name, evening
        self.device = _Cpu()
        self._spec: ModelSpec | None = None      # the loop forgets it when the weights have changed
        self._model: StaticModel | None = None

    @property
    def spec(self) -> ModelSpec:
        """Of the weights as they are now."""
        if self._spec is None:
            self._model = self.model()
            self._spec = self._model.spec
        return self._spec

    def model(self) -> StaticModel:
        """The model of the weights as they are now, as it would be written."""
        table, weights, start = self.network.table(), None, self.start
        if self.evening:
            table = self.evening(table)
        if self.storage == "int8":
            table, weights = quantized(table)
        return StaticModel(table, start._tokenizer_json, normalized=True, weights=weights,
                           drop_unknown=start.drop_unknown, simplified=start.simplified, name=self.name)

    def encode(
        self, texts: Iterable[str], *, role: Role = "document", kinds: Sequence[Kind] | None = None,
        instruction: str | None = None, progress: Progress | None = None,
    ) -> Embeddings:
        """As the model does."""
        assert self.spec
        assert self._model
        return self._model.encode(texts, role=role, kinds=kinds, instruction=instruction, progress=progress)


class StaticStage:
    """Texts are counted into tokens, embedded and compared as the examples say; dropout leaves tokens out."""

    def __init__(self, config: TrainConfig, learner: StaticLearner, sets: Sequence[DataSet]) -> None:
        self.config, self.learner, self.sets, self.module = config, learner, sets, learner.network
        self._known: dict[str, tuple[Any, Any]] = {}
        self._n_known = 0

    def backward(self, draw: Draw, step: int, share: float) -> tuple[float, int]:
        """(loss, tokens) of the draw; adds share times the loss's gradient to the parameters."""
        data = self.sets[draw.source]
        batch = collect(data, draw, self.config.n_negatives)
        sides = texts_of(batch)
        if not isinstance(batch, PlainBatch):
            prompts = data.config.query_prompt or "", data.config.document_prompt or ""
            sides = tuple([prompt + text for text in texts] if prompt else texts    # type: ignore[assignment]
                          for texts, prompt in zip(sides, prompts, strict=True))
        counts = [self._thinned(self._counts(texts)) for texts in sides]
        queries, documents = (self.module(some) for some in counts)
        loss = dense_loss(self.config.loss, batch, queries, documents)
        (loss * share).backward()   # type: ignore[no-untyped-call]
        return loss.item(), int(sum(some.weights.sum() for some in counts))

    def _counts(self, texts: Sequence[str]) -> SparseRows:
        """The texts' tokens; those of texts that were there before are still known."""
        if self._n_known > CACHED_TOKENS:
            self._known, self._n_known = {}, 0
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        found, _ = self.learner.start.counts(new)
        self._known.update((text, (terms.astype(np.int32), weights)) for text, (terms, weights)
                           in zip(new, found, strict=True))
        self._n_known += len(found.terms)
        rows = [self._known[text] for text in texts]
        offsets = np.concatenate([[0], np.cumsum([len(terms) for terms, _ in rows])]).astype(np.int64)
        return SparseRows(offsets, np.concatenate([terms for terms, _ in rows]),
                          np.concatenate([weights for _, weights in rows]), found.width)

    def _thinned(self, counts: SparseRows) -> SparseRows:
        """Each token left out with the probability of dropout, never all of a text."""
        if not self.config.dropout:
            return counts
        keep = (torch.rand(len(counts.terms)) >= self.config.dropout).numpy()
        keep[counts.offsets[:-1][np.diff(counts.offsets) > 0]] |= True
        offsets = np.concatenate([[0], np.cumsum(keep)])[counts.offsets].astype(np.int64)
        return SparseRows(offsets, counts.terms[keep], counts.weights[keep], counts.width)


def quantized(table: FloatArray) -> tuple[Any, FloatArray]:
    """(v, d) int8 and (v,) float32 scales whose product is nearest the table, each row's largest number being 127."""
    scales = np.abs(table).max(1) / 127
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales


def new_learner(config: TrainConfig, sets: Sequence[DataSet]) -> StaticLearner:
    """A table for the texts of the sets, as config.static says."""
    how = config.static or StaticConfig()
    vocabulary = learn_vocabulary(texts_in(sets), how)
    v = len(vocabulary.tokens)
    shares = np.asarray(vocabulary.shares, np.float64)
    scales: FloatArray = np.ones(v) if how.sif is None else sif_weights((shares * 1e12).astype(np.int64), how.sif)
    scales[0] = 0                                                          # the unknown token says nothing
    draw = torch.Generator().manual_seed(config.seed)
    rows = torch.randn(v, how.dim, generator=draw) / how.dim**0.5
    begun = StaticModel(np.zeros((v, how.dim), np.float32), vocabulary.tokenizer(), normalized=True,
                        simplified=how.simplified)
    parts = characters_of(vocabulary.tokens) if how.characters else [[] for _ in range(v)]
    if how.start == "contexts":
        rows = contexts(begun, texts_in(sets), rows)
    network = StaticNetwork(rows, torch.from_numpy(scales.astype(np.float32)), parts, how.characters)
    return StaticLearner(network, begun, how.storage, Path(config.output).name, Evening.of(sets, begun, how.even))


def learner_of(model: StaticModel, config: TrainConfig) -> StaticLearner:
    """The model, to be trained further."""
    if model.mapping is not None:
        raise BadInput(f"{config.model} shares rows between tokens, which cannot be trained. Use one that does not.")
    rows: FloatArray = model.table.astype(np.float32)
    scales = np.ones(len(rows), np.float32)
    if model.weights is not None:
        rows = rows * model.weights[: len(rows), None]
    storage = "int8" if model.table.dtype == np.int8 else "float32"
    network = StaticNetwork(torch.from_numpy(rows), torch.from_numpy(scales), [[] for _ in rows], 0.0)
    return StaticLearner(network, model, storage, Path(config.output).name)
