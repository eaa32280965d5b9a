"""The catalogue: what is known of checkpoints that people ask for by name; the facts stand in data/catalogue.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from qianru.errors import SpecMismatch, UnknownName
from qianru.models.recipe import Prompts
from qianru.types import Kind

HubName: TypeAlias = Literal["huggingface", "modelscope"]


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of one checkpoint; None and empty mean that it is not known.

    ids: hub -> what it is called there;  aliases: other names that lead here
    family: model_type of its config.json, or "remote" for an HTTP endpoint;  kinds: of vectors that it makes,
        none for a reranker
    dim: of dense vectors as they come out;  hidden, n_layers, n_parameters: of the backbone
    matryoshka: smaller sizes that it was trained for;  any_dim_from: any size from here up
    pooling: cls, mean or last;  normalized: its own files end with a Normalize
    query, document: what is put before a text of that role;  instruction: the query's prompt for a task of one's own
    """

    name: str
    family: str
    ids: Mapping[HubName, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ("dense",)
    dim: int | None = None
    matryoshka: tuple[int, ...] = ()
    any_dim_from: int | None = None
    n_layers: int | None = None
    hidden: int | None = None
    n_parameters: int | None = None
    max_tokens: int | None = None
    languages: tuple[str, ...] = ()
    licence: str = ""
    pooling: str = ""
    normalized: bool | None = None
    causal: bool | None = None
    query: str = ""
    document: str = ""
    instruction: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that find knows it by, the short name first."""
        return (self.name, *self.ids.values(), *self.aliases)

    @property
    def prompts(self) -> Prompts:
        r"""What stands before its texts.

        >>> find("Qwen3-Embedding-0.6B").prompts.before("query", "Find the poem")
        'Instruct: Find the poem\nQuery:'
        >>> find("Qwen3-Embedding-0.6B").prompts.before("document")
        ''
        """
        return Prompts(self.query, self.document, self.instruction or None)


@cache
def catalogue() -> tuple[Card, ...]:
    """Every card, in the order of the file."""
    import tomllib

    text = (files("qianru") / "data" / "catalogue.toml").read_text(encoding="utf-8")
    return tuple(_card(entry) for entry in tomllib.loads(text)["model"])


def known(name: str) -> Card | None:
    """The card by its short name or what either hub calls it, whatever the case; None if there is none."""
    return _by_name().get(name.lower())


def find(name: str) -> Card:
    """The card by its short name or what either hub calls it, whatever the case; UnknownName if there is none.

    >>> find("baai/BGE-M3").name
    'bge-m3'
    """
    card = known(name)
    if card is None:
        full = "/" in name
        raise UnknownName("model in the catalogue", name,
                          (other for card in catalogue() for other in card.names if ("/" in other) == full))
    return card


def check(card: Card, config: Mapping[str, Any], place: str) -> None:
    """Raises SpecMismatch, naming both values, where a folder's config.json contradicts what the card says.

    place: the file that config was read from, for the message
    """
    for fact, key in ((card.family, "model_type"), (card.hidden, "hidden_size"),
                      (card.n_layers, "num_hidden_layers"), (card.causal, "is_causal")):
        said = config.get(key)
        if fact is not None and said is not None and said != fact:
            raise SpecMismatch(f"{place} says {key} = {said!r}; {card.name} has {fact!r}. It is the folder of another "
                               "model: download it again, or load it by its path.")
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and card.max_tokens is not None and positions < card.max_tokens:
        raise SpecMismatch(f"{place} says max_position_embeddings = {positions}; {card.name} reads {card.max_tokens} "
                           "tokens. It is the folder of another model: download it again, or load it by its path.")


@cache
def _by_name() -> Mapping[str, Card]:
    return {name.lower(): card for card in catalogue() for name in card.names}


def _card(entry: Mapping[str, Any]) -> Card:
    facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Card(**facts)
