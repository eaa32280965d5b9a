"""The tokens of a new static table: words by their frequency, and the characters that everything else is read as.

The tokenizer is a unigram model (Kudo 2018): of all ways to cut a run of Chinese it takes the most probable, as jieba
does without its hidden Markov model, but in one pass without Python, and in a file that model2vec reads too.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qianru.errors import BadFile, BadInput
from qianru.text.normalize import fold
from qianru.text.segment import segmenter
from qianru.train.static_config import StaticConfig
from qianru.types import FloatArray

UNKNOWN = "[UNK]"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\u3007]")
LATIN = re.compile(r"[a-z]+|[0-9]+")
RUNS = r"[\u3400-\u4dbf\u4e00-\u9fff\u3007]+|[a-z]+|[0-9]+"   # what is read; all else stands between words
N_CHARACTERS = 7_000   # Han; the 7,000 of the common standard cover 99.99 % of modern text
N_PIECES = 2_000       # letters that unknown English words are read as
PIECE = (2, 3, 4)      # letters of such a piece
PIECE_SHARE = 1e-9     # so improbable that a whole word always wins
LONGEST_WORD = 12      # letters of Chinese


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """tokens: the first is the unknown one;  shares: (v,) of all tokens in texts, 0 for those never seen"""

    tokens: list[str]
    shares: FloatArray

    def tokenizer(self) -> bytes:
        """tokenizer.json: lower case, NFKC, runs of Han, of letters or of digits, the most probable cut of each."""
        least = math.log(PIECE_SHARE)
        scores = [round(math.log(share), 3) if share > 0 else least for share in self.shares.tolist()]
        return json.dumps({
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": RUNS}, "behavior": "Removed", "invert": True},
            "post_processor": None, "decoder": None,
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                      "vocab": [list(pair) for pair in zip(self.tokens, scores, strict=True)]},
        }, ensure_ascii=False, separators=(",", ":")).encode()


def learn_vocabulary(texts: Iterable[str], config: StaticConfig) -> Vocabulary:
    """The words of the texts and of config.word_list that are most frequent, all characters, letters and digits.

    Raises BadInput for texts without a word.
    """
    counts, english = _counted(texts)
    if not counts and not english:
        raise BadInput("The texts hold no word to make a vocabulary of.")
    listed = read_frequencies(Path(config.word_list)) if config.word_list else Counter[str]()
    shares: defaultdict[str, float] = defaultdict(float, _shares(counts))
    for word, share in _shares(listed).items():
        if counts[word] >= config.min_count or len(word) == 1:
            shares[word] = (shares[word] + share) / 2 if word in counts else share / 2
    for word, share in _shares(english).items():
        shares[word] += share / 2
    words = [word for word, _ in sorted(shares.items(), key=lambda one: (-one[1], one[0]))
             if len(word) > 1 and max(counts[word], english[word]) >= config.min_count][: config.n_words]
    single = sorted(_characters(_shares(counts), _shares(listed)) | set(LETTERS))
    pieces = _pieces(english, set(words)) if english else []
    seen = [*single, *words]
    return Vocabulary([UNKNOWN, *seen, *pieces], np.array([0.0, *map(shares.__getitem__, seen), *[0.0] * len(pieces)]))


def read_frequencies(path: Path) -> Counter[str]:
    """Word -> how often, of lines "word frequency …"; BadFile for a line that is not of this form."""
    found: Counter[str] = Counter()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = line.rsplit(maxsplit=2)
        word, times = (parts[0], parts[1]) if len(parts) == 3 else (parts[0], parts[-1])
        if len(parts) < 2 or not times.isdecimal():
            raise BadFile(f"{path}, line {number}: '{line[:40]}' is no word with its frequency.")
        if _chinese(word):
            found[word] += int(times)
    return found


def _counted(texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each Chinese word, and each run of letters or digits, stands in the texts."""
    cut = segmenter()
    counts, english = Counter[str](), Counter[str]()
    for text in texts:
        for word in cut.words(fold(text, script=True).lower()):
            if HAN.match(word[0]):
                counts[word] += 1
            else:
                english.update(LATIN.findall(word))
    return Counter({word: n for word, n in counts.items() if _chinese(word)}), english


def _chinese(word: str) -> bool:
    return len(word) <= LONGEST_WORD and all(map(HAN.match, word))


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = max(counts.total(), 1)
    return {word: n / total for word, n in counts.items()}


def _characters(*shares: dict[str, float]) -> set[str]:
    """The Han characters that stand in most words, by the words' shares."""
    found: defaultdict[str, float] = defaultdict(float)
    for some in shares:
        for word, share in some.items():
            for c in word:
                found[c] += share
    return set(sorted(found, key=lambda c: (-found[c], c))[:N_CHARACTERS])


def _pieces(english: Counter[str], words: set[str]) -> list[str]:
    """The runs of two to four letters that most different words have."""
    found: Counter[str] = Counter()
    for word in english:
        if word.isalpha():
            found.update({word[i : i + n] for n in PIECE for i in range(len(word) - n + 1)})
    ranked = sorted(found.items(), key=lambda one: (-one[1] * len(one[0]), one[0]))
    return [piece for piece, _ in ranked if piece not in words][:N_PIECES]


def characters_of(tokens: list[str]) -> list[list[int]]:
    """For each token of two or more Han characters the tokens of these; none for others."""
    ids: dict[str, int] = {token: i for i, token in enumerate(tokens)}
    empty: list[int] = []
    return [[ids[c] for c in token if c in ids] if len(token) > 1 and HAN.match(token) else empty for token in tokens]


def describe(vocabulary: Vocabulary) -> dict[str, Any]:
    """How many tokens of each sort there are."""
    sorts = Counter("unknown" if t == UNKNOWN else "word" if len(t) > 1 and HAN.match(t) else
                    "character" if HAN.match(t) else "latin" for t in vocabulary.tokens)
    return dict(sorts)
