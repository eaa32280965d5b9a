r"""Word vectors as files: word2vec's text and binary formats, GloVe's text without a header, arrays of NumPy.

    text:     "2 3\n" then "春 0.1 0.2 0.3\n" a word; without the first line it is GloVe's
    binary:   "2 3\n" then "春 " and 3 little-endian float32 a word, with or without a line feed between words
    npz:      one (v, d) array, and a JSON file {word: row} or [word, …] beside it

Any of the first two may be packed with gzip. Nothing that a file claims is allocated before it has been read.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import prod
from pathlib import Path
from typing import IO, Literal, TypeAlias

import numpy as np

from qianru.errors import BadFile, BadInput, QianruError, ShapeMismatch, StorageFailed
from qianru.models.vectors import WordVectors
from qianru.types import FloatArray

Format: TypeAlias = Literal["text", "binary"]
MAX_DIM = 1 << 16      # no word vectors are wider; a header that claims more is not one
MAX_WORD = 1 << 12     # bytes
MAX_LINE = MAX_WORD + 32 * MAX_DIM
CHUNK = 1 << 20
MEND_LINE = "Mend the line; if the file is binary, end its name in .bin."
SUFFIXES: dict[str, Format] = {".txt": "text", ".vec": "text", ".bin": "binary"}


def format_of(path: Path) -> Format | None:
    """The format that a file's ending stands for, .gz aside: .txt and .vec are text, .bin is binary."""
    name = path.with_suffix("") if path.suffix == ".gz" else path
    return SUFFIXES.get(name.suffix)


def read_vectors(path: Path, form: Format | None = None) -> WordVectors:
    """The words and vectors of a word2vec or GloVe file, in its order.

    form: None for what the ending says
    Raises BadFile, with the line or byte, for a file that is damaged, cut short or of another format.
    """
    path = Path(path)
    form = form or format_of(path)
    if form is None:
        raise BadInput(f"{path} ends neither in .txt or .vec nor in .bin. Say which format it has: text or binary.")
    with _opened(path) as stream:
        words, numbers, dim = _read_text(path, stream) if form == "text" else _read_binary(path, stream)
    matrix = np.frombuffer(numbers, "<f4").reshape(-1, dim).astype(np.float32, copy=False)
    return _checked(path, words, matrix)


def read_npz(path: Path, words: Path | None = None) -> WordVectors:
    """The vectors of the one matrix in a .npz file, with the words of a JSON file.

    words: {word: row} or [word, …]; None for the only such file of the right size in the same folder
    """
    path = Path(path)
    matrix = _read_matrix(path)
    names = _word_list(path, words, len(matrix))
    return _checked(path, names, matrix.astype(np.float32))


def write_vectors(vectors: WordVectors, path: Path, form: Format | None = None) -> None:
    """Writes a word2vec file, byte for byte as gensim does; with gzip if the path ends in .gz.

    Raises BadInput for a word that the format cannot hold (one with a space or a line feed), StorageFailed if the disk
    is full or read-only; the file that stood there before is then intact.
    """
    path = Path(path)
    form = form or format_of(path)
    if form is None:
        raise BadInput(f"{path} ends neither in .txt or .vec nor in .bin. Say which format it has: text or binary.")
    for word in vectors:
        if " " in word or "\n" in word or word != word.encode(errors="replace").decode():   # the last: lone surrogates
            raise BadInput(f"A word2vec file cannot hold the word {word!r}. Leave it out, or save a model folder.")
    new = path.with_name(f".{path.name}.new-{secrets.token_hex(4)}")
    try:
        with new.open("xb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                    _write(vectors, packed, form)
            else:
                _write(vectors, file, form)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StorageFailed(f"The vectors could not be written to {path}: {error.strerror or error}.") from error
    except BaseException:   # Ctrl-C
        new.unlink(missing_ok=True)
        raise


def _write(vectors: WordVectors, file: IO[bytes] | gzip.GzipFile, form: Format) -> None:
    file.write(f"{len(vectors)} {vectors.dim}\n".encode())
    for word, row in zip(vectors.words, vectors.matrix, strict=True):
        if form == "text":
            file.write(f"{word} {' '.join(map(str, row))}\n".encode())
        else:
            file.write(f"{word} ".encode() + row.astype("<f4").tobytes())


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if it is packed; whatever goes wrong in reading is a BadFile."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as stream:
                    yield io.BufferedReader(stream, CHUNK)
            else:
                yield file
    except QianruError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(f"{path} is a damaged gzip file: {error}. Fetch it again.") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error


def _header(line: bytes) -> tuple[int, int] | None:
    """(number of words, dimensions) if the line says so."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 16 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _read_text(path: Path, stream: IO[bytes]) -> tuple[list[str], bytearray, int]:
    """Words, float32 numbers end to end, dimensions."""
    first = stream.readline(MAX_LINE)
    header = _header(first)
    n, dim = header or (None, len(first.rstrip().split(b" ")) - 1)
    if not 0 < dim <= MAX_DIM:
        raise BadFile(f"{path}, line 1: neither 'words dimensions' nor a word and its numbers. "
                      "Give a file of word vectors.")
    words: list[str] = []
    numbers = bytearray()
    empty = None
    lines = iter(lambda: stream.readline(MAX_LINE), b"")
    for number, line in enumerate(lines if header else chain([first], lines), 2 if header else 1):
        at = f"{path}, line {number}"
        fields = line.rstrip().split(b" ")
        if fields == [b""]:
            empty = empty or at
            continue
        if empty:
            raise BadFile(f"{empty}: an empty line. Remove it.")
        if len(words) == n:
            raise BadFile(f"{at}: the first line promises {n} words, and there are more. Mend its count.")
        if len(fields) != dim + 1:
            raise BadFile(f"{at}: {dim} numbers expected after the word, {len(fields) - 1} found. {MEND_LINE}")
        try:
            row = np.array(fields[1:]).astype("<f4")
        except ValueError as error:
            raise BadFile(f"{at}: {error}. {MEND_LINE}") from None
        words.append(_decoded(at, fields[0]))
        numbers += row.tobytes()
    if n is not None and len(words) < n:
        raise BadFile(f"{path}: the file ends after {len(words)} of the {n} words that it promises. Fetch it again.")
    return words, numbers, dim


def _read_binary(path: Path, stream: IO[bytes]) -> tuple[list[str], bytearray, int]:
    """Words, float32 numbers end to end, dimensions."""
    first = stream.readline(64)
    header = _header(first)
    if header is None or not 0 < header[1] <= MAX_DIM:
        raise BadFile(f"{path}, byte 0: a line with the numbers of words and dimensions expected. "
                      "If the file is text, end its name in .txt.")
    n, dim = header
    words: list[str] = []
    numbers = bytearray()
    buffer, start, before = b"", 0, len(first)   # before: bytes of the file that stand before the buffer
    while len(words) < n:
        space = buffer.find(b" ", start)
        end = space + 1 + 4 * dim
        if space < 0 or end > len(buffer):
            if space < 0 and len(buffer) - start > MAX_WORD:
                raise BadFile(f"{path}, byte {before + start}: no word begins here. Is the file text? "
                              "Then end its name in .txt.")
            more = stream.read(CHUNK)
            if not more:
                raise BadFile(f"{path}, byte {before + len(buffer)}: the file ends after {len(words)} of the {n} words "
                              "that it promises. Fetch it again.")
            buffer, start, before = buffer[start:] + more, 0, before + start
            continue
        # the C tool ends each vector with a line feed, gensim does not
        words.append(_decoded(f"{path}, byte {before + start}", buffer[start:space].lstrip(b"\n")))
        numbers += buffer[space + 1 : end]
        start = end
    rest = buffer[start:] + stream.read(CHUNK)
    if rest.strip(b"\n"):
        raise BadFile(f"{path}, byte {before + start}: more than the {n} words that the first line promises. "
                      "Fetch it again.")
    return words, numbers, dim


def _decoded(at: str, word: bytes) -> str:
    if not word:
        raise BadFile(f"{at}: an empty word. Remove it.")
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise BadFile(f"{at}: the word {word!r} is not UTF-8. Convert the file, or remove the word.") from None


def _checked(path: Path, words: list[str], matrix: FloatArray) -> WordVectors:
    try:
        return WordVectors(words, matrix)
    except (BadInput, ShapeMismatch) as error:
        raise BadFile(f"{path}: {error}") from error


def _read_matrix(path: Path) -> FloatArray:
    """The one (v, d) array of numbers in a .npz file."""
    try:
        with zipfile.ZipFile(path) as members:
            for member in members.infolist():
                _refuse_a_bomb(path, members, member)
        with np.load(path, allow_pickle=False) as arrays:
            tables = [arrays[name] for name in arrays.files]
    except QianruError:   # a BadFile is an OSError too
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        raise BadFile(f"{path} is not a file of plain NumPy arrays: {error}.") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    matrices = [table for table in tables if table.ndim == 2 and table.dtype.kind == "f"]
    if len(matrices) != 1:
        raise BadFile(f"{path} holds {len(matrices)} matrices of numbers; word vectors are one.")
    matrix: FloatArray = matrices[0]
    return matrix


def _refuse_a_bomb(path: Path, members: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raises BadFile if an array's header promises more than its member holds, or that more than it can unpack to."""
    with members.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which could run code")
        promised = file.tell() + prod(shape) * dtype.itemsize
    if promised != member.file_size or member.file_size > 1100 * max(1, member.compress_size):   # deflate: 1032 at most
        raise BadFile(f"{path}: '{member.filename}' promises {promised} bytes and holds {member.file_size}, "
                      f"{member.compress_size} packed. Fetch it again.")


def _word_list(path: Path, words: Path | None, n: int) -> list[str]:
    """The n words of a JSON file, in the order of their rows."""
    if words is not None:
        names = _words_of(words, n)
        if names is None:
            raise BadFile(f"{words} is not a JSON file of {{word: row}} or [word, …] with each of {n} rows once.")
        return names
    found = {file: names for file in sorted(path.parent.glob("*.json")) if (names := _words_of(file, n)) is not None}
    if len(found) != 1:
        beside = " and ".join(file.name for file in found) or "none"
        raise BadInput(f"{path} has {n} vectors and needs one JSON file with as many words beside it; found {beside}. "
                       "Name the file: read_npz(path, words).")
    return next(iter(found.values()))


def _words_of(path: Path, n: int) -> list[str] | None:
    """The words if the file names each row from 0 to n - 1 once."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    if isinstance(content, list):
        content = {word: row for row, word in enumerate(content) if isinstance(word, str)}
    rows = list(content.values()) if isinstance(content, dict) else []
    if len(rows) != n or not all(type(row) is int for row in rows) or sorted(rows) != list(range(n)):
        return None
    return sorted(content, key=content.__getitem__)
