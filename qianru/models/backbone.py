"""Which transformer families there are, and what the rest of the house needs to know of one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from qianru.errors import SpecMismatch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from qianru.models.json_file import JsonFile
    from qianru.runtime.options import Precision
    from qianru.runtime.packing import Packed

BACKBONES = {
    "bert": "qianru.models.encoder",
    "roberta": "qianru.models.encoder",
    "xlm-roberta": "qianru.models.encoder",
    "qwen2": "qianru.models.decoder",
    "qwen3": "qianru.models.decoder",
    "mistral": "qianru.models.decoder",
}
"""model_type of config.json -> module. A new family is one file and one line here. Such a module has

    read_config(config: JsonFile, causal: bool | None) -> a Shape     checks config.json, allocates nothing
    build(shape, weights: Weights) -> a Backbone                      takes every tensor that it needs
    ANCHOR, PREFIXES, ALIASES, HARMLESS                               how tensors may be called; see weights.Weights
"""


def check_supported(config: JsonFile) -> str:
    """The model_type; SpecMismatch with all that is supported if it is none of these."""
    kind = config.text("model_type", "")
    if kind not in BACKBONES:
        raise SpecMismatch(f"{config.path} describes a model of the type {kind!r:.60}; supported are "
                           f"{', '.join(BACKBONES)}. Use another model.")
    return kind


def module_of(config: JsonFile) -> Any:
    """The module for a config.json; needs torch."""
    return import_module(BACKBONES[check_supported(config)])


class Shape(Protocol):
    """The sizes of a backbone."""

    @property
    def vocab_size(self) -> int:
        """Rows of the table of tokens."""
        ...

    @property
    def hidden_size(self) -> int:
        """Numbers per token."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest text that it can read."""
        ...

    def settings(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        ...


class Backbone(Protocol):
    """A torch module: packed token ids -> hidden states."""

    @property
    def config(self) -> Shape:
        """Its sizes."""
        ...

    @property
    def layers(self) -> nn.ModuleList:
        """Where nearly all of its weights are."""
        ...

    def __call__(self, batch: Packed) -> Tensor:
        """(total, hidden) states of all tokens."""
        ...

    def first_tokens(self, batch: Packed) -> Tensor:
        """(n, hidden) states of the first token of each row."""
        ...

    def fuse(self, precision: Precision) -> None:
        """Told that all layers are packed in that precision: it may join them from now on."""
        ...

    def named_tensors(self) -> dict[str, Tensor]:
        """The parameters by their names in the file, as plain as they came; not once they are packed."""
        ...
