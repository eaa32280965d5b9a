"""The graph of dense vectors, built by a process of its own while the collection is searched and changed.

The engine builds it in one call that lets no other thread run (it holds Python's lock: 33 s for 40,000 x 256, in which
another thread answered one query). So a copy of the engine's folder is handed to a child process. When that is done the
copy takes the engine's place, and what came meanwhile is replayed into it from the database like after a crash.

    engine.next.1f3a90c2/     the copy, while the child is at work; a child whose parent was killed spoils no other one
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

from qianru.errors import StorageFailed
from qianru.index.engine import SHARD, EngineIndex
from qianru.index.engine_seal import NAME, copy_folder

NEXT, OLD = "engine.next", "engine.old"


class GraphBuild:
    """One child at work. new: the copy;  sequence, mean_length: of the engine when it was copied."""

    def __init__(
        self, home: Path, new: Path, process: subprocess.Popen[bytes], said: IO[bytes], sequence: int,
        mean_length: float,
    ) -> None:
        self._home = home
        self._new = new
        self._process = process
        self._said = said       # a file: a pipe that nobody reads would stop the child once it is full
        self.sequence = sequence
        self.mean_length = mean_length

    @classmethod
    def start(cls, home: Path, engine: Path, sequence: int, mean_length: float) -> Self:
        """Copies an engine's folder that nobody writes to at the moment, and has the child begin."""
        sweep(home)
        new = home / f"{NEXT}.{secrets.token_hex(4)}"
        try:
            new.mkdir()
            shutil.copyfile(engine / NAME, new / NAME)
            copy_folder(engine / SHARD, new / SHARD)
        except OSError as error:
            sweep(home)
            raise StorageFailed(f"The graph of {home} cannot be built: {error.strerror or error}. Make room for a "
                                "second copy of the search index; the first is intact.") from error
        said = TemporaryFile()   # noqa: SIM115   # closed by adopt or stop
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "qianru.index.graph", str(new.absolute())], env=_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
        )
        return cls(home, new, process, said, sequence, mean_length)

    def wait(self, timeout_s: float) -> bool:
        """Whether the child is done, after at most that time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def done(self) -> bool:
        """Whether the child is done."""
        return self._process.poll() is not None

    def adopt(self, engine: Path) -> None:
        """Puts the copy in the place of the engine's folder, which nobody may have open.

        Raises StorageFailed if the child has failed; then the engine stays as it is. After a kill in between the
        engine is missing, and is made again from the database.
        """
        failed = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        self._said.close()
        if failed:
            sweep(self._home)
            lines = said.strip().splitlines() or [f"exit code {failed}"]
            raise StorageFailed(f"The graph of {self._home} could not be built: {lines[-1]}. Searches work without it.")
        engine.rename(self._home / OLD)
        self._new.rename(engine)
        sweep(self._home)

    def stop(self) -> None:
        """Ends the child and throws its work away."""
        self._process.kill()
        self._process.wait()
        self._said.close()
        sweep(self._home)


def sweep(home: Path) -> None:
    """Removes what builds have left behind."""
    for path in (*home.glob(f"{NEXT}*"), home / OLD):
        shutil.rmtree(path, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Of a child that imports what this process would, and nothing of the folder that it happens to stand in."""
    own = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), own])}


def build(folder: Path) -> None:
    """Builds the graph in an engine's folder and seals it: what the child does."""
    index = EngineIndex.load(folder)
    try:
        index.optimize()
    finally:
        index.close()


if __name__ == "__main__":
    build(Path(sys.argv[1]))
