"""The model that a training begins with: weights of its own, dropout, new heads, layers computed twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from qianru.errors import BadInput
from qianru.models import named
from qianru.models.files import read_folder
from qianru.models.transformer import Transformer
from qianru.models.weights import given
from qianru.runtime.linear import Linear
from qianru.runtime.options import Runtime
from qianru.train.lora import adapt

if TYPE_CHECKING:
    from qianru.train.config import TrainConfig

CARD = "qianru.json"
HEAD_SPREAD = 0.02   # BERT's, for what is drawn at random


def source_folder(name: str) -> Path:
    """The folder of a model by its name or path; BadInput if there is none."""
    path = Path(name)
    if path.is_dir():
        return path
    found = named.folder_of(name)
    if found is None:
        raise BadInput(f"There is no model folder '{name}', and no downloaded model by that name. See: qianru models.")
    return found


def load_trainable(config: TrainConfig) -> Transformer:
    """The model of a configuration, on its device, in float32."""
    folder = source_folder(config.model)
    runtime = Runtime(precision="float32", device=config.device, max_tokens=config.max_tokens, threads=config.threads)
    model = load_transformer(folder, runtime)
    if config.add_heads:
        model = with_heads(model, config.seed)
    own_weights(model.network)
    if config.lora:
        adapt(model.network, config.lora, config.seed)
    return model


def load_transformer(folder: Path, runtime: Runtime) -> Transformer:
    """The model of a folder, its weights as they are; BadInput for another family."""
    if (folder / CARD).exists():
        stored = read_folder(folder)
        if stored.family != Transformer.family:
            raise BadInput(f"{folder} is a model of the family '{stored.family}', whose weights are not trained this "
                           "way. See: qianru fit.")
        return Transformer.from_stored(stored, runtime, packed=False)
    return Transformer.load(folder, runtime, known=named.facts(folder), packed=False)


def own_weights(network: nn.Module) -> None:
    """Copies every parameter: they may still be those of the file, mapped, which must not change with them."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.data = parameter.data.clone()
    network.source = {}   # type: ignore[assignment]


def with_heads(model: Transformer, seed: int) -> Transformer:
    """The same model with BGE-M3's heads beside it, drawn at random: it learns all three kinds."""
    if model.recipe.token_heads:
        raise BadInput(f"{model.name} has sparse and multi heads already. Leave add_heads out.")
    size = model.network.backbone.config.hidden_size
    draw = torch.Generator().manual_seed(seed)
    heads = {name: {"weight": torch.randn(n, size, generator=draw) * HEAD_SPREAD, "bias": torch.zeros(n)}
             for name, n in (("sparse_linear", 1), ("colbert_linear", size))}
    parts: dict[str, dict[str, Tensor]] = {}
    for place, tensor in model.network.named_tensors().items():
        part, _, name = place.partition("/")
        parts.setdefault(part, {})[name] = tensor
    return Transformer(
        model.name, model._config, replace(model.recipe, token_heads=True),
        {part: given(tensors) for part, tensors in (parts | heads).items()}, model.tokenizer, prompts=model.prompts,
        runtime=model.runtime, packed=False, causal=model._causal,
    )


def prepare(network: nn.Module, *, dropout: float, layer_checkpoints: bool) -> None:
    """Switches on what only training has: dropout behind each layer's products and the embeddings, less memory."""
    backbone = network.get_submodule("backbone")
    layers: Any = backbone.layers
    for layer in layers:
        for name in ("out", "down"):
            linear = getattr(layer, name)
            assert isinstance(linear, Linear)
            linear.dropout = dropout
        if layer_checkpoints:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    if dropout and hasattr(backbone, "positions"):     # an encoder, whose sum of embeddings ends in a norm
        norm = backbone.get_submodule("norm")
        norm.register_forward_hook(lambda module, _, made: functional.dropout(made, dropout, module.training))


@torch.no_grad()
def mix_in_start(network: nn.Module, config: TrainConfig) -> None:
    """Moves the parameters back toward those that the training began with, by start_share."""
    if config.start_share:
        start = dict(load_trainable(config).network.named_parameters())
        for name, parameter in network.named_parameters():
            parameter.lerp_(start[name], config.start_share)


def restore(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Sets the parameters by their names."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])
