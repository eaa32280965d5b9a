"""Masked language modelling, RetroMAE and DupMAE as a stage of the loop.

    mlm        hidden tokens from the states at their places
    retromae   and all tokens from the text's vector and half of its embeddings, by one layer
    dupmae     and the set of its tokens: from the states of all tokens but the first, or, where the mean of all tokens
               is the vector, from that

The vector is what the model pools, so that what learns is what will be used: the first token's state where it pools in
several ways. A sum over tokens is a sum over packed batches: any batch fits in memory. Which tokens are hidden, and
from whom, the batch and a text's number in it decide: several processes hide what one would, each of the texts it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from qianru.errors import BadInput
from qianru.models.encoder import Encoder
from qianru.models.heads import pooled
from qianru.models.transformer import Transformer
from qianru.runtime import product
from qianru.runtime.packing import Packed, pack, plan
from qianru.train.data.batches import collect
from qianru.train.data.sampler import Draw
from qianru.train.data.sets import DataSet
from qianru.train.data.texts import texts_in
from qianru.train.losses.masked import bag_of_words, guessed_by_words
from qianru.train.objective import texts_of
from qianru.train.pretraining.candidates import Candidates
from qianru.train.pretraining.config import PretrainConfig
from qianru.train.pretraining.heads import CosineHead, OneLayerDecoder, TokenHead
from qianru.train.pretraining.masking import Masked, Masker
from qianru.train.processes import ALONE, Processes

AT_ONCE = 2048     # tokens of a packed batch
N_COUNTED = 20000  # texts from which tokens' frequencies are taken


class PretrainStage:
    """Gradients of one draw of texts. module: the network and the heads that guess."""

    def __init__(
        self, config: PretrainConfig, model: Transformer, sets: Sequence[DataSet], seed: int, *, bfloat16: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        backbone = model.network.backbone
        if not isinstance(backbone, Encoder):
            raise BadInput(f"{model.name} is no encoder; hidden tokens are guessed by tokens that see both sides. "
                           "Train it on pairs instead.")
        self.config, self.sets, self.backbone, self.device = config, sets, backbone, model.device.name
        self.masker = Masker(model.tokenizer, config.share, words=config.words)
        self.bfloat16, self.processes = bfloat16, processes
        self.pooling = model.recipe.pooling if len(model.recipe.pooling) == 1 else ("cls",)
        shape = backbone.config
        torch.manual_seed(seed)
        parts: dict[str, nn.Module] = {"network": model.network,
                                       "tokens": TokenHead(shape.hidden_size, shape.vocab_size, shape.norm_eps)}
        if config.task != "mlm":
            parts["decoder"] = OneLayerDecoder(shape.hidden_size, shape.intermediate_size, shape.n_heads,
                                               shape.norm_eps)
        if config.task == "dupmae":
            parts["bag"] = (CosineHead(shape.vocab_size) if self.pooling == ("mean",) else
                            TokenHead(shape.hidden_size, shape.vocab_size, shape.norm_eps))
        bias = log_frequencies(model, sets, shape.vocab_size)
        for head in parts.values():
            if isinstance(head, TokenHead | CosineHead):
                head.word_bias.data = bias.clone()
        self.module = nn.ModuleDict(parts).to(self.device)

    def backward(self, draw: Draw, step: int, share: float) -> tuple[float, int]:
        """(loss, tokens) of the draw's texts; adds share times its gradient."""
        data = self.sets[draw.source]
        texts = list(dict.fromkeys(text for side in texts_of(collect(data, draw, 0)) for text in side))
        rows = self.masker.rows(texts, np.random.default_rng([draw.seed, 3]))
        if not rows:
            raise BadInput(f"No text of a batch of {data.config.path} has a token that the model knows.")
        n_hidden, n_own = sum(len(row.hidden) for row in rows), sum(len(row.own) for row in rows)
        among = Candidates.drawn([row.ids for row in rows], self.backbone.config.vocab_size, self.config.n_others,
                                 np.random.default_rng([draw.seed, 5]), self.device)
        total = torch.zeros(1)
        numbered = sorted(enumerate(rows), key=lambda one: -len(one[1].ids))[self.processes.rank :: self.processes.size]
        for chosen in plan(np.array([len(row.ids) for _, row in numbered], np.int64), AT_ONCE):
            seeds = [[draw.seed, 4, numbered[i][0]] for i in chosen]
            loss = self._loss([numbered[i][1] for i in chosen], among, n_hidden, n_own, len(rows), seeds)
            (loss * share).backward()   # type: ignore[no-untyped-call]
            total += loss.item()
        self.processes.sum(total)
        return float(total), sum(len(row.ids) for row in rows)

    def _loss(
        self, rows: list[Masked], among: Candidates, n_hidden: int, n_own: int, n: int, seeds: Sequence[Sequence[int]]
    ) -> Tensor:
        """This packed batch's share of the mean losses of the whole. seeds: of each text, for what the decoder sees"""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):   # losses are float32 all the same
            batch = pack([row.shown for row in rows], self.device)
            hidden = self.backbone(batch).float()                                # (total, hidden)
            right = torch.from_numpy(np.concatenate([row.ids for row in rows])).to(self.device)
            words = among.words(self.backbone.words)
            places = _places(rows, "hidden", batch)
            loss = self._guessed(hidden[places], right[places], words, among) / n_hidden
            if self.config.task != "mlm":
                places = _places(rows, "own", batch)
                states = self._decoded(hidden, right, batch, seeds)
                loss = loss + self._guessed(states[places], right[places], words, among) / n_own
            if self.config.task == "dupmae":
                loss = loss + self._bag(hidden, rows, batch, words, among) / n
        return loss

    def _guessed(self, states: Tensor, right: Tensor, words: Tensor, among: Candidates) -> Tensor:
        """The sum of the negative log-probabilities of the right tokens."""
        head: Any = self.module["tokens"]
        return guessed_by_words(head.before_words(states).float(), words, among.bias(head.word_bias),
                                among.column[right], bfloat16=self.bfloat16)

    def _decoded(self, hidden: Tensor, right: Tensor, batch: Packed, seeds: Sequence[Sequence[int]]) -> Tensor:
        """(total, hidden) the decoder's states, of every place of every text."""
        backbone = self.backbone
        sizes = torch.from_numpy(np.diff(batch.offsets)).to(self.device)
        vectors = pooled(hidden, batch, self.pooling).repeat_interleave(sizes, 0)                  # (total, hidden)
        positions = backbone.positions[batch.positions + backbone.config.first_position] + backbone.types[0]
        embeddings = backbone.norm(backbone.words[right] + positions)
        keys = torch.where((batch.positions == 0)[:, None], vectors, embeddings)
        seen, n_before = [], 0
        for group in batch.groups:
            chances = [np.random.default_rng(seed).random((group.length, group.length))
                       for seed in seeds[n_before : n_before + group.n]]
            n_before += group.n
            mask = np.stack(chances) >= self.config.decoder_share                                  # (n, length, length)
            mask &= ~np.eye(group.length, dtype=bool)
            mask[:, :, 0] = True                                                                   # the vector
            seen.append(torch.from_numpy(mask).to(self.device))
        made: Tensor = self.module["decoder"](backbone.norm(vectors + positions), keys, seen)
        return made

    def _bag(self, hidden: Tensor, rows: list[Masked], batch: Packed, words: Tensor, among: Candidates) -> Tensor:
        """The sum over texts of DupMAE's second loss."""
        head: Any = self.module["bag"]
        bias = among.bias(head.word_bias)
        if self.pooling == ("mean",):
            with torch.autocast(self.device, enabled=False):    # few products, of differences that are small
                reached = product.linear(head.before_words(pooled(hidden, batch, self.pooling)), words, bias)
        else:
            logits = product.linear(head.before_words(hidden), words, bias)                        # (total, c)
            reached = torch.cat([logits[group.tokens].view(group.n, group.length, -1)[:, 1:].amax(1)
                                 for group in batch.groups])
        terms = [np.unique(row.ids[row.own]) for row in rows]
        counts = np.array([len(found) for found in terms])
        numbers = (np.repeat(np.arange(len(rows)), counts), np.concatenate(terms), np.repeat(1 / counts, counts))
        texts, ids, shares = (torch.from_numpy(a).to(self.device) for a in numbers)
        return bag_of_words(reached, texts, among.column[ids], shares.float())


def log_frequencies(model: Transformer, sets: Sequence[DataSet], vocab_size: int) -> Tensor:
    """(vocabulary,) logarithms of how often tokens stand in texts, one more than counted each.

    What guesses begins with them, so that no step is spent on learning them. A model from nothing would learn them
    first by moving all its vectors the same way, until they say nothing of their texts.
    """
    n_texts = sum(map(len, sets))
    every = max(n_texts // N_COUNTED, 1)
    texts = list(islice(texts_in(sets), 0, None, every))
    counts = np.ones(vocab_size)
    for at in range(0, len(texts), 1000):
        found = model.tokenizer.rows(texts[at : at + 1000], "").rows
        counts += np.bincount(np.concatenate(found), minlength=vocab_size)[:vocab_size]
    counts[[*model.tokenizer.prefix, *model.tokenizer.suffix]] = 1        # which are never guessed
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def _places(rows: list[Masked], name: Literal["hidden", "own"], batch: Packed) -> Tensor:
    """Where the places of all rows are among the packed tokens."""
    found = [getattr(row, name) + start for row, start in zip(rows, batch.offsets[:-1], strict=True)]
    return torch.from_numpy(np.concatenate(found)).to(batch.ids.device)
