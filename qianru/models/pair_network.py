"""Backbone and classification head as one torch module: a packed batch of pairs in, logits out.

    BERT           tanh(pooler(state of [CLS])) -> classifier
    XLM-RoBERTa    tanh(classifier.dense(state of <s>)) -> classifier.out_proj

Source: transformers' BertForSequenceClassification and XLMRobertaForSequenceClassification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from qianru.errors import SpecMismatch
from qianru.models.backbone import Backbone, Shape, module_of
from qianru.models.json_file import JsonFile
from qianru.models.weights import Lazy, Weights
from qianru.runtime.packing import Packed

HEADS = {
    "bert": ("pooler.dense", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", "classifier.out_proj"),
}
"""model_type of config.json -> the two linear layers of its head, with tanh between them."""


def check_supported(config: JsonFile) -> tuple[str, str]:
    """The names of the two layers; SpecMismatch with all that is supported for another model_type."""
    kind = config.text("model_type", "")
    if kind not in HEADS:
        raise SpecMismatch(f"{config.path} describes a classifier of the type {kind!r:.60}; supported are "
                           f"{', '.join(HEADS)}. Use another reranker.")
    return HEADS[kind]


class PairNetwork(nn.Module):
    """All that has weights. Every tensor has its place, or making it is a SpecMismatch.

    source: the tensors as they came; mapped from the file, not copied
    """

    def __init__(self, config: JsonFile, tensors: Mapping[str, Lazy], place: str) -> None:
        super().__init__()
        inner, outer = check_supported(config)
        module = module_of(config)
        shape: Shape = module.read_config(config, None)
        weights = Weights(tensors, place, anchor=module.ANCHOR, prefixes=module.PREFIXES, aliases=module.ALIASES)
        self.backbone = cast("Backbone", module.build(shape, weights))
        self.n_labels, hidden = weights.rows(f"{outer}.weight"), shape.hidden_size
        self.inner_weight = _parameter(weights, f"{inner}.weight", hidden, hidden)
        self.inner_bias = _parameter(weights, f"{inner}.bias", hidden)
        self.outer_weight = _parameter(weights, f"{outer}.weight", self.n_labels, hidden)
        self.outer_bias = _parameter(weights, f"{outer}.bias", self.n_labels)
        weights.finish(module.HARMLESS)
        self.source = dict(weights.taken)

    def forward(self, batch: Packed) -> Tensor:
        """(n, n_labels) logits of the pairs of a batch."""
        return self.classified(self.backbone.first_tokens(batch))

    def classified(self, states: Tensor) -> Tensor:
        """(n, hidden) states of the first tokens -> (n, n_labels), always in float32."""
        inner = torch.tanh(functional.linear(states.float(), self.inner_weight, self.inner_bias))
        return functional.linear(inner, self.outer_weight, self.outer_bias)


def _parameter(weights: Weights, name: str, *shape: int) -> nn.Parameter:
    return nn.Parameter(weights.take(name, *shape).float())
