"""A sentencepiece model file -> its pieces and settings. Protocol buffers need no library for this little.

Source: sentencepiece_model.proto of google/sentencepiece (field numbers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.errors import BadFile, SpecMismatch

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

KINDS = {1: "unigram", 2: "bpe"}
NORMAL, USER_DEFINED = 1, 4     # kinds of pieces; others are unknown, control, unused and byte
LARGEST = 1 << 26   # bytes; XLM-RoBERTa's has 5 million
Value = int | bytes


@dataclass(frozen=True, slots=True)
class SentencePieceFile:
    """pieces: (text, score);  piece_kinds: of each;  charsmap: how characters are normalised, as `tokenizers` takes it
    first_id, last_id: of the tokens that begin and end a text; -1 if there is none
    """

    kind: str
    pieces: list[tuple[str, float]]
    piece_kinds: list[int]
    unknown_id: int
    first_id: int
    last_id: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    byte_fallback: bool


def read_sentencepiece(path: Path) -> SentencePieceFile:
    """BadFile if it is no such file, SpecMismatch for a kind of model other than unigram and bpe."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadFile(f"{path} is too large for a sentencepiece model. Is it the right file?")
        fields = list(_fields(path.read_bytes()))
        listed = [dict(_fields(_bytes(value))) for number, value in fields if number == 1]
        pieces, kinds = [_piece(piece) for piece in listed], [int(piece.get(3, NORMAL)) for piece in listed]
        trainer = dict(_fields(next((_bytes(v) for n, v in fields if n == 2), b"")))
        normalizer = dict(_fields(next((_bytes(v) for n, v in fields if n == 3), b"")))
        kind = int(trainer.get(3, 1))
        charsmap = _bytes(normalizer.get(2, b""))
    except OSError as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, IndexError, TypeError, struct.error) as error:
        raise BadFile(f"{path} is not a sentencepiece model: {error}. Download the file again.") from error
    if not pieces:
        raise BadFile(f"{path} is not a sentencepiece model: it has no pieces. Download the file again.")
    if kind not in KINDS:
        raise SpecMismatch(f"{path} is a sentencepiece model of kind {kind}; supported are unigram (1) and bpe (2).")
    return SentencePieceFile(
        KINDS[kind], pieces, kinds, _id(trainer.get(40, 0)), _id(trainer.get(41, 1)), _id(trainer.get(42, 2)), charsmap,
        bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1)), bool(trainer.get(35, 0)),
    )


def precompiled(path: Path, charsmap: bytes) -> Normalizer:
    """The normalizer that a file's table describes; BadFile if it describes none."""
    from tokenizers import normalizers

    try:
        return normalizers.Precompiled(charsmap)
    except Exception as error:   # the library raises plain Exception
        raise BadFile(f"{path} is damaged: {error}. Download the file again.") from error


def _id(value: Value) -> int:
    """A number of 64 bits with a sign."""
    number = int(value)
    return number - (1 << 64) if number >= 1 << 63 else number


def _piece(fields: Mapping[int, Value]) -> tuple[str, float]:
    return _bytes(fields[1]).decode() if 1 in fields else "", struct.unpack("<f", _bytes(fields.get(2, b"\0" * 4)))[0]


def _fields(content: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field of a message."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(content, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(content):
            raise ValueError(f"it ends in the middle of a field at byte {at}")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError(f"a number without an end at byte {at}")


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where bytes belong")
    return value
