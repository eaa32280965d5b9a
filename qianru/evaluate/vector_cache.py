"""Vectors on disk by what they are of: the same text, model, role, prompt and kinds are embedded once.

    vectors/
      3f0c…/                 one space: model's fingerprint, precision, role, instruction and kinds
        91ab….safetensors    a segment: the vectors of a block of texts, under the hashes of the texts
      .lock

A segment is there whole or not at all, and never changes; its arrays' checksum stands in its header. So any number of
processes read and write at once, and what an evaluation has embedded before it was killed is not embedded again. When
the folder outgrows its limit, segments that have not been read for longest go.
"""

from __future__ import annotations

import logging
import os
import secrets
import zlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadFile, SpecMismatch, StorageFailed
from qianru.models.base import Model
from qianru.models.embedding_files import load_embeddings, read_facts, save_embeddings
from qianru.types import Embeddings, IntArray, Kind, Role

SUFFIX = ".safetensors"
LIMIT_BYTES = 20 << 30
LOG = logging.getLogger("qianru.evaluate")
Keys = NDArray[np.uint64]


class VectorCache:
    """A folder of vectors.

    limit_bytes: what it may take; a little more for a moment
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder, self.limit_bytes = Path(folder), limit_bytes
        self._unwatched = limit_bytes       # bytes written since the size was last looked at: look at once
        self._spaces: dict[str, Space] = {}

    def space(self, model: Model, role: Role, instruction: str | None, kinds: Sequence[Kind]) -> Space:
        """Where the vectors lie that the model makes in this way."""
        precision = getattr(getattr(model, "device", None), "precision", "")     # not part of a fingerprint
        name = sha256(repr((model.spec.fingerprint, precision, role, instruction, sorted(kinds))).encode()).hexdigest()
        if name not in self._spaces:
            self._spaces[name] = Space(self, self.folder / name[:32])
        return self._spaces[name]

    def wrote(self, n_bytes: int) -> None:
        """Makes room, once in a while, if the folder has outgrown its limit."""
        self._unwatched += n_bytes
        if self._unwatched < self.limit_bytes // 16:
            return
        self._unwatched = 0
        from filelock import FileLock, Timeout

        try:
            with FileLock(str(self.folder / ".lock"), timeout=0):
                self._make_room()
        except Timeout:
            return                # another process is at it

    def _make_room(self) -> None:
        found = []
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self.limit_bytes:
            return
        for _, size, path in sorted(found):
            path.unlink(missing_ok=True)      # who has it open keeps it
            total -= size
            if total <= self.limit_bytes * 7 // 8:
                break


class Space:
    """The vectors that one model makes in one way."""

    def __init__(self, cache: VectorCache, folder: Path) -> None:
        self._cache, self._folder = cache, folder
        self._segments: list[Path] = []
        self._levels: list[tuple[Keys, IntArray]] = []     # (keys sorted by the first number, segment and row of each)
        self._loaded: tuple[int, Embeddings, IntArray] | None = None
        self._writable = True
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                ids = read_facts(path)["ids"]
                keys = np.frombuffer(bytes.fromhex("".join(ids)), np.uint64).reshape(len(ids), 2)
            except FileNotFoundError:
                continue
            except (BadFile, SpecMismatch, ValueError) as error:
                self._discard(path, error)
                continue
            self._learn(path, keys)

    def find(self, texts: Sequence[str]) -> tuple[Embeddings | None, IntArray]:
        """(vectors of the texts that are there, in the order of these; numbers of the texts that are not)."""
        places = self._look_up(text_keys(texts))
        parts: list[Embeddings] = []
        order: list[IntArray] = []
        for segment in np.unique(places[places[:, 0] >= 0, 0]).tolist():
            at = np.flatnonzero(places[:, 0] == segment)
            loaded = self._load(segment)
            if loaded is None:
                places[at] = -1
                continue
            rows = places[at, 1]
            parts.append(loaded[0].take(rows, int(np.isin(rows, loaded[1]).sum())))
            order.append(at)
        missing = np.flatnonzero(places[:, 0] < 0)
        if not parts:
            return None, missing
        return Embeddings.concat(parts).take(np.argsort(np.concatenate(order), kind="stable"),
                    sum(part.n_truncated for part in parts)), missing

    def store(self, texts: Sequence[str], embeddings: Embeddings) -> None:
        """Adds a segment. A disk that is full is told once and ends the storing, not the evaluation."""
        if not self._writable or not len(texts):
            return
        keys = text_keys(texts)
        # a model cuts its longest texts: which these are is known from the number alone
        cut = np.argsort(-embeddings.n_tokens, kind="stable")[: embeddings.n_truncated]
        path = self._folder / f"{secrets.token_hex(12)}{SUFFIX}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            save_embeddings(path, embeddings, [key.tobytes().hex() for key in keys],
                            {"crc": checksum(embeddings), "truncated": cut.tolist()})
            size = path.stat().st_size
        except (OSError, StorageFailed) as error:
            self._writable = False
            LOG.warning("Vectors are not kept for another time: %s", error)
            return
        self._learn(path, keys)
        self._cache.wrote(size)

    def _learn(self, path: Path, keys: Keys) -> None:
        """Adds the keys of a segment. Levels of like size are merged, so that a million cost a few sorts."""
        places = np.stack([np.full(len(keys), len(self._segments)), np.arange(len(keys))], axis=1).astype(np.int32)
        self._segments.append(path)
        while self._levels and len(self._levels[-1][0]) <= 2 * len(keys):
            before, theirs = self._levels.pop()
            keys, places = np.concatenate([before, keys]), np.concatenate([theirs, places])
        order = np.argsort(keys[:, 0], kind="stable")
        self._levels.append((keys[order], places[order]))

    def _look_up(self, keys: Keys) -> IntArray:
        """(n, 2) segment and row of each key, -1 where there is none."""
        found = np.full((len(keys), 2), -1, np.int64)
        for known, places in self._levels:
            if len(known):
                at = np.minimum(np.searchsorted(known[:, 0], keys[:, 0]), len(known) - 1)
                same = (known[at] == keys).all(axis=1)
                found[same] = places[at[same]]
        return found

    def _load(self, segment: int) -> tuple[Embeddings, IntArray] | None:
        """(vectors, rows that were cut) of a segment; None if it has gone or is damaged."""
        if self._loaded is not None and self._loaded[0] == segment:
            return self._loaded[1:]
        path = self._segments[segment]
        try:
            _, embeddings, facts = load_embeddings(path)
            if facts.get("crc") != checksum(embeddings):
                raise BadFile(f"{path} is damaged: its checksum differs.")
            os.utime(path)
        except (OSError, SpecMismatch) as error:
            if path.exists():
                self._discard(path, error)
            self._levels = [(keys[places[:, 0] != segment], places[places[:, 0] != segment])
                            for keys, places in self._levels]
            return None
        self._loaded = segment, embeddings, np.asarray(facts.get("truncated", []), np.int64)
        return self._loaded[1:]

    def _discard(self, path: Path, error: Exception) -> None:
        LOG.warning("%s Its texts are embedded again.", error)
        path.unlink(missing_ok=True)


def text_keys(texts: Sequence[str]) -> Keys:
    """(n, 2) the first half of each text's SHA-256."""
    digests = b"".join(sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(len(texts), 2)


def checksum(embeddings: Embeddings) -> int:
    """CRC-32 of every number."""
    value = 0
    arrays: list[Any] = [embeddings.n_tokens, embeddings.dense]
    if embeddings.sparse is not None:
        arrays += [embeddings.sparse.offsets, embeddings.sparse.terms, embeddings.sparse.weights]
    if embeddings.multi is not None:
        arrays += [embeddings.multi.offsets, embeddings.multi.data]
    for array in arrays:
        if array is not None:
            value = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, value)
    return value
