"""The bidirectional encoder: BERT and XLM-RoBERTa, one forward pass over packed tokens.

    hidden = norm(words[ids] + positions[place] + types[0, or 1 for the second text of a pair])
    each layer: hidden = norm(hidden + out(attention(hidden)));  hidden = norm(hidden + down(gelu(up(hidden))))

Source: Devlin et al. 2019; Liu et al. 2019 (whose positions begin after the padding token's id).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from qianru.errors import SpecMismatch
from qianru.models.json_file import JsonFile
from qianru.models.weights import Weights
from qianru.runtime.attention import attend
from qianru.runtime.block import Block, PostNorm, blocks_of
from qianru.runtime.linear import Linear
from qianru.runtime.options import Precision
from qianru.runtime.packing import Packed

AFTER_PADDING = ("roberta", "xlm-roberta")   # positions count from the padding token's id + 1; BERT's from 0
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
               "relu": "relu"}
"""hidden_act of config.json -> our name."""
PREFIXES = ("", "bert.", "roberta.", "encoder.")
ANCHOR = "embeddings.word_embeddings.weight"
ALIASES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}   # conversions from TensorFlow
HARMLESS = (
    r"embeddings\.(position_ids|token_type_ids)",   # 0, 1, 2, …
    r"pooler\.dense\.(weight|bias)",                # for sentence pairs; no embedding model uses it
    r"cls\.(predictions|seq_relationship)\..*",     # the heads of pre-training
    r"lm_head\..*",
)
"""Tensors that a folder may hold and that no embedding depends on."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What config.json says about the shape of an encoder."""

    vocab_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    n_positions: int
    n_types: int
    first_position: int
    activation: str
    norm_eps: float

    @classmethod
    def read(cls, config: JsonFile) -> Self:
        """Raises SpecMismatch for settings that we have no code for."""
        kind = config.text("model_type")
        first = config.whole("pad_token_id", 1, least=0) + 1 if kind in AFTER_PADDING else 0
        activation = config.text("hidden_act", "gelu")
        if activation not in ACTIVATIONS:
            raise SpecMismatch(f"{config.path} asks for the activation '{activation}'; supported are "
                               f"{', '.join(ACTIVATIONS)}. Use another model.")
        positions = config.text("position_embedding_type", "absolute")
        if positions != "absolute":
            raise SpecMismatch(f"{config.path} asks for positions of the type '{positions}'; supported is 'absolute'. "
                               "Use another model.")
        for name in ("is_decoder", "add_cross_attention"):
            if config.flag(name, False):
                raise SpecMismatch(f"{config.path} says {name}: this is no encoder. Use another model.")
        hidden, n_heads = config.whole("hidden_size"), config.whole("num_attention_heads")
        if hidden % n_heads:
            raise SpecMismatch(f"{config.path}: a hidden_size of {hidden} does not divide into {n_heads} heads.")
        return cls(
            config.whole("vocab_size"), hidden, config.whole("num_hidden_layers"), n_heads,
            config.whole("intermediate_size"), config.whole("max_position_embeddings"),
            config.whole("type_vocab_size", 2), first, ACTIVATIONS[activation], config.number("layer_norm_eps", 1e-12),
        )

    @property
    def max_tokens(self) -> int:
        """The longest text that there are positions for."""
        return self.n_positions - self.first_position

    def settings(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        return asdict(self)


def read_config(config: JsonFile, causal: bool | None = None) -> EncoderConfig:
    """The shape that config.json describes; SpecMismatch for what we have no code for."""
    if causal:
        raise SpecMismatch(f"{config.path} describes an encoder, whose attention is not causal.")
    return EncoderConfig.read(config)


def build(config: EncoderConfig, weights: Weights) -> Encoder:
    """The encoder with these weights; SpecMismatch if one is missing or has another shape."""
    return Encoder(config, weights)


class Encoder(nn.Module):
    """Packed token ids -> hidden states."""

    def __init__(self, config: EncoderConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.words = _embedding(weights, "embeddings.word_embeddings", config.vocab_size, hidden)
        self.positions = _embedding(weights, "embeddings.position_embeddings", config.n_positions, hidden)
        self.types = _embedding(weights, "embeddings.token_type_embeddings", config.n_types, hidden)
        self.norm = Norm(weights, "embeddings.LayerNorm", hidden, config.norm_eps)
        self.layers = nn.ModuleList(Layer(config, weights, f"encoder.layer.{i}.") for i in range(config.n_layers))
        self._blocks: list[Block] = []

    def forward(self, batch: Packed) -> Tensor:
        """(total, hidden) states of all tokens."""
        return self._through(batch, None)

    def first_tokens(self, batch: Packed) -> Tensor:
        """(n, hidden) states of the first token of each row; the last layer computes no others."""
        return self._through(batch, batch.first)

    def fuse(self, precision: Precision) -> None:
        """Called when all layers are packed in that precision."""
        self._blocks = blocks_of(cast("list[PostNorm]", list(self.layers)), precision)

    def named_tensors(self) -> dict[str, Tensor]:
        """The parameters by their names in the file; not once they are packed."""
        tables = {"word": self.words, "position": self.positions, "token_type": self.types}
        tensors: dict[str, Tensor] = {f"embeddings.{name}_embeddings.weight": table for name, table in tables.items()}
        tensors |= self.norm.named_tensors("embeddings.LayerNorm")
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            tensors |= layer.named_tensors(f"encoder.layer.{i}.")
        return tensors

    def _through(self, batch: Packed, only: Tensor | None) -> Tensor:
        """(total, hidden), or (n, hidden) for the n tokens of `only`: the last layer computes no others."""
        hidden = self._embed(batch)                  # (total, hidden)
        last = len(self.layers) - 1
        if self._blocks:
            states = self._blocks[0].begin(hidden)
            for i, block in enumerate(self._blocks):
                states = block(states, batch, only if i == last else None)
            return states.hidden
        for i, layer in enumerate(self.layers):
            hidden = layer(hidden, batch, only if i == last else None)
        return hidden

    def _embed(self, batch: Packed) -> Tensor:
        places = batch.positions + self.config.first_position
        types = self.types[0 if batch.types is None else batch.types]
        states: Tensor = self.norm(_rows(self.words, batch.ids) + types + _rows(self.positions, places))
        return states


class Layer(nn.Module):
    """Attention, then two linears, each added to what came in and normalised after (post-norm)."""

    TENSORS = (
        ("qkv", ("attention.self.query", "attention.self.key", "attention.self.value")),
        ("out", ("attention.output.dense",)),
        ("up", ("intermediate.dense",)),
        ("down", ("output.dense",)),
    )
    """our linear -> those in the file whose rows it holds, one below the other"""
    qkv: Linear
    out: Linear
    up: Linear
    down: Linear

    def __init__(self, config: EncoderConfig, weights: Weights, prefix: str) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.n_heads = config.n_heads
        shapes = {"qkv": (hidden, hidden), "out": (hidden, hidden), "up": (inner, hidden), "down": (hidden, inner)}
        for name, sources in self.TENSORS:
            n_out, n_in = shapes[name]
            parts = [weights.take(f"{prefix}{source}.weight", n_out, n_in) for source in sources]
            weight = parts[0] if len(parts) == 1 else torch.cat(parts)   # a single one stays mapped, not copied
            bias = torch.cat([weights.take(f"{prefix}{source}.bias", n_out) for source in sources])
            activation = config.activation if name == "up" else "none"
            self.add_module(name, Linear(weight.float(), bias.float(), activation))
        self.attention_norm = Norm(weights, prefix + "attention.output.LayerNorm", hidden, config.norm_eps)
        self.output_norm = Norm(weights, prefix + "output.LayerNorm", hidden, config.norm_eps)

    def forward(self, hidden: Tensor, batch: Packed, only: Tensor | None = None) -> Tensor:
        """(total, hidden) -> the same, or (n, hidden) for the n tokens of `only`."""
        query, key, value = self.qkv(hidden).view(len(hidden), 3, self.n_heads, -1).unbind(1)   # (total, n_heads, d)
        mixed = attend(query, key, value, batch)                          # (total, hidden)
        if only is not None:
            mixed, hidden = mixed[only], hidden[only]
        hidden = self.attention_norm(self.out(mixed, hidden))
        final: Tensor = self.output_norm(self.down(self.up(hidden), hidden))
        return final

    def named_tensors(self, prefix: str) -> dict[str, Tensor]:
        """The parameters by their names in the file."""
        tensors: dict[str, Tensor] = {}
        for name, sources in self.TENSORS:
            linear = self.get_submodule(name)
            assert isinstance(linear, Linear)
            assert linear.bias is not None
            n = len(sources)
            for source, weight, bias in zip(sources, linear.weight.chunk(n), linear.bias.chunk(n), strict=True):
                tensors |= {f"{prefix}{source}.weight": weight, f"{prefix}{source}.bias": bias}
        tensors |= self.attention_norm.named_tensors(prefix + "attention.output.LayerNorm")
        return tensors | self.output_norm.named_tensors(prefix + "output.LayerNorm")


class Norm(nn.Module):
    """Each token shifted and scaled to mean 0 and variance 1, then by learnt weights; always in float32."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights.take(f"{name}.weight", size).float())
        self.bias = nn.Parameter(weights.take(f"{name}.bias", size).float())
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, size) -> the same shape."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def named_tensors(self, name: str) -> dict[str, Tensor]:
        """The parameters by their names in the file."""
        return {f"{name}.weight": self.weight, f"{name}.bias": self.bias}


def _rows(table: Tensor, ids: Tensor) -> Tensor:
    """(…, size) the rows of the table; by the shorter way if no gradients are asked for."""
    return table[ids] if table.requires_grad else functional.embedding(ids, table)


def _embedding(weights: Weights, name: str, n: int, size: int) -> nn.Parameter:
    return nn.Parameter(weights.take(f"{name}.weight", n, size).float())
