"""A small model with dense vectors that needs neither torch nor a download, and what it is asked about."""

from __future__ import annotations

import numpy as np
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from qianru.models.static import StaticModel
from qianru.types import Document

POEMS = [
    Document("静夜思", "床前明月光，疑是地上霜。", {"author": "李白", "lines": 4, "tags": ["月", "乡"]}),
    Document("春晓", "春眠不觉晓，处处闻啼鸟。", {"author": "孟浩然", "lines": 4, "tags": ["春"]}),
    Document("水调歌头", "明月几时有，把酒问青天。", {"author": "苏轼", "lines": 19, "tags": ["月", "酒"]}),
]
LETTERS = sorted(set("".join(poem.text for poem in POEMS)) | set("abcdefghijklmnopqrstuvwxyz ABCDEFG0123456789"))



def letters() -> StaticModel:
    """A text is the mean of a random vector for each of its letters."""
    tokenizer = Tokenizer(WordLevel({"?": 0, **{letter: i for i, letter in enumerate(LETTERS, 1)}}, unk_token="?"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    table = np.random.default_rng(3).standard_normal((len(LETTERS) + 1, 16)).astype(np.float32)
    return StaticModel(table, tokenizer.to_str().encode())
