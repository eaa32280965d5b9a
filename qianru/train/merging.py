"""Several models of one shape as one: the mean of their weights, which keeps most of what each of them learnt.

BGE's recipe for its last step: models trained on other data or from other checkpoints of one beginning, and that
beginning itself, merged without another step of training (LM-Cocktail, Xiao et al. 2023, arXiv 2311.13534).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.errors import BadInput, ShapeMismatch, SpecMismatch, require

if TYPE_CHECKING:
    from qianru.models.transformer import Transformer


def merge(models: Sequence[str | Path], output: str | Path, weights: Sequence[float] | None = None) -> Path:
    """Writes the model whose every parameter is the weighted mean of the models' and returns its folder.

    models: folders or names, of one shape, vocabulary, pooling and prompts;  output: a folder that is not there yet
    weights: of each, above 0, brought to a sum of 1; None for all alike
    Memory: two models in float32.
    Raises BadInput for fewer than two models or wrong weights, ShapeMismatch and SpecMismatch for the first difference.

    Models that have not grown out of one beginning have nothing in common number by number: their mean is noise.
    """
    require("torch", "torch", "Merging")
    import torch

    from qianru.runtime.options import Runtime
    from qianru.train.publish import publish
    from qianru.train.start import load_transformer, own_weights, source_folder

    folder = Path(output)
    if len(models) < 2:
        raise BadInput(f"Merging takes two models or more; there {'is' if models else 'are'} {len(models)}.")
    shares = [1.0] * len(models) if weights is None else list(map(float, weights))
    if len(shares) != len(models) or not all(0 < share < float("inf") for share in shares):
        raise BadInput(f"Each of the {len(models)} models needs a weight above 0; given are {_told(shares) or 'none'}.")
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty. Choose another folder.")
    shares = [share / sum(shares) for share in shares]
    exact = Runtime(precision="float32", device="cpu")
    sources = [source_folder(str(model)) for model in models]
    merged = load_transformer(sources[0], exact)
    own_weights(merged.network)
    with torch.no_grad():
        parameters = dict(merged.network.named_parameters())
        for parameter in parameters.values():
            parameter.mul_(shares[0])
        for source, share in zip(sources[1:], shares[1:], strict=True):
            other = load_transformer(source, exact)
            _compare(merged, other, str(models[0]), str(source))
            for name, parameter in other.network.named_parameters():
                parameters[name].add_(parameter, alpha=share)
    merged.name = folder.name
    publish(merged, folder, sources[0], _card(folder.name, list(map(str, models)), shares))
    return folder


def _compare(one: Transformer, other: Transformer, one_name: str, other_name: str) -> None:
    """The first difference that keeps two models from being merged, if there is any."""
    both = [{name: tuple(parameter.shape) for name, parameter in model.network.named_parameters()}
            for model in (one, other)]
    missing = sorted(both[0].keys() ^ both[1].keys())
    if missing:
        holder, lacking = (one_name, other_name) if missing[0] in both[0] else (other_name, one_name)
        raise ShapeMismatch(f"{holder} has {missing[0]}, and {lacking} has not. Merge models of one shape.")
    for name, shape in both[0].items():
        if both[1][name] != shape:
            raise ShapeMismatch(f"{name} is {shape} in {one_name} and {both[1][name]} in {other_name}. Merge models of "
                                "one shape.")
    for what, first, second in (
        ("how vectors are pooled", one.recipe, other.recipe), ("the prompts", one.prompts, other.prompts),
        ("the vocabulary", one.tokenizer.content, other.tokenizer.content),
    ):
        if first != second:
            raise SpecMismatch(f"{one_name} and {other_name} differ in {what}: the mean of their weights would mean "
                               "nothing. Merge models that have one beginning.")


def _card(name: str, models: Sequence[str], shares: Sequence[float]) -> str:
    rows = "\n".join(f"| {model} | {share:.4f} |" for model, share in zip(models, shares, strict=True))
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, sentence-similarity, feature-extraction, qianru, merge]
---

# {name}

The mean of the weights of

| model | share |
|---|---:|
{rows}

    qianru merge {' '.join(models)} -o {name} --weights {_told(shares)}
"""


def _told(shares: Sequence[float]) -> str:
    return ",".join(f"{share:.6g}" for share in shares)
