"""What happens around the backbone, as data: prompts before it, pooling and layers after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qianru.errors import BadInput, SpecMismatch
from qianru.models.json_file import JsonFile
from qianru.types import Kind, Role

SLOT = "{instruction}"
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""The poolings that there are, in the order in which sentence-transformers joins several of them."""
ACTIVATIONS = ("none", "tanh", "gelu", "relu", "silu")
"""The activations of a Dense."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What stands before each text.

    query: if it holds {instruction} itself, queries need one
    instruction: how a query with an instruction begins, with {instruction} in place of it; None if there is no such way

    >>> Prompts(instruction="Instruct: {instruction}\\nQuery: ").before("query", "Find the poem")
    'Instruct: Find the poem\\nQuery: '
    """

    query: str = ""
    document: str = ""
    instruction: str | None = None

    def before(self, role: Role, instruction: str | None = None) -> str:
        """The prompt of a text in that role; BadInput for an instruction that has no place."""
        if instruction is None and role == "query" and SLOT in self.query:
            raise BadInput(f"This model's queries begin with {self.query!r:.60}. Say what to look for: instruction=….")
        if instruction is None:
            return self.query if role == "query" else self.document
        if self.instruction is None:
            raise BadInput("This model takes no instruction. Leave it out, or load a model that follows instructions.")
        if role != "query":
            raise BadInput("Instructions are for queries; documents are embedded without. Leave it out, or use "
                           "role='query'.")
        return self.instruction.replace(SLOT, instruction)

    @classmethod
    def read(cls, values: JsonFile) -> Prompts:
        """What `asdict` made of it."""
        template = values.text("instruction") if values.has("instruction") else None
        if template is not None and SLOT not in template:
            raise SpecMismatch(f"{values.path} needs an instruction with {SLOT} in it; it is {template!r:.60}.")
        return cls(values.text("query", ""), values.text("document", ""), template)


@dataclass(frozen=True, slots=True)
class DenseSpec:
    """A linear layer after pooling: sentence-transformers' Dense.

    name: of its folder;  activation: one of ACTIVATIONS;  residual: whether the input is added
    """

    name: str
    n_in: int
    n_out: int
    bias: bool = True
    activation: str = "tanh"
    residual: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """How hidden states become vectors: pooling (several are joined end to end), Dense layers, length 1.

    include_prompt: whether the prompt's tokens count in pooling
    token_heads: whether BGE-M3's sparse and multi heads are there
    cls_every: a [CLS] before every so many tokens, whose states are averaged; None for one before all of them
    """

    pooling: tuple[str, ...]
    include_prompt: bool = True
    dense: tuple[DenseSpec, ...] = ()
    normalize: bool = False
    token_heads: bool = False
    cls_every: int | None = None

    def __post_init__(self) -> None:
        wrong = [pooling for pooling in self.pooling if pooling not in POOLINGS]
        if wrong or not self.pooling:
            raise SpecMismatch(f"There is no pooling {wrong[0] if wrong else 'at all'!r:.60}; supported are "
                               f"{', '.join(POOLINGS)}.")
        if self.cls_every is not None and self.pooling != ("cls",):
            raise BadInput(f"cls_every averages the states of [CLS]; this model pools by {' + '.join(self.pooling)}, "
                           "which sees every token anyway. Leave it out.")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What it makes."""
        return ("dense", "sparse", "multi") if self.token_heads else ("dense",)

    def dim(self, hidden_size: int) -> int:
        """Of the dense vectors; SpecMismatch if the layers do not fit each other."""
        size = hidden_size * len(self.pooling)
        for dense in self.dense:
            if dense.n_in != size:
                raise SpecMismatch(f"{dense.name} takes vectors of {dense.n_in} dimensions; what comes before makes "
                                   f"{size}. The files do not belong together.")
            size = dense.n_out
        return size

    def settings(self) -> dict[str, Any]:
        """The same as JSON can say it."""
        every = {} if self.cls_every is None else {"cls_every": self.cls_every}
        return {"pooling": list(self.pooling), "include_prompt": self.include_prompt,
                "dense": [asdict(dense) for dense in self.dense], "normalize": self.normalize,
                "token_heads": self.token_heads, **every}

    @classmethod
    def read(cls, values: JsonFile) -> Recipe:
        """What `settings` made of it."""
        pooling, dense = values.values.get("pooling"), values.values.get("dense")
        if (not isinstance(pooling, list) or not isinstance(dense, list)
                or not all(isinstance(entry, Mapping) for entry in dense)):
            raise SpecMismatch(f"{values.path} needs lists 'pooling' and 'dense', of names and of objects; they are "
                               f"{pooling!r:.40} and {dense!r:.40}.")
        return cls(
            tuple(map(str, pooling)), values.flag("include_prompt"),
            tuple(_dense(JsonFile(values.path, entry)) for entry in dense),
            values.flag("normalize"), values.flag("token_heads"),
            values.whole("cls_every") if values.has("cls_every") else None,
        )


def part_names(recipe: Recipe) -> tuple[str, ...]:
    """The files of weights that belong together: the backbone, each Dense by its folder, BGE-M3's two heads."""
    heads = ("sparse_linear", "colbert_linear") if recipe.token_heads else ()
    return ("backbone", *(dense.name for dense in recipe.dense), *heads)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a checkpoint beside its own files, e.g. from a catalogue. None: as the files say.

    kinds: what it must be able to make; missing heads are then an error
    """

    name: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    prompts: Prompts | None = None
    max_tokens: int | None = None
    kinds: tuple[Kind, ...] = ("dense",)
    causal: bool | None = None


def _dense(values: JsonFile) -> DenseSpec:
    activation = values.text("activation")
    if activation not in ACTIVATIONS:
        raise SpecMismatch(f"{values.path} asks for the activation {activation!r:.40}; supported are "
                           f"{', '.join(ACTIVATIONS)}.")
    return DenseSpec(values.text("name"), values.whole("n_in"), values.whole("n_out"), values.flag("bias"), activation,
                     values.flag("residual"))
