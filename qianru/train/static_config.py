"""What a new table of token vectors looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qianru.errors import BadInput, UnknownName

STARTS = ("random", "contexts")
STORAGES = ("int8", "float32")


@dataclass(frozen=True, slots=True)
class StaticConfig:
    """A table drawn up from the texts of a training, and how it is stored.

    dim: of the vectors
    n_words: words of two or more letters at most; single Han characters, letters and digits come on top
    min_count: rarer words are read as their characters
    word_list: file of "word frequency" lines, as jieba's dictionary: how often words are in texts at large, so that
        what is frequent only in the training texts does not rule; None for these texts alone
    sif: a of the weights a / (a + p) that tokens begin with; None for equal weights (Arora, Liang and Ma 2017)
    characters: share of a word's vector that its characters give and learn with it; 0 for words by themselves
    start: "random" keeps texts with the same words together from the first step; "contexts" begins with the main
        directions of which words stand together
    even: how far the directions along which texts lie are evened out when the table is written: 0 leaves them as they
        were learnt, 0.5 makes them weigh alike (whitening)
    simplified: Traditional characters are read as Simplified ones
    storage: "int8" with a scale a row, or "float32"
    """

    dim: int = 256
    n_words: int = 30_000
    min_count: int = 3
    word_list: str | None = None
    sif: float | None = 1e-3
    characters: float = 0.5
    start: Literal["random", "contexts"] = "contexts"
    even: float = 0.0
    simplified: bool = True
    storage: Literal["int8", "float32"] = "int8"

    def __post_init__(self) -> None:
        for name, known in (("start", STARTS), ("storage", STORAGES)):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
        for name, least in (("dim", 1), ("n_words", 0), ("min_count", 1)):
            if getattr(self, name) < least:
                raise BadInput(f"A static table's {name} must be at least {least}; it is {getattr(self, name)}.")
        if not 0 <= self.characters < 1:
            raise BadInput(f"characters is a share below 1; it is {self.characters}.")
        if self.sif is not None and not 0 < self.sif <= 1:
            raise BadInput(f"sif stands beside shares of all tokens, so it lies between 0 and 1, not at {self.sif}.")
        if not 0 <= self.even <= 0.5:
            raise BadInput(f"even goes from 0 (nothing) to 0.5 (whitening); it is {self.even}.")
