"""One file from a hub to the disk: what is there is not loaded again, and it gets its name when its hash is right."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qianru.errors import BadFile
from qianru.models.files import sync
from qianru.models.hub import Hub, HubFile, explained
from qianru.models.web import Answer, Failure, Patience, Tries, opened

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK = 1 << 18
WORTH_COUNTING = 1 << 16      # fewer new bytes are no progress: a server that drips must not be tried for ever


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on a hub, and how long to go on with the hub when it fails."""

    where: Hub
    id: str
    patience: Patience


def part_of(target: Path) -> Path:
    """Where a file stands while it is on its way."""
    return target.with_name(target.name + ".part")


def fetch(model: HubModel, file: HubFile, target: Path, tick: Callable[[int], None]) -> None:
    """One file under its name. What a .part holds is not loaded again, unless its hash turns out wrong."""
    part = part_of(target)
    resumed = part.exists()
    digest = _fill(model, file, part, tick)
    if digest != file.digest and resumed:
        part.unlink()                    # the damage may be in what an earlier call left
        digest = _fill(model, file, part, tick)
    if digest != file.digest:
        part.unlink()
        raise BadFile(f"{file.path} of {model.id} as {model.where.host} sends it is not what it announced: its hash is "
                      f"{digest[:16]}…, not {file.digest[:16]}…. Try again, or another source with --from.")
    part.rename(target)
    sync(target.parent)


def _fill(model: HubModel, file: HubFile, part: Path, tick: Callable[[int], None]) -> str:
    """Loads what the .part lacks, however often the connection breaks; returns the hash of the whole."""
    where, patience = model.where, model.patience
    tries = Tries(patience)
    with part.open("a+b") as out:
        digest, have = _taken(file, out)
        counted = have
        while have < file.size:
            try:
                headers = {"Range": f"bytes={have}-"} if have else {}
                with opened(file.url, headers=headers, token=where.token, timeout_s=patience.timeout_s) as answer:
                    if have and not _continues(answer, have):
                        out.truncate(0)
                        digest, have = _begun(file), 0
                    _check_size(file, answer, have)
                    watched_since, watched_from = time.monotonic(), have
                    while block := answer.read(min(BLOCK, file.size - have)):
                        out.write(block)
                        digest.update(block)
                        have += len(block)
                        tick(have)
                        if have >= counted + WORTH_COUNTING:
                            counted = have
                            tries.progress()
                        if time.monotonic() > watched_since + patience.timeout_s:
                            if have < watched_from + WORTH_COUNTING:
                                raise Failure(f"{where.host} sent {have - watched_from:,} bytes of {file.path} in "
                                              f"{patience.timeout_s:.0f} seconds.", transient=True)
                            watched_since, watched_from = time.monotonic(), have
                if have < file.size:
                    raise Failure(f"{where.host} broke off after {have:,} of {file.size:,} bytes of {file.path}.",
                                  transient=True)
            except Failure as failure:
                out.flush()
                if failure.status == 416:      # what we have is longer than what it has: it is something else
                    raise _other_size(file, where.host, "fewer") from failure
                try:
                    tries.after(failure)
                except Failure as final:
                    raise explained(where, model.id, file.path, final) from final
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _taken(file: HubFile, out: IO[bytes]) -> tuple[_Hash, int]:
    """(hash so far, size) of what an earlier call left."""
    digest = _begun(file)
    if out.seek(0, os.SEEK_END) > file.size:
        out.truncate(0)
    out.seek(0)
    while block := out.read(BLOCK):
        digest.update(block)
    return digest, out.tell()


def _begun(file: HubFile) -> _Hash:
    if file.sha256:
        return sha256()
    return sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)    # as git names a file


def _continues(answer: Answer, have: int) -> bool:
    """Whether the answer goes on where we stopped; a server may ignore the question and begin anew."""
    if answer.status != 206:
        return False
    if not answer.header("Content-Range").startswith(f"bytes {have}-"):
        raise Failure(f"{answer.host} was asked to go on at byte {have} and sends "
                      f"'{answer.header('Content-Range')[:60]}'. Try another source with --from.")
    return True


def _check_size(file: HubFile, answer: Answer, have: int) -> None:
    """Raises BadFile before anything is written if the answer will be of another size than announced."""
    length = answer.header("Content-Length")
    if length.isdigit() and have + int(length) != file.size:
        raise _other_size(file, answer.host, f"{have + int(length):,}")


def _other_size(file: HubFile, host: str, n_bytes: str) -> BadFile:
    return BadFile(f"{host} announced {file.size:,} bytes for {file.path} and sends {n_bytes}. Try again, or another "
                   "source with --from.")
