"""Backbone and heads as one torch module: a packed batch in, the vectors of its texts out.

Loaded plain it carries gradients; `pack` of runtime.linear makes it an inference engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from qianru.models.backbone import Backbone, Shape, module_of
from qianru.models.heads import DenseHead, TokenHead, finished, mean_of_cls, pooled, term_weights, token_vectors
from qianru.models.json_file import JsonFile
from qianru.models.recipe import Recipe, part_names
from qianru.models.weights import Lazy, Weights
from qianru.runtime.loop import Outputs
from qianru.runtime.packing import Packed
from qianru.types import IntArray, Kind, Ragged

Parts = Mapping[str, Mapping[str, Lazy]]
"""part -> its tensors; the parts are those that `part_names` lists."""


class Network(nn.Module):
    """All that has weights. Every tensor of every part has its place, or making it is a SpecMismatch.

    source: the tensors as they came, "part/name" -> tensor; mapped from the files, not copied
    """

    def __init__(self, config: JsonFile, recipe: Recipe, parts: Parts, place: str, causal: bool | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        module = module_of(config)
        shape: Shape = module.read_config(config, causal)
        self.dim = recipe.dim(shape.hidden_size)
        opened = {part: Weights(parts.get(part, {}), f"{place}/{part}") for part in part_names(recipe)}
        opened["backbone"] = Weights(parts["backbone"], place, anchor=module.ANCHOR, prefixes=module.PREFIXES,
                                     aliases=module.ALIASES)
        self.backbone = cast("Backbone", module.build(shape, opened["backbone"]))
        self.dense = nn.ModuleList(DenseHead(spec, opened[spec.name]) for spec in recipe.dense)
        self.heads = nn.ModuleDict()
        self.multi_dim = 0
        if recipe.token_heads:
            self.multi_dim = opened["colbert_linear"].rows("weight")
            for name, size in (("sparse_linear", 1), ("colbert_linear", self.multi_dim)):
                self.heads[name] = TokenHead(opened[name], shape.hidden_size, size)
        for part, weights in opened.items():
            weights.finish(module.HARMLESS if part == "backbone" else ())
        self.source = {
            f"{part}/{name}": tensor for part, weights in opened.items() for name, tensor in weights.taken.items()
        }

    def dense_vectors(self, hidden: Tensor, batch: Packed, skip: int = 0, cls_every: int | None = None) -> Tensor:
        """(n, dim) of the states of all tokens, or of the first of each row; neither sliced nor normalised.

        skip: tokens of a prompt at the beginning of each row that do not count
        """
        if len(hidden) == len(batch):
            vectors = hidden
        elif cls_every is not None:
            vectors = mean_of_cls(hidden, batch, cls_every)
        else:
            vectors = pooled(hidden, batch, self.recipe.pooling, skip)
        for layer in self.dense:
            vectors = layer(vectors)
        return vectors

    def outputs(
        self, batch: Packed, kinds: Sequence[Kind], recipe: Recipe, *, skip: int, truncate_dim: int | None,
        unused: IntArray,
    ) -> Outputs:
        """Every kind asked for, from one pass.

        recipe: how to use the network now: it may normalise or read [CLS] otherwise than the one it was made with
        unused: token ids that never count as terms
        """
        every = recipe.cls_every
        first_only = tuple(kinds) == ("dense",) and recipe.pooling == ("cls",) and not skip and every is None
        hidden = self.backbone.first_tokens(batch) if first_only else self.backbone(batch)
        dense = None
        if "dense" in kinds:
            vectors = self.dense_vectors(hidden, batch, skip, every)
            dense = finished(vectors, truncate_dim, recipe.normalize).float().cpu().numpy()
        return Outputs(
            dense,
            term_weights(self.heads["sparse_linear"](hidden), batch, unused, self.backbone.config.vocab_size)
            if "sparse" in kinds else None,
            token_vectors(self.heads["colbert_linear"](hidden), batch, every) if "multi" in kinds else None,
            Ragged(hidden.float().cpu().numpy(), batch.offsets) if "tokens" in kinds else None,
        )

    def named_tensors(self) -> dict[str, Tensor]:
        """The parameters as "part/name in the file"; not once they are packed."""
        tensors = {f"backbone/{name}": tensor for name, tensor in self.backbone.named_tensors().items()}
        for spec, layer in zip(self.recipe.dense, self.dense, strict=True):
            assert isinstance(layer, DenseHead)
            tensors |= {f"{spec.name}/{name}": tensor for name, tensor in layer.named_tensors().items()}
        for part, head in self.heads.items():
            assert isinstance(head, TokenHead)
            tensors |= {f"{part}/{name}": tensor for name, tensor in head.named_tensors().items()}
        return {name: tensor.detach() for name, tensor in tensors.items()}
