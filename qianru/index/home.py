"""The folder of a collection: made whole or not at all, written by one process at a time, with an engine inside."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from qianru.errors import BadInput, CollectionBusy, CollectionDamaged, CollectionError, ModelMismatch, StorageFailed
from qianru.index.address import address_of
from qianru.index.engine import EngineIndex
from qianru.index.exact import ExactIndex
from qianru.index.follower import ENGINE, Follower
from qianru.index.graph import OLD, sweep
from qianru.index.keeping import MODEL, NAMED, Given, keep, loaded
from qianru.index.layout import DensePrecision, Layout
from qianru.index.storage import Storage
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.models.files import sync
from qianru.types import Kind

if TYPE_CHECKING:
    from filelock import BaseFileLock

DATABASE = "collection.sqlite"
LOCK, WRITER = "lock", "writer"       # the lock itself, and the number of the process that holds it
FORGOTTEN_S = 3600     # a draft that nobody has touched for so long was left behind by a process that was killed
log = logging.getLogger("qianru")


def is_collection(place: str | Path) -> bool:
    """Whether a collection is meant: an address of one, or a folder that holds one."""
    return address_of(place) is not None or (Path(place) / DATABASE).exists()


def make_home(path: Path, given: Given | Sequence[Given], layout: Layout) -> None:
    """Writes an empty collection for the model; the folder appears when it is complete.

    Raises CollectionError where a collection stands already, BadInput where anything else does.
    """
    if path.is_dir() and any(path.iterdir()):
        if (path / DATABASE).exists():
            raise CollectionError(f"{path} already holds a collection. Open it, or choose another folder.")
        raise BadInput(f"{path} is not empty. Choose a folder that does not exist yet.")
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path} is a file; a collection is a folder. Choose another path.")
    model, parts = loaded(given)
    layout = layout.of(model.spec)
    _sweep(path)
    draft = path.with_name(f".{path.name}.new-{token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        keep(draft, model, parts)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        meta = {"created": created, "fingerprint": model.spec.fingerprint, "layout": layout.to_json()}
        Storage.create(draft / DATABASE, meta).close()
        draft.replace(path)
        sync(path.absolute().parent)
    except StorageFailed:
        raise
    except OSError as error:
        if (path / DATABASE).exists():      # somebody else was faster
            raise CollectionError(f"{path} already holds a collection. Open it, or choose another folder.") from error
        raise StorageFailed(f"The collection {path} cannot be made: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Removes drafts that killed processes left beside the path."""
    if not path.parent.is_dir():
        return
    for draft in path.parent.glob(f".{escape(path.name)}.new-*"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > FORGOTTEN_S:
                shutil.rmtree(draft, ignore_errors=True)


def check_home(path: Path) -> None:
    """Raises CollectionError unless something like a collection is there."""
    try:
        found = any((path / name).exists() for name in (DATABASE, MODEL, NAMED))
    except OSError as error:
        raise CollectionError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if not found:
        raise CollectionError(f"There is no collection at {path}. Make one: qianru index FOLDER --collection {path}")


def check_model(path: Path | str, made_with: str, own: Model, asked: Model | None) -> None:
    """Raises ModelMismatch unless the folder's own model, and the one that is asked for, made the collection.

    made_with: the fingerprint of the model that did
    """
    if own.spec.fingerprint != made_with:
        raise ModelMismatch(
            f"The model of {path} is not the model that made this collection (fingerprint "
            f"{own.spec.fingerprint[:12]}, not {made_with[:12]}). Put the old model back, or index again."
        )
    if asked is not None and asked.spec.fingerprint != made_with:
        raise ModelMismatch(
            f"{path} was made with {own.spec.name} ({made_with[:12]}), not with {asked.spec.name} "
            f"({asked.spec.fingerprint[:12]}). Name none to open it, or make another collection with the new one."
        )


def lock_home(path: Path) -> BaseFileLock:
    """The right to write, held until unlock_home or until the process ends. Raises CollectionBusy, StorageFailed."""
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK, thread_local=False)      # another thread than the opening one may close
    try:
        lock.acquire(timeout=0)
        (path / WRITER).write_text(str(os.getpid()))
    except Timeout:
        try:
            process = (path / WRITER).read_text()
        except OSError:     # it has just come, or is just leaving
            process = ""
        if process == str(os.getpid()):
            raise CollectionBusy(
                f"{path} is open for writing in this program already (process {process}). Use that one, or close it "
                "first; to search it beside, open it with read_only=True."
            ) from None
        who = f" (process {process})" if process else ""
        raise CollectionBusy(
            f"{path} is open for writing in another program{who}. Wait until it is closed there; meanwhile it can be "
            "searched, from Python with read_only=True."
        ) from None
    except OSError as error:
        lock.release()
        raise StorageFailed(
            f"{path} cannot be written: {error.strerror}. Make room or change its permissions, or open it with "
            "read_only=True."
        ) from error
    return lock


def unlock_home(path: Path, lock: BaseFileLock) -> None:
    (path / WRITER).unlink(missing_ok=True)
    lock.release()


def follower_of(
    path: Path, storage: Storage, model: Model, layout: Layout, bm25: BM25 | None, *, read_only: bool
) -> Follower:
    """What follows the database: the engine on the disk, or for a reader an exact index in memory."""
    kinds: tuple[Kind, ...] = tuple(kind for kind in layout.kinds or () if kind != "multi")
    dim = model.spec.dim
    if read_only:
        return Follower(storage, lambda: ExactIndex(kinds or ("sparse",), dim), bm25)

    def fresh() -> EngineIndex:
        return new_engine(path, kinds or ("sparse",), dim, layout.dense)

    engine = _load_engine(path)
    return Follower(storage, fresh, bm25, engine=fresh() if engine is None else engine, home=path)


def _load_engine(path: Path) -> EngineIndex | None:
    """The engine as it lies in the folder; None where that is missing or damaged."""
    sweep(path)
    if (path / ENGINE).exists():
        try:
            return EngineIndex.load(path / ENGINE)
        except CollectionDamaged as error:
            log.warning("The search engine's part of %s is made again from the documents: %s", path, error)
    return None


def new_engine(path: Path, kinds: tuple[Kind, ...], dim: int | None, precision: DensePrecision) -> EngineIndex:
    """An empty engine in place of whatever lies there."""
    shutil.rmtree(path / OLD, ignore_errors=True)
    if (path / ENGINE).exists():
        (path / ENGINE).rename(path / OLD)      # so that a kill leaves none, and never half of one under its name
        shutil.rmtree(path / OLD, ignore_errors=True)
    return EngineIndex.create(path / ENGINE, kinds, dim, precision)


def sizes_bytes(path: Path, place: Path) -> Mapping[str, int]:
    """What each part takes on the disk; place: of model and engine."""
    parts = {"documents": path / DATABASE, "engine": place / ENGINE, "model": place / MODEL}
    return {name: _size_bytes(part) for name, part in parts.items()}


def _size_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0
