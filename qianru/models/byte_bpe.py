"""Qwen's tokenizer from its older files: vocab.json and merges.txt, byte pairs over UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qianru.errors import BadFile, SpecMismatch
from qianru.models.json_file import JsonFile, read_json

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

LARGEST = 1 << 26   # bytes of a merges.txt
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
         r"|\s+")
"""Where words end, as in the tokenizer.json of Qwen2 and Qwen3."""
USUAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Qwen2's tokens after its vocabulary, where no file names them."""


def read_byte_bpe(home: Path, config: JsonFile) -> Tokenizer:
    """The tokenizer; it adds no token around a text.

    config: tokenizer_config.json
    Raises BadFile for damaged files, SpecMismatch for files that do not belong together.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary, merges = _vocabulary(home / "vocab.json"), _merges(home / "merges.txt")
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    except Exception as error:   # the library raises plain Exception
        raise SpecMismatch(f"{home / 'merges.txt'} does not fit vocab.json: {error}.") from error
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    for i, token in sorted(_added(home, config, vocabulary).items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != i:
            raise SpecMismatch(f"{config.path} gives the token {token.content!r:.40} the number {i}; after vocab.json "
                               f"it is {tokenizer.token_to_id(token.content)}. The files do not belong together.")
    return tokenizer


def _vocabulary(path: Path) -> dict[str, int]:
    values = read_json(path)
    if not isinstance(values, dict) or not all(type(i) is int and 0 <= i < 1 << 32 for i in values.values()):
        raise SpecMismatch(f"{path} must hold an object of tokens and their numbers.")
    return values


def _merges(path: Path) -> list[tuple[str, str]]:
    try:
        if path.stat().st_size > LARGEST:
            raise BadFile(f"{path} has {path.stat().st_size} bytes, too many for merges. Is it the right file?")
        lines = path.read_bytes().decode().split("\n")
    except ValueError as error:
        raise BadFile(f"{path} is not UTF-8: {error}. Download the file again.") from error
    except OSError as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    pairs: list[tuple[str, str]] = []
    for i, line in enumerate(lines):
        left, _, right = line.rstrip("\r").partition(" ")
        if (i == 0 and line.startswith("#version")) or not line:
            continue
        if not left or not right or " " in right:
            raise BadFile(f"{path}: line {i + 1} is no pair of tokens: {line!r:.60}. Download the file again.")
        pairs.append((left, right))
    return pairs


def _added(home: Path, config: JsonFile, vocabulary: Mapping[str, int]) -> dict[int, AddedToken]:
    """number -> token, for those beside the vocabulary, by the first file that names them."""
    from tokenizers import AddedToken

    def plain(token: str) -> AddedToken:
        return AddedToken(token, normalized=False, special=True)

    if config.has("added_tokens_decoder"):
        return {_number(i, config): _token(JsonFile(config.path, config.mapping("added_tokens_decoder")), i)
                for i in config.mapping("added_tokens_decoder")}
    listed = JsonFile.read_if_there(home / "added_tokens.json")
    if listed.values:
        return {listed.whole(token, least=0): plain(token) for token in listed.values}
    return {len(vocabulary) + i: plain(token) for i, token in enumerate(USUAL)}


def _number(text: Any, config: JsonFile) -> int:
    if not str(text).isdecimal() or len(str(text)) > 9:
        raise SpecMismatch(f"{config.path}: added_tokens_decoder has {text!r:.40} where a token's number must stand.")
    return int(text)


def _token(decoder: JsonFile, i: str) -> AddedToken:
    from tokenizers import AddedToken

    values = JsonFile(decoder.path, decoder.mapping(i))
    return AddedToken(
        values.text("content"), single_word=values.flag("single_word", False), lstrip=values.flag("lstrip", False),
        rstrip=values.flag("rstrip", False), normalized=values.flag("normalized", False),
        special=values.flag("special", False),
    )
