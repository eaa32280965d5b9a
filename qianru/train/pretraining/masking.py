"""Texts -> rows of token ids with whole words hidden: 床前[MASK][MASK]光, never half of 明月."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qianru.errors import SpecMismatch
from qianru.models.tokenizer import TextTokenizer
from qianru.text.normalize import clean
from qianru.text.segment import segmenter
from qianru.types import IntArray

MASK_TOKENS = ("[MASK]", "<mask>")
REPLACED, RANDOM = 0.8, 0.1     # Devlin et al. 2019, section 3.1; the rest stays as it is


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """One text. ids: as it is;  shown: with tokens hidden;  hidden: places to be guessed;  own: places of the text's
    tokens, which the special ones around it are not
    """

    ids: IntArray
    shown: IntArray
    hidden: IntArray
    own: IntArray


class Masker:
    """Hides a share of each text's tokens, word by word.

    share: of the tokens, at least one;  words: False hides single tokens
    """

    def __init__(self, tokenizer: TextTokenizer, share: float, *, words: bool = True) -> None:
        self.tokenizer, self.share, self.words = tokenizer, share, words
        found = [tokenizer.tokenizer.token_to_id(token) for token in MASK_TOKENS]
        mask = next((i for i in found if i is not None), None)
        if mask is None:
            raise SpecMismatch(f"The model's vocabulary has none of {', '.join(MASK_TOKENS)}: nothing can be hidden in "
                               "its texts. Pre-train an encoder, or train this model on pairs.")
        self.mask: int = mask
        self.vocab_size = tokenizer.size       # which takes milliseconds to count

    def rows(self, texts: Sequence[str], rng: np.random.Generator) -> list[Masked]:
        """The texts that have tokens, in order."""
        tokenizer = self.tokenizer
        room = tokenizer.max_tokens - len(tokenizer.prefix) - len(tokenizer.suffix)
        cleaned = [clean(text).lower() if tokenizer.lower_case else clean(text) for text in texts]
        made: list[Masked] = []
        for text, found in zip(cleaned, tokenizer.tokenizer.encode_batch(cleaned, add_special_tokens=False),
                               strict=True):
            own = found.ids[:room]
            if own:
                ids = np.array([*tokenizer.prefix, *own, *tokenizer.suffix], np.int64)
                groups = self._groups(text, found.offsets[:room])
                made.append(self._masked(ids, groups, rng))
        return made

    def _groups(self, text: str, offsets: Sequence[tuple[int, int]]) -> IntArray:
        """(tokens,) a number for the word that each token belongs to; what is in no word is one by itself."""
        alone = -1 - np.arange(len(offsets))
        if not self.words:
            return alone
        edges = [edge for _, start, end in segmenter().spans(text) for edge in (start, end)]
        where = np.searchsorted(edges, [start for start, _ in offsets], side="right")
        return np.where(where % 2, where, alone)      # an odd number of edges before it: inside a word

    def _masked(self, ids: IntArray, groups: IntArray, rng: np.random.Generator) -> Masked:
        first = len(self.tokenizer.prefix)
        own = np.arange(first, first + len(groups))
        wanted = max(int(self.share * len(groups) + rng.random()), 1)    # up or down: short texts too have the share
        order = rng.permutation(np.unique(groups))
        sizes = np.cumsum([(groups == group).sum() for group in order])
        chosen = order[: int(np.searchsorted(sizes, wanted)) + 1]     # the last word may be one too many, never half
        hidden = own[np.isin(groups, chosen)]
        shown = ids.copy()
        fate = rng.random(len(hidden))
        shown[hidden[fate < REPLACED]] = self.mask
        random = hidden[(fate >= REPLACED) & (fate < REPLACED + RANDOM)]
        shown[random] = rng.integers(0, self.vocab_size, len(random))
        return Masked(ids, shown, hidden, own)
