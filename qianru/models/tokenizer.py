"""Texts -> rows of token ids, as the folder's own tokenizer files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qianru.errors import BadFile, BadInput, SpecMismatch
from qianru.models.byte_bpe import read_byte_bpe
from qianru.models.json_file import JsonFile
from qianru.models.sentencepiece_bpe import read_sentencepiece_bpe
from qianru.models.sentencepiece_file import precompiled, read_sentencepiece
from qianru.text.normalize import clean
from qianru.types import IntArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST = 1 << 27   # bytes of a tokenizer.json
SAMPLE = "天地 heaven"
ROLES_OF_TOKENS = ("cls_token", "bos_token", "eos_token", "sep_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """rows: the ids of n texts, cut; empty for a text without tokens of its own
    n_tokens: (n,) before any cut, without prompt and special tokens;  n_cut: how many texts were cut
    """

    rows: list[IntArray]
    n_tokens: IntArray
    n_cut: int


class TextTokenizer:
    """prompt + text -> prefix, ids, suffix: at most max_tokens of them.

    content: a tokenizer.json
    special: role -> token of those that the folder names, e.g. {"cls_token": "[CLS]"}
    cls_every: the prefix, one token, also stands before every so many tokens of a text; None for once
    """

    def __init__(
        self, content: bytes, max_tokens: int, *, lower_case: bool = False, special: Mapping[str, str] | None = None,
        cls_every: int | None = None,
    ) -> None:
        self.cls_every = cls_every
        self.content, self.max_tokens, self.lower_case, self.special = content, max_tokens, lower_case, special or {}
        self.tokenizer = parse_tokenizer(content)
        self.tokenizer.no_truncation()   # we cut, because the library does not say how much it cut
        self.tokenizer.no_padding()
        self.prefix, self.suffix = _frame(self.tokenizer)
        self._check_room()

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def cut_at(self, max_tokens: int) -> TextTokenizer:
        """The same tokenizer with another limit; SpecMismatch if it leaves no room for a text."""
        other = copy(self)
        other.max_tokens = max_tokens
        other._check_room()
        return other

    def with_cls_every(self, n: int) -> TextTokenizer:
        """The same tokenizer with [CLS] before every n tokens; BadInput where texts do not stand between two tokens."""
        other = copy(self)
        other.cls_every = n
        other._check_room()
        return other

    def special_ids(self) -> IntArray:
        """The ids of the tokens that stand for no part of a text."""
        ids = {self.tokenizer.token_to_id(self.special[role]) for role in ("cls_token", "eos_token", "pad_token",
                                                                           "unk_token") if role in self.special}
        return np.array(sorted(i for i in ids if i is not None), np.int64)

    def token(self, token_id: int) -> str:
        """The token as text, e.g. 床 for ▁床; a special token by its name."""
        return str(self.tokenizer.decode([token_id], skip_special_tokens=False)).strip()

    def prompt_length(self, prompt: str) -> int:
        """How many first tokens of a row belong to the prompt, its special tokens among them; 0 without a prompt."""
        return len(self.prefix) + len(self.ids([prompt])[0]) if prompt else 0

    def rows(self, texts: Sequence[str], prompt: str = "") -> Tokens:
        """The rows of the texts, each after the prompt."""
        room = self._room()
        own = self.ids([prompt])[0] if prompt else []
        rows: list[IntArray] = []
        n_tokens = np.zeros(len(texts), np.int64)
        n_cut = 0
        for i, ids in enumerate(self.ids([prompt + text for text in texts] if prompt else texts)):
            if not ids or ids == own:
                rows.append(np.zeros(0, np.int64))
                continue
            n_tokens[i] = max(len(ids) - len(own), 1)   # the prompt's last token may have grown into the text's first
            n_cut += len(ids) > room
            rows.append(np.array([*self.prefix, *self._parted(ids[:room]), *self.suffix], np.int64))
        return Tokens(rows, n_tokens, n_cut)

    def _room(self) -> int:
        """How many tokens of its own a text may have."""
        if self.cls_every is None:
            return self.max_tokens - len(self.prefix) - len(self.suffix)
        blocks, rest = divmod(self.max_tokens - len(self.suffix), self.cls_every + 1)
        return blocks * self.cls_every + max(rest - 1, 0)

    def _parted(self, ids: list[int]) -> list[int]:
        """With the prefix before every so many, but not before the first, where it stands already."""
        if self.cls_every is None or len(ids) <= self.cls_every:
            return ids
        blocks = (ids[at : at + self.cls_every] for at in range(0, len(ids), self.cls_every))
        return [i for block in blocks for i in (*self.prefix, *block)][len(self.prefix) :]

    def _check_room(self) -> None:
        n_special = len(self.prefix) + len(self.suffix)
        if self.cls_every is not None and (len(self.prefix), len(self.suffix)) != (1, 1):
            raise BadInput(f"cls_every is for texts between one [CLS] and one [SEP]; here {len(self.prefix)} tokens "
                           f"stand before a text and {len(self.suffix)} after it. Leave it out.")
        if self.max_tokens <= n_special:
            raise SpecMismatch(f"max_tokens is {self.max_tokens}, and {n_special} special tokens surround every text. "
                               "Use a larger one.")

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The texts' own tokens, none cut, none special."""
        cleaned = [clean(text).lower() if self.lower_case else clean(text) for text in texts]
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(cleaned, add_special_tokens=False)]


def read_tokenizer(home: Path, model_type: str) -> tuple[bytes, dict[str, str]]:
    """The tokenizer.json of a folder, or one built from its older files, and the special tokens that it names."""
    config = JsonFile.read_if_there(home / "tokenizer_config.json")
    special = _special_tokens(config, JsonFile.read_if_there(home / "special_tokens_map.json"))
    if (home / "tokenizer.json").is_file():
        return _framed(_bytes(home / "tokenizer.json"), config, special), special
    if (home / "vocab.json").is_file() and (home / "merges.txt").is_file() and model_type in ("qwen2", "qwen3"):
        return _framed(read_byte_bpe(home, config).to_str().encode(), config, special), special
    if (home / "vocab.txt").is_file():
        return _wordpiece(home / "vocab.txt", config).to_str().encode(), _WORDPIECE | special
    for name in ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model"):
        if (home / name).is_file() and model_type in ("xlm-roberta", "camembert"):
            return _xlm_roberta(home / name).to_str().encode(), _XLM_ROBERTA | special
    if (home / "tokenizer.model").is_file() and model_type == "mistral":
        tokenizer, own = read_sentencepiece_bpe(home / "tokenizer.model", config)
        return _framed(tokenizer.to_str().encode(), config, own | special), own | special
    raise BadFile(f"{home} holds no tokenizer that can be read: no tokenizer.json, no vocab.txt, and no vocab.json "
                  f"with merges.txt or sentencepiece model of a kind that fits '{model_type}'. Download the folder "
                  "again.")


def parse_tokenizer(content: bytes) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes; BadFile if it describes none."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(content.decode())
    except Exception as error:   # the library raises plain Exception
        raise BadFile(f"tokenizer.json is not a tokenizer: {error}. Download the file again.") from error


_WORDPIECE = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
_XLM_ROBERTA = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>",
                "unk_token": "<unk>"}


def _wordpiece(path: Path, config: JsonFile) -> Tokenizer:
    """BERT's: one token a line."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    try:
        lines = _bytes(path).decode().split("\n")
    except ValueError as error:
        raise BadFile(f"{path} is not UTF-8: {error}. Download the file again.") from error
    words = [line.rstrip("\r") for line in lines]
    if words and not words[-1]:
        words.pop()
    vocabulary = {word: i for i, word in enumerate(words)}   # a word that is there twice has its last number
    missing = [token for token in _WORDPIECE.values() if token not in vocabulary]
    if missing:
        raise SpecMismatch(f"{path} lacks {', '.join(missing)}: it is not the vocabulary of a BERT.")
    lower = config.flag("do_lower_case", True)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=config.flag("tokenize_chinese_chars", True),
        strip_accents=config.flag("strip_accents") if config.has("strip_accents") else None, lowercase=lower,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    special = [*_WORDPIECE.values(), *(["[MASK]"] if "[MASK]" in vocabulary else [])]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def _xlm_roberta(path: Path) -> Tokenizer:
    """XLM-RoBERTa's: sentencepiece's numbers moved by one, after fairseq's four special tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    file = read_sentencepiece(path)
    if file.kind != "unigram":
        raise SpecMismatch(f"{path} is a sentencepiece model of kind {file.kind}; XLM-RoBERTa's is unigram.")
    # Source: transformers' conversion of the slow tokenizer. In the file <unk>, <s>, </s> are 0, 1, 2.
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *file.pieces[3:], ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    steps: list[Any] = [precompiled(path, file.charsmap)] if file.charsmap else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    plain = [AddedToken(token, normalized=False, special=True) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer.add_special_tokens([*plain, AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    return tokenizer


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens before and after every text."""
    bare = tokenizer.encode(SAMPLE, add_special_tokens=False).ids
    framed = tokenizer.encode(SAMPLE, add_special_tokens=True).ids
    for at in range(len(framed) - len(bare) + 1):
        if framed[at : at + len(bare)] == bare:
            prefix, suffix = framed[:at], framed[at + len(bare) :]
            empty = tokenizer.encode("", add_special_tokens=True).ids
            if empty == prefix + suffix:
                return prefix, suffix
    raise SpecMismatch("This tokenizer adds special tokens in a way that depends on the text, which is not supported.")


def _framed(content: bytes, config: JsonFile, special: Mapping[str, str]) -> bytes:
    """The tokenizer.json with the tokens that tokenizer_config.json asks for around every text.

    transformers 5 reads add_bos_token and add_eos_token no more where there is a tokenizer.json, and so loses the last
    token of gte-Qwen2 and E5-mistral, which is the one that they were trained to pool.
    """
    from tokenizers import processors

    asked = {role for role in ("bos_token", "eos_token") if config.flag(f"add_{role}", False)}
    if not asked:
        return content
    tokenizer = parse_tokenizer(content)
    before, after = _frame(tokenizer)
    ids = {role: tokenizer.token_to_id(special[role]) if role in special else None for role in asked}
    for role, i in ids.items():
        if i is None:
            raise SpecMismatch(f"{config.path} says add_{role}, and names as {role} {special.get(role)!r}, which its "
                               "vocabulary does not have. Download the folder again.")
        if role == "bos_token" and before[:1] != [i]:
            before = [i, *before]
        elif role == "eos_token" and after[-1:] != [i]:
            after = [*after, i]
    names = {i: tokenizer.id_to_token(i) for i in [*before, *after]}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*(names[i] for i in before), "$A", *(names[i] for i in after)],
        special_tokens=[(name, i) for i, name in names.items()],
    )
    return tokenizer.to_str().encode()


def _special_tokens(*files: JsonFile) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files:
        for role in ROLES_OF_TOKENS:
            value = file.values.get(role)
            content = value.get("content") if isinstance(value, dict) else value
            if isinstance(content, str):
                found[role] = content
    return found


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise BadFile(f"{path} has {path.stat().st_size} bytes, too many for a tokenizer. Is it the right file?")
        return path.read_bytes()
    except OSError as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
