"""What pre-training hides and guesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from qianru.errors import BadInput, UnknownName

Task: TypeAlias = Literal["mlm", "retromae", "dupmae"]
TASKS = ("mlm", "retromae", "dupmae")


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """What is hidden and what is guessed.

    task: "mlm", "retromae" or "dupmae";  share: of the tokens hidden from the encoder
    decoder_share: of the tokens hidden from each place of RetroMAE's decoder
    words: whether whole words are hidden; they are jieba's in Chinese
    n_others: tokens are guessed among those of the batch and so many others, drawn anew each step; as many as the
        vocabulary has are all of them, which takes several times as long with a small model
    """

    task: Task = "retromae"
    share: float = 0.3
    decoder_share: float = 0.5
    words: bool = True
    n_others: int = 1024

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UnknownName("pre-training task", self.task, TASKS)
        if not 0 < self.share < 1 or not 0 <= self.decoder_share < 1:
            raise BadInput(f"Shares of hidden tokens lie between 0 and 1; they are {self.share} and "
                           f"{self.decoder_share}.")
        if self.n_others < 1:
            raise BadInput(f"n_others must be at least 1; it is {self.n_others}.")
