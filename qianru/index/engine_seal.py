"""The seal of an engine's folder: how far it has come, and whether its files are still what was written.

The engine keeps no checksums and writes through memory maps: with files cut short or swapped it may load in peace and
find less. So while it is closed, the folder is sealed: a small file lists the others with their checksums. While it is
open it is not, and says in which run of the machine (boot) that began. After a crash of the process alone, the maps are
whole, and the engine's log and a replay make them right. After a crash of the machine they may be anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from qianru.errors import CollectionDamaged
from qianru.index.layout import DensePrecision
from qianru.models.files import sync
from qianru.types import Kind

FORMAT = 1
NAME = "index.json"
BLOCK = 1 << 16
PASSED_OVER = {"edge_config.json", "tracker_journal.dat"}     # the engine rewrites or removes them as it loads
SIZE_ONLY = {"mutable_id_tracker.versions"}                   # in these it writes zeros for what was deleted
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")             # Linux; elsewhere every crash counts as the machine's


@dataclass(frozen=True, slots=True)
class Seal:
    """What is known of an engine's folder.

    sequence: the last transaction that is safely in the engine
    n_points: how many it held when sealed;  files: path -> [size, checksum];  both None while it is being changed
    boot: the run of the machine in which the change began
    precision: of the dense vectors
    n_outside: at most how many of these stand outside the graph; None if it was not counted
    """

    kinds: tuple[Kind, ...]
    dim: int
    sequence: int
    n_points: int | None = None
    files: dict[str, list[int]] | None = None
    boot: str = ""
    precision: DensePrecision = "float32"
    n_outside: int | None = None

    @classmethod
    def read(cls, folder: Path) -> Seal:
        """The folder's seal. Raises CollectionDamaged if there is none that can be read."""
        try:
            read: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
            if read.pop("format") != FORMAT:
                raise ValueError("its format is another")
            seal = cls(**{**read, "kinds": tuple(read["kinds"])})
            if not isinstance(seal.sequence, int) or not isinstance(seal.dim, int):
                raise ValueError("its numbers are none")
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(folder, f"{NAME} cannot be used: {error}") from error
        return seal

    def write(self, folder: Path) -> None:
        """Replaces the folder's seal, whole or not at all, and durably."""
        new = folder / (NAME + ".new")
        with new.open("w", encoding="utf-8") as stream:
            json.dump({"format": FORMAT, **asdict(self)}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(folder / NAME)
        sync(folder)

    def check(self, folder: Path, shard: Path) -> None:
        """Raises CollectionDamaged unless the shard's files are those that were sealed."""
        if self.files is None:
            if not self.boot or self.boot != boot():
                raise damaged(folder, "the machine stopped in the middle of a change")
            return
        found = checksums(shard)
        for path, sealed in self.files.items():
            if found.get(path) != sealed:
                what = "is missing" if path not in found else "is not what was written"
                raise damaged(folder, f"{shard.name}/{path} {what}")


def damaged(folder: Path, why: str) -> CollectionDamaged:
    """The error for an engine's folder that is not as it was written."""
    return CollectionDamaged(f"The search index {folder} is damaged: {why}. Make it again with: qianru rebuild")


def boot() -> str:
    """The name of this run of the machine, empty if it has none."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def checksums(shard: Path) -> dict[str, list[int]]:
    """Path -> [size, checksum] of every file."""
    files = sorted(file for file in shard.rglob("*") if file.is_file() and file.name not in PASSED_OVER)
    return {
        file.relative_to(shard).as_posix(): [file.stat().st_size, 0 if file.name in SIZE_ONLY else _checksum(file)]
        for file in files
    }


def copy_folder(folder: Path, new: Path) -> None:
    """Copies a folder's files without their holes, of which the engine's mostly consist."""
    for file in sorted(folder.rglob("*")):
        target = new / file.relative_to(folder)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb", buffering=0) as old, target.open("wb", buffering=0) as stream:
            stream.truncate(file.stat().st_size)
            for start in _data(old.fileno()):
                block = os.pread(old.fileno(), BLOCK, start)
                if block.count(0) != len(block):
                    os.pwrite(stream.fileno(), block, start)


def _checksum(file: Path) -> int:
    """CRC-32 over the blocks that are not all zeros; the engine's files are mostly holes, which cost nothing here."""
    value = 0
    with file.open("rb", buffering=0) as stream:
        for start in _data(stream.fileno()):
            block = os.pread(stream.fileno(), BLOCK, start)
            if block.count(0) != len(block):
                value = crc32(block, crc32(start.to_bytes(8, "little"), value))
    return value


def _data(handle: int) -> Iterator[int]:
    """Where the blocks begin that are not in a hole."""
    size, place = os.fstat(handle).st_size, 0
    while place < size:
        try:
            place = max(place, os.lseek(handle, place, os.SEEK_DATA) // BLOCK * BLOCK)
        except OSError:         # nothing but a hole up to the end
            return
        yield place
        place += BLOCK
