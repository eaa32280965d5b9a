"""Model folders: `qianru.json` with the settings, `arrays.safetensors`, words as JSON; written whole or not at all.

    folder/
      qianru.json          {"format": 1, "family": "tfidf", "settings": {…}, "files": {name: {"holds": …, "sha256": …}}}
      arrays.safetensors   every array
      vocabulary.json      a list of words, one a line
      tokenizer.json       a file kept as it is
      words/               a model inside the model, again with its qianru.json
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qianru.errors import BadFile, BadInput, SpecMismatch, StorageFailed
from qianru.models.array_file import Array, hash_file, read_arrays, write_arrays

FORMAT = 1
CARD = "qianru.json"
ARRAYS = "arrays.safetensors"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
MEND = "Save the model again, or restore the folder from a copy."
REFIT = "Fit and save the model again."
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """All that a model's folder holds.

    settings: what JSON can say, e.g. {"k1": 1.5}
    words: name -> list of any strings, stored as name.json;  files: name -> bytes, kept as they are
    parts: name -> a model inside this one
    folder: where it was read, for messages
    """

    family: str
    settings: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    parts: Mapping[str, Stored] = field(default_factory=dict)
    folder: Path | None = None

    def setting(self, name: str, kind: type[T]) -> T:
        """A setting that must be there and of that type (a whole number does for a float).

        >>> Stored("bm25", {"k1": 2}).setting("k1", float)
        2.0
        """
        value = self.settings.get(name)
        if kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise SpecMismatch(f"{self._at(CARD)} needs a setting '{name}' of type {kind.__name__}; it has {value!r}. "
                               + REFIT)
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        """A setting that may be null; of that type otherwise."""
        return None if self.settings.get(name) is None else self.setting(name, kind)

    def array(self, name: str, shape: tuple[int | None, ...], kind: str = "f") -> Array:
        """An array that must be there with that shape (None: any size) and kind of number ("f" or "i"), all finite."""
        array = self.arrays.get(name)
        fits = array is not None and array.dtype.kind == kind and array.ndim == len(shape)
        if array is None or not fits or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
            has = "none" if array is None else f"{array.dtype} of shape {array.shape}"
            raise SpecMismatch(f"{self._at(ARRAYS)} needs an array '{name}' of shape {shape} and kind '{kind}'; "
                               f"it has {has}. {REFIT}")
        if kind == "f" and not np.isfinite(array).all():
            raise BadFile(f"{self._at(ARRAYS)}: '{name}' holds numbers that are not finite. {REFIT}")
        return array

    def word_list(self, name: str) -> list[str]:
        """A list of words that must be there and name nothing twice."""
        words = self.words.get(name)
        if words is None:
            raise SpecMismatch(f"{self._at(CARD)} names no {name}.json. {REFIT}")
        if len(set(words)) != len(words):
            raise BadFile(f"{self._at(name + '.json')} holds a word twice. {REFIT}")
        return list(words)

    def _at(self, file: str) -> str:
        return str(self.folder / file) if self.folder else file


def fingerprint(stored: Stored) -> str:
    """64 hex digits that change if and only if family, settings, arrays, words, files or parts do.

    >>> fingerprint(Stored("f", {"a": 1, "b": 2})) == fingerprint(Stored("f", {"b": 2, "a": 1}))
    True
    """
    digest = sha256()

    def put(*parts: bytes | memoryview) -> None:
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))   # so that ab + c is not a + bc
            digest.update(part)

    put(stored.family.encode(), _json(stored.settings))
    for name in sorted(stored.arrays):
        array = stored.arrays[name]      # one at a time: they may be made only now
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        put(b"array", name.encode(), little.dtype.str.encode(), repr(array.shape).encode())
        put(little.reshape(-1).view(np.uint8).data)
    for name, words in sorted(stored.words.items()):
        put(b"words", name.encode(), _words_to_bytes(words))
    for name, content in sorted(stored.files.items()):
        put(b"file", name.encode(), content)
    for name, part in sorted(stored.parts.items()):
        put(b"part", name.encode(), fingerprint(part).encode())
    return digest.hexdigest()


def write_folder(folder: Path, stored: Stored) -> None:
    """Writes a model folder, replacing a model that stands there only when the new one is complete on the disk.

    Raises BadInput if something that is no model stands there, StorageFailed if the disk is full or read-only.
    """
    folder = check_place(folder)
    new = folder.with_name(f".{folder.name}.new-{secrets.token_hex(4)}")
    old = _old(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _write_plainly(new, stored)
        if folder.exists():
            if old.exists():
                shutil.rmtree(old)
            folder.rename(old)   # a kill between these two lines is mended by read_folder
        new.rename(folder)
        sync(folder.parent)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
        raise StorageFailed(f"The model could not be written to {folder}: {error.strerror or error}. "
                            "What stood there before is intact; free some space or choose another folder.") from error
    except BaseException:   # Ctrl-C
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def read_folder(folder: Path, *families: str) -> Stored:
    """What the folder holds, each file checked against its hash.

    families: which families will do; none for any
    Raises BadFile for a missing or damaged file, SpecMismatch for another family or a newer format.
    """
    folder = Path(folder)
    if not folder.exists() and _old(folder).exists():
        folder = _old(folder)   # the process was killed while it replaced the model
    card = read_card(folder)
    if families and card["family"] not in families:
        raise SpecMismatch(f"{folder} holds a model of the family '{card['family']}', not {' or '.join(families)}. "
                           "Load it with qianru.load, or name the right folder.")
    arrays: dict[str, Array] = {}
    words: dict[str, list[str]] = {}
    files: dict[str, bytes] = {}
    parts: dict[str, Stored] = {}
    for name, entry in card["files"].items():
        path = folder / name
        if entry["holds"] == "arrays":
            with _told(path):
                _check_hash(path, hash_file(path), entry)
                arrays |= read_arrays(path, MEND)
            continue
        content = _read_bytes(path / CARD if entry["holds"] == "model" else path)
        _check_hash(path, sha256(content).hexdigest(), entry)
        match entry["holds"]:
            case "words":
                words[name.removesuffix(".json")] = _words_from_bytes(path, content)
            case "model":
                parts[name] = read_folder(path)
            case _:
                files[name] = content
    return Stored(card["family"], card["settings"], arrays, words, files, parts, folder)


def read_card(folder: Path) -> dict[str, Any]:
    """The checked content of a folder's qianru.json: family, settings, files."""
    path = Path(folder) / CARD
    if not path.is_file():
        raise BadFile(f"{folder} is not a model folder: it has no {CARD}. Give the folder that the model was saved to.")
    card = _parse(path, _read_bytes(path))
    version = card.get("format") if isinstance(card, dict) else None
    if type(version) is int and version > FORMAT:
        raise SpecMismatch(f"{path} has format {version}; this version of Qianru reads up to {FORMAT}. Upgrade Qianru.")
    if not (
        version == FORMAT
        and isinstance(card.get("family"), str)
        and isinstance(card.get("settings"), dict)
        and isinstance(card.get("files"), dict)
        and all(_is_entry(name, entry) for name, entry in card["files"].items())
    ):
        raise BadFile(f"{path} is damaged: it lacks format, family, settings or files. "
                      f"{MEND}")
    result: dict[str, Any] = card
    return result


def _check_hash(path: Path, digest: str, entry: Mapping[str, str]) -> None:
    if digest != entry["sha256"]:
        raise BadFile(f"{path} is not the file that was saved: its hash differs. {MEND}")


def sync(folder: Path) -> None:
    """Makes the names in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_entry(name: str, entry: object) -> bool:
    """No name may lead out of the folder."""
    return (
        PLAIN_NAME.fullmatch(name) is not None
        and name != CARD
        and isinstance(entry, dict)
        and entry.get("holds") in {"arrays", "words", "bytes", "model"}
        and isinstance(entry.get("sha256"), str)
    )


def check_place(folder: Path) -> Path:
    """Where a model that is saved to the folder goes: to itself, or where a link leads, which stays.

    Raises BadInput if writing there would delete something that no model wrote.
    """
    folder = Path(folder).absolute()
    if folder.is_symlink():
        folder = folder.resolve()
    if not folder.name:
        raise BadInput(f"A model cannot be saved to {folder}. Name a folder of its own.")
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file; a model is saved to a folder. Choose another name.")
    present = {path.name for path in folder.iterdir()}
    if not present:
        return folder
    if CARD not in present:
        raise BadInput(f"{folder} is not empty and holds no model; saving there would delete {sorted(present)[0]}. "
                       "Choose a new folder.")
    foreign = sorted(present - {CARD, *read_card(folder)["files"]})
    if foreign:
        raise BadInput(f"{folder} holds {foreign[0]}, which no model wrote; saving there would delete it. "
                       "Move it away, or choose a new folder.")
    return folder


def _write_plainly(folder: Path, stored: Stored) -> None:
    """Writes and syncs every file of a folder that is not there yet."""
    folder.mkdir()
    entries: dict[str, dict[str, str]] = {}

    def put(name: str, content: bytes, holds: str) -> None:
        assert PLAIN_NAME.fullmatch(name), name
        assert name not in entries, name
        _write_bytes(folder / name, content)
        entries[name] = {"holds": holds, "sha256": sha256(content).hexdigest()}

    if stored.arrays:
        entries[ARRAYS] = {"holds": "arrays", "sha256": write_arrays(folder / ARRAYS, stored.arrays)}
    for name, words in stored.words.items():
        put(f"{name}.json", _words_to_bytes(words), "words")
    for name, content in stored.files.items():
        put(name, content, "bytes")
    for name, part in stored.parts.items():
        assert PLAIN_NAME.fullmatch(name), name
        _write_plainly(folder / name, part)
        entries[name] = {"holds": "model", "sha256": sha256((folder / name / CARD).read_bytes()).hexdigest()}
    card = {"format": FORMAT, "family": stored.family, "settings": dict(stored.settings), "files": entries}
    _write_bytes(folder / CARD, _json(card, indent=2) + b"\n")
    sync(folder)


def _words_to_bytes(words: Iterable[str]) -> bytes:
    """JSON, one word a line.

    Not ASCII escapes: two lone surrogates side by side would come back as one letter.
    """
    return ("[\n" + ",\n".join(map(encode_basestring, words)) + "\n]\n").encode("utf-8", "surrogatepass")


def _words_from_bytes(path: Path, content: bytes) -> list[str]:
    words = _parse(path, content)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadFile(f"{path} is not a list of words. {MEND}")
    return words


def _json(value: object, indent: int | None = None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=indent)
    return text.encode("utf-8", "surrogatepass")


def _parse(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON: {error}. {MEND}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON knows")


def _read_bytes(path: Path) -> bytes:
    with _told(path):
        return path.read_bytes()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A file that cannot be read ends in a BadFile."""
    try:
        yield
    except BadFile:
        raise
    except FileNotFoundError:
        raise BadFile(f"{path} is missing. {MEND}") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from error


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _old(folder: Path) -> Path:
    """Where the model that stood in a folder waits while it is replaced."""
    folder = Path(folder).absolute()
    return folder.with_name(f".{folder.name}.old")
