"""A folder of embeddings read back: mapped, so that any size fits in memory, and checked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from qianru.errors import BadFile, BadInput, QianruError
from qianru.models.array_file import hash_file
from qianru.models.embedding_files import Named, map_embeddings
from qianru.models.embedding_folder import Card, read_manifest, shard_name
from qianru.types import Embeddings, Progress, Ragged, SparseRows


class StoredEmbeddings:
    """The embeddings of a complete folder. Nothing is read before it is looked at, and nothing is kept.

    manifest: which model made them, how, and how many there are

    Raises BadFile for a folder that is none, or not complete, or has another number of texts than it says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = Path(folder), _complete(Path(folder))
        sizes = [entry["n_texts"] for entry in self.manifest["shards"]]
        self._ends = list(accumulate(sizes))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Named]:
        """Shard by shard."""
        return (self.shard(number) for number in range(len(self._ends)))

    @property
    def n_shards(self) -> int:
        """How many files there are."""
        return len(self._ends)

    def shard(self, number: int) -> Named:
        """The names and embeddings of one file, mapped; BadFile if it is damaged or holds another number of texts."""
        path = self.folder / shard_name(number)
        found = map_embeddings(path)
        expected = self.manifest["shards"][number]["n_texts"]
        if len(found.ids) != expected:
            raise BadFile(f"{path} holds {len(found.ids)} texts; {expected} were written. Delete it and embed again: "
                          "only this shard is made anew.")
        return found

    def ids(self) -> Iterator[str]:
        """The names of all texts, in order."""
        return (name for shard in self for name in shard.ids)

    def rows(self, start: int, stop: int) -> Embeddings:
        """The embeddings of texts start to stop - 1, as one; BadInput if there are not so many.

        Where they lie in one file, dense vectors are a view of it. n_truncated is 0: files note only their sum of it.
        """
        if not 0 <= start <= stop <= len(self):
            raise BadInput(f"{self.folder} holds {len(self)} texts; there are no rows {start} to {stop}.")
        parts: list[Embeddings] = []
        number = bisect_right(self._ends, start)
        at = start
        while at < stop:
            begins = self._ends[number - 1] if number else 0
            until = min(stop, self._ends[number])
            parts.append(_part(self.shard(number).embeddings, at - begins, until - begins))
            at, number = until, number + 1
        if not parts:
            parts = [_part(self.shard(0).embeddings, 0, 0)] if self._ends else [self._nothing()]
        return Embeddings.concat(parts)

    def _nothing(self) -> Embeddings:
        kinds, none = self.manifest["kinds"], np.zeros(1, np.int64)
        blank = np.zeros((0, self.manifest["dim"] or 0), np.float32)
        return Embeddings(
            self.manifest["model"], none[:0], 0, blank if "dense" in kinds else None,
            SparseRows.from_rows([], 0) if "sparse" in kinds else None, *(
                Ragged(blank, none) if kind in kinds else None for kind in ("multi", "tokens")),
        )


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """problems: what is wrong, a line for each file; none if every file is what was written"""

    n_texts: int
    n_shards: int
    size_bytes: int
    complete: bool
    problems: tuple[str, ...]


def check_embeddings(folder: Path, progress: Progress | None = None) -> FolderCheck:
    """Holds every file against its checksum and its number of texts, and the sum against the manifest.

    progress: told bytes done
    Of a folder that is not complete yet, what is there is read as far as its headers.
    Raises BadFile if it is no folder of embeddings at all.
    """
    folder = Path(folder)
    card = read_manifest(folder)
    entries = card["shards"] if card.get("complete") else [None] * len(list(folder.glob("[0-9]*.safetensors")))
    problems: list[str] = []
    n_texts = size = 0
    for number, entry in enumerate(entries):
        path = folder / shard_name(number)
        try:
            n_texts += _checked(path, entry)
            size += path.stat().st_size
        except (QianruError, OSError) as error:
            problems.append(str(error))
        if progress is not None:
            progress(size, None)
    if card.get("complete") and not problems and n_texts != card.get("n_texts"):
        problems.append(f"{folder} holds {n_texts} texts; its manifest says {card.get('n_texts')}.")
    known = {shard_name(number) for number in range(len(entries))}
    problems += [f"{path} is no shard of this folder." for path in sorted(folder.glob("*.safetensors"))
                 if path.name not in known]
    return FolderCheck(n_texts, len(entries), size, bool(card.get("complete")), tuple(problems))


def is_embeddings(folder: Path) -> bool:
    """Whether a folder has a manifest of embeddings."""
    try:
        read_manifest(folder)
    except QianruError:
        return False
    return True


def _checked(path: Path, entry: Any) -> int:
    """How many texts a file holds; BadFile if it is not what was written."""
    if not path.is_file():
        raise BadFile(f"{path} is missing. Embed again: only this shard is made anew.")
    if isinstance(entry, dict) and hash_file(path) != entry.get("sha256"):
        raise BadFile(f"{path} is not the file that was written: its SHA-256 differs. Delete it and embed again: only "
                      "this shard is made anew.")
    return len(map_embeddings(path).ids)


def _complete(folder: Path) -> Card:
    card = read_manifest(folder)
    if not card.get("complete"):
        raise BadFile(f"{folder} is not complete: embedding was stopped. The same command goes on from there.")
    counts = [entry.get("n_texts") if isinstance(entry, dict) else None for entry in card["shards"]]
    whole = [n for n in counts if isinstance(n, int) and n > 0]
    if len(whole) != len(counts) or sum(whole) != card.get("n_texts"):
        raise BadFile(f"{folder} has a damaged manifest: its numbers of texts do not add up. Embed to a new folder.")
    kinds, dim = card.get("kinds"), card.get("dim")
    if (not isinstance(kinds, list) or not isinstance(card.get("model"), str)
            or not (dim is None or (type(dim) is int and 0 <= dim < 1 << 31))):
        raise BadFile(f"{folder} has a damaged manifest: it does not say which vectors of which model it holds. Embed "
                      "to a new folder.")
    return card


def _part(whole: Embeddings, start: int, stop: int) -> Embeddings:
    sparse = None if whole.sparse is None else whole.sparse.take(range(start, stop))
    multi, tokens = (None if ragged is None else _rows(ragged, start, stop) for ragged in (whole.multi, whole.tokens))
    return Embeddings(whole.model, whole.n_tokens[start:stop], 0, None if whole.dense is None else
                      whole.dense[start:stop], sparse, multi, tokens)


def _rows(ragged: Ragged, start: int, stop: int) -> Ragged:
    offsets = ragged.offsets[start : stop + 1]
    return Ragged(ragged.data[offsets[0] : offsets[-1]], offsets - offsets[0])
