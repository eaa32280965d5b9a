"""The decoder: Qwen2, Qwen3 and Mistral, one forward pass over packed tokens, causal or looking both ways.

    hidden = words[ids]
    each layer: hidden = hidden + out(attention(turned(norm(hidden))))
                hidden = hidden + down(silu(gate(norm(hidden))) * up(norm(hidden)))
    hidden = norm(hidden)

Queries and keys are turned by angles that grow with their places (rotary positions); each key head serves several query
heads. Source: Touvron et al. 2023 (LLaMA); Su et al. 2021 (rotary positions); Ainslie et al. 2023 (shared key heads);
Jiang et al. 2023 (Mistral's window); the Qwen2 and Qwen3 reports for biases and norms within the heads.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from qianru.errors import SpecMismatch
from qianru.models.json_file import JsonFile
from qianru.models.weights import Weights
from qianru.runtime.attention import attend
from qianru.runtime.linear import Linear
from qianru.runtime.options import Precision
from qianru.runtime.packing import Packed

PREFIXES = ("", "model.")
ANCHOR = "embed_tokens.weight"
ALIASES: dict[str, str] = {}
HARMLESS = (
    r"lm_head\.weight",                      # the next token; no embedding depends on it
    r".*\.rotary_emb\.inv_freq",             # computed from rope_theta
)
SILU = ("silu", "swish")
HEAD_DIM = {"qwen3": 128}                    # where config.json may leave it out and it is not hidden_size / heads
WINDOW = {"mistral": 4096}                   # transformers' value where config.json has no sliding_window at all


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """What config.json says about the shape of a decoder.

    causal: a token sees itself and what stands before it; else all tokens of its text
    window: in layers from n_full on, a token sees so many tokens up to itself; None for all
    head_norm: whether queries and keys are normalised within each head
    """

    vocab_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    n_key_heads: int
    head_dim: int
    intermediate_size: int
    n_positions: int
    theta: float
    norm_eps: float
    causal: bool
    window: int | None
    n_full: int
    qkv_bias: bool
    out_bias: bool
    head_norm: bool

    @classmethod
    def read(cls, config: JsonFile, causal: bool | None) -> Self:
        """Raises SpecMismatch for settings that we have no code for."""
        kind = config.text("model_type")
        if config.text("hidden_act", "silu") not in SILU:
            raise SpecMismatch(f"{config.path} asks for the activation '{config.text('hidden_act')}'; supported is "
                               "'silu'. Use another model.")
        hidden, n_heads, n_layers = (config.whole(f"{name}") for name in
                                     ("hidden_size", "num_attention_heads", "num_hidden_layers"))
        n_key_heads = config.whole("num_key_value_heads", n_heads)
        head_dim = config.whole("head_dim", HEAD_DIM.get(kind, max(hidden // n_heads, 1)))
        if n_heads % n_key_heads or head_dim % 2 or (not config.has("head_dim") and kind not in HEAD_DIM
                                                     and hidden % n_heads):
            raise SpecMismatch(f"{config.path}: {n_heads} heads of {head_dim} numbers in a hidden_size of {hidden} do "
                               f"not fit {n_key_heads} key heads and pairs of numbers.")
        n_positions, norm_eps = config.whole("max_position_embeddings"), config.number("rms_norm_eps", 1e-6)
        if norm_eps < 0:
            raise SpecMismatch(f"{config.path} needs 'rms_norm_eps' to be at least 0; it is {norm_eps}.")
        looks_back = _is_causal(config, causal)
        window, n_full = _window(config, kind, n_layers)
        if window is not None and window >= n_positions:
            window = None
        if window is not None and not looks_back:
            raise SpecMismatch(f"{config.path} asks for a window of {window} tokens and for attention that is not "
                               "causal; together they are not supported. Use another model.")
        biased = config.flag("attention_bias", False) if kind == "qwen3" else False
        return cls(
            config.whole("vocab_size"), hidden, n_layers, n_heads, n_key_heads, head_dim,
            config.whole("intermediate_size"), n_positions, _theta(config), norm_eps, looks_back, window, n_full,
            qkv_bias=biased or kind == "qwen2", out_bias=biased, head_norm=kind == "qwen3",
        )

    @property
    def max_tokens(self) -> int:
        """The longest text that it was made for."""
        return self.n_positions

    def settings(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        return asdict(self)


def read_config(config: JsonFile, causal: bool | None = None) -> DecoderConfig:
    """The shape that config.json describes; SpecMismatch for what we have no code for.

    causal: what is known beside config.json; None if nothing is
    """
    return DecoderConfig.read(config, causal)


def build(config: DecoderConfig, weights: Weights) -> Decoder:
    """The decoder with these weights; SpecMismatch if one is missing or has another shape."""
    return Decoder(config, weights)


class Decoder(nn.Module):
    """Packed token ids -> hidden states. Weights stay as the file has them until they are packed or made float32."""

    def __init__(self, config: DecoderConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Parameter(weights.take("embed_tokens.weight", config.vocab_size, config.hidden_size))
        self.layers = nn.ModuleList(Layer(config, weights, i) for i in range(config.n_layers))
        self.norm = Norm(weights, "norm", config.hidden_size, config.norm_eps)

    def forward(self, batch: Packed) -> Tensor:
        """(total, hidden) states of all tokens."""
        hidden = self.words[batch.ids].float()           # (total, hidden)
        turn = turns(batch.positions, self.config.head_dim, self.config.theta)
        for layer in self.layers:
            hidden = layer(hidden, batch, turn)          # (total, hidden)
        states: Tensor = self.norm(hidden)
        return states

    def first_tokens(self, batch: Packed) -> Tensor:
        """(n, hidden) states of the first token of each row."""
        states: Tensor = self(batch)[batch.first]
        return states

    def fuse(self, precision: Precision) -> None:
        """Nothing: what stands between a decoder's products is left to torch."""

    def named_tensors(self) -> dict[str, Tensor]:
        """The parameters by their names in the file; not once they are packed."""
        tensors: dict[str, Tensor] = {"embed_tokens.weight": self.words, "norm.weight": self.norm.weight}
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            tensors |= layer.named_tensors(f"layers.{i}.")
        return tensors


class Layer(nn.Module):
    """Attention, then a gated pair of linears, each on normalised states and added to what came in (pre-norm)."""

    TENSORS = (
        ("qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        ("out", ("self_attn.o_proj",)),
        ("gate_up", ("mlp.gate_proj", "mlp.up_proj")),
        ("down", ("mlp.down_proj",)),
    )
    """our linear -> those in the file whose rows it holds, one below the other"""
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear

    def __init__(self, config: DecoderConfig, weights: Weights, i: int) -> None:
        super().__init__()
        hidden, inner, d = config.hidden_size, config.intermediate_size, config.head_dim
        query, key = config.n_heads * d, config.n_key_heads * d
        self.config, prefix = config, f"layers.{i}."
        self.window = config.window if i >= config.n_full else None
        self.rows = {"qkv": [query, key, key], "out": [hidden], "gate_up": [inner, inner], "down": [hidden]}
        n_in = {"qkv": hidden, "out": query, "gate_up": hidden, "down": inner}
        biased = {"qkv": config.qkv_bias, "out": config.out_bias}
        for name, sources in self.TENSORS:
            rows = list(zip(sources, self.rows[name], strict=True))
            parts = [weights.take(f"{prefix}{source}.weight", n, n_in[name]) for source, n in rows]
            weight = parts[0] if len(parts) == 1 else torch.cat(parts)   # a single one stays mapped, not copied
            bias = None
            if biased.get(name, False):
                bias = torch.cat([weights.take(f"{prefix}{source}.bias", n) for source, n in rows])
            self.add_module(name, Linear(weight, bias))
        self.attention_norm = Norm(weights, prefix + "input_layernorm", hidden, config.norm_eps)
        self.mlp_norm = Norm(weights, prefix + "post_attention_layernorm", hidden, config.norm_eps)
        self.query_norm = self.key_norm = None
        if config.head_norm:
            self.query_norm = Norm(weights, prefix + "self_attn.q_norm", d, config.norm_eps)
            self.key_norm = Norm(weights, prefix + "self_attn.k_norm", d, config.norm_eps)

    def forward(self, hidden: Tensor, batch: Packed, turn: tuple[Tensor, Tensor]) -> Tensor:
        """(total, hidden) -> the same."""
        n, n_key = self.config.n_heads, self.config.n_key_heads
        qkv = self.qkv(self.attention_norm(hidden)).view(len(hidden), n + 2 * n_key, -1)   # (total, heads, d)
        query, key, value = qkv.split((n, n_key, n_key), dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query.float()), self.key_norm(key.float())
        query, key = (turned(states, *turn).to(value.dtype) for states in (query, key))
        mixed = attend(query, key, value, batch, causal=self.config.causal, window=self.window)   # (total, n * d)
        hidden = self.out(mixed, hidden)
        gate, up = self.gate_up(self.mlp_norm(hidden)).chunk(2, dim=-1)                    # (total, inner) each
        final: Tensor = self.down(functional.silu(gate) * up, hidden)
        return final

    def named_tensors(self, prefix: str) -> dict[str, Tensor]:
        """The parameters by their names in the file."""
        tensors: dict[str, Tensor] = {}
        for name, sources in self.TENSORS:
            linear, rows = self.get_submodule(name), self.rows[name]
            assert isinstance(linear, Linear)
            for kind, held in (("weight", linear.weight), ("bias", linear.bias)):
                if held is not None:
                    tensors |= {f"{prefix}{source}.{kind}": part
                                for source, part in zip(sources, torch.split(held, rows), strict=True)}
        norms = {"input_layernorm": self.attention_norm, "post_attention_layernorm": self.mlp_norm,
                 "self_attn.q_norm": self.query_norm, "self_attn.k_norm": self.key_norm}
        return tensors | {f"{prefix}{name}.weight": norm.weight for name, norm in norms.items() if norm is not None}


class Norm(nn.Module):
    """Each vector scaled to a mean square of 1, then by learnt weights; always in float32."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights.take(f"{name}.weight", size).float())
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, size) -> the same shape."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


def turns(positions: Tensor, d: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine, (total, 1, d / 2) each, of position / theta^(2 i / d).

    >>> cosine, sine = turns(torch.tensor([0, 1]), 4, 100.0)
    >>> cosine.squeeze(1).tolist()[0], [round(number, 4) for number in sine.squeeze(1).tolist()[1]]   # sin 1, sin 0.1
    ([1.0, 1.0], [0.8415, 0.0998])
    """
    steps = torch.arange(0, d, 2, dtype=torch.float32, device=positions.device) / d
    angles = positions.float()[:, None] * (1.0 / theta**steps)    # float32, as the models were trained
    return angles.cos()[:, None], angles.sin()[:, None]


def turned(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """(total, heads, d) float32: number i and number i + d / 2 of each head are a point, turned by the angle."""
    x, y = states.float().chunk(2, dim=-1)
    return torch.cat([x * cosine - y * sine, y * cosine + x * sine], dim=-1)


def _is_causal(config: JsonFile, known: bool | None) -> bool:
    """SpecMismatch where the folder brings code of its own and nobody says which way that looks."""
    said = config.flag("is_causal") if config.has("is_causal") else None
    if said is not None and known is not None and said != known:
        raise SpecMismatch(f"{config.path} says is_causal = {said}; the model is known to have {known}. Is it another "
                           "model?")
    if said is None and known is None and "AutoModel" in config.mapping("auto_map", {}):
        raise SpecMismatch(f"{config.path} wants attention by code of its own, which is never run, and does not say "
                           'whether it is causal. Write "is_causal": false into it if tokens see those after them, '
                           "as in gte-Qwen2 and stella, else true.")
    return next((answer for answer in (said, known) if answer is not None), True)


def _theta(config: JsonFile) -> float:
    """The base of the angles: rope_theta, or rope_parameters since transformers 5."""
    name = "rope_parameters" if config.has("rope_parameters") else "rope_scaling"
    rope = JsonFile(config.path, config.mapping(name, {}))
    kind = rope.text("rope_type", rope.text("type", "default"))
    share = rope.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    nested = any(isinstance(value, dict) for value in rope.values.values())   # one setting for each type of layer
    if kind != "default" or share != 1 or nested:
        raise SpecMismatch(f"{config.path} asks for rotary positions {dict(rope.values)!r:.120}; supported is the "
                           "type 'default' for whole heads. Use another model.")
    theta = rope.number("rope_theta", config.number("rope_theta", 10000.0))
    if theta <= 0:
        raise SpecMismatch(f"{config.path} needs 'rope_theta' to be above 0; it is {theta}.")
    return theta


def _window(config: JsonFile, kind: str, n_layers: int) -> tuple[int | None, int]:
    """(window, how many first layers have none)."""
    if kind == "mistral":
        window = config.whole("sliding_window") if config.has("sliding_window") else None
        return (window if "sliding_window" in config.values else WINDOW[kind]), 0
    if not config.flag("use_sliding_window", False):
        return None, n_layers
    types = config.values.get("layer_types")
    if types is None:
        return config.whole("sliding_window", 4096), config.whole("max_window_layers", 28, least=0)
    n_full = types.count("full_attention") if isinstance(types, list) else -1
    if n_full < 0 or types != ["full_attention"] * n_full + ["sliding_attention"] * (n_layers - n_full):
        raise SpecMismatch(f"{config.path} has layer_types {types!r:.80}; supported are full_attention, and after it "
                           "sliding_attention, together as many as there are layers.")
    return config.whole("sliding_window", 4096), n_full
