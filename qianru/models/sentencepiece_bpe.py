"""Mistral's tokenizer from its older file alone: tokenizer.model, byte pairs in the form of sentencepiece.

The file lists pieces and no merges. A piece is merged from any two others that make it up, and earlier pieces first.
Source: sentencepiece's bpe_model.cc; transformers writes the same merges into a tokenizer.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qianru.errors import SpecMismatch
from qianru.models.json_file import JsonFile
from qianru.models.sentencepiece_file import (
    NORMAL,
    USER_DEFINED,
    SentencePieceFile,
    precompiled,
    read_sentencepiece,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"


def read_sentencepiece_bpe(path: Path, config: JsonFile) -> tuple[Tokenizer, dict[str, str]]:
    """The tokenizer, which puts its first token before a text unless tokenizer_config.json says no; its special tokens.

    Raises BadFile for a damaged file, SpecMismatch for one of another kind.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    file = read_sentencepiece(path)
    if file.kind != "bpe":
        raise SpecMismatch(f"{path} is a sentencepiece model of kind {file.kind}; Mistral's is bpe. Download the "
                           "folder again, or one with a tokenizer.json.")
    names = [text for text, _ in file.pieces]
    special = {role: names[i] for role, i in (("unk_token", file.unknown_id), ("bos_token", file.first_id),
                                              ("eos_token", file.last_id)) if 0 <= i < len(names)}
    if set(special) != {"unk_token", "bos_token", "eos_token"}:
        raise SpecMismatch(f"{path} has no tokens for the beginning, the end or what it does not know. Download the "
                           "folder again, or one with a tokenizer.json.")
    vocabulary = {text: i for i, text in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, _merges(file, vocabulary), unk_token=special["unk_token"],
                                     fuse_unk=True, byte_fallback=file.byte_fallback))
    steps: list[Any] = [precompiled(path, file.charsmap)] if file.charsmap else []
    if file.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace("  ", " ")]
    if file.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special.values()])
    if config.flag("add_bos_token", True):       # as Llama's tokenizers do where no file says
        first = special["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A {first} $B", special_tokens=[(first, vocabulary[first])])
    return tokenizer, special


def _merges(file: SentencePieceFile, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes up a third, in the order in which sentencepiece would merge them."""
    kinds = zip(file.pieces, file.piece_kinds, strict=True)
    plain = {text for (text, _), kind in kinds if kind in (NORMAL, USER_DEFINED)}
    found: list[tuple[float, int, int, str, str]] = []
    for (text, score), kind in zip(file.pieces, file.piece_kinds, strict=True):
        if kind != NORMAL or len(text) < 2:
            continue
        for at in range(1, len(text)):
            left, right = text[:at], text[at:]
            if left in plain and right in plain:
                found.append((-score, vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]
