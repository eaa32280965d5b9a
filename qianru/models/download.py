"""Downloads: a model's files into a cache that processes share; a file gets its name when its hash is right.

    models/huggingface/moka-ai/m3e-base/
        main.json                       what the branch was when it was downloaded; written last
        1f0c9a7be2d4/m3e-base/…         the files of one state of the model; a .part is one that is on its way
        .locks/
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from qianru.errors import BadFile, BadInput, ServerFailed, StorageFailed
from qianru.models import environment
from qianru.models.catalogue import HubName, find, known
from qianru.models.files import sync
from qianru.models.hub import MODEL_ID, Hub, HubFile, fingerprint, has_weights, hub, listing, needed
from qianru.models.transfer import HubModel, fetch, part_of
from qianru.models.web import Patience
from qianru.types import Progress

FORMAT = 1
PATIENCE = Patience()
SPARE_BYTES = 64 << 20        # of the disk, left alone
ORIGIN = "qianru-origin.json"


def download(name: str, *, source: str = "huggingface", revision: str | None = None, offline: bool = False,
             progress: Progress | None = None) -> Path:
    """The folder of the model, with every file that it needs, each checked against the hub's own hash.

    name: of the catalogue or of the hub;  source: huggingface, modelscope or the address of a mirror of the former
    revision: a branch, tag or commit;  offline: nothing is downloaded, what is there must do
    progress: called with bytes
    Raises UnknownName if the hub does not know it, ServerFailed if the hub cannot be reached or refuses, BadFile if
    what it sends is not what it announced, StorageFailed if the disk is full. What came until then is kept: the same
    call goes on from there.
    """
    where = hub(source)
    model_id = _id_on(where, name)
    revision = revision or where.default_revision
    if offline or environment.is_offline():
        folder = _present(where.kind, model_id, revision)
        if folder is None:
            raise _not_here(name, source)
        return folder
    commit, files = listing(where, model_id, revision, PATIENCE)
    home = _home(where.kind, model_id)
    state = f"{fingerprint(files)}/{PurePosixPath(model_id).name}"
    with _told(home):
        model = HubModel(where, model_id, PATIENCE)
        wanted = _all_needed(model, files, home, state)
        _fetch_all(model, wanted, home, state, progress)
        record = {"format": FORMAT, "id": model_id, "source": where.endpoint, "revision": revision, "commit": commit,
                  "folder": state, "files": {file.path: [file.size, file.digest] for file in wanted}}
        _write(home / state / ORIGIN, {"hub": where.kind, "id": model_id, "revision": revision, "commit": commit})
        _write(home / _pointer(revision), record)
    return home / state


def resolve(name: str) -> Path:
    """The folder of a model that was downloaded; BadFile, with the command to type, if it was not.

    name: of the catalogue or of a hub. What Hugging Face holds goes before what ModelScope does.
    """
    ids = _ids(name)
    if not ids:
        raise BadInput(f"{name} is not downloaded: it is asked over HTTP. Use it as remote:{find(name).name}.")
    for kind, model_id in ids.items():
        folder = _present(kind, model_id, Hub(kind, "").default_revision)
        if folder is not None:
            return folder
    raise _not_here(name, next(iter(ids)))


def origin(folder: Path) -> Mapping[str, str] | None:
    """Where a downloaded folder came from: its hub, id, revision and commit; None for any other folder."""
    try:
        said = json.loads((folder / ORIGIN).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{folder / ORIGIN} cannot be read: {error}. Download the model again.") from error
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise BadFile(f"{folder / ORIGIN} does not say where the model came from. Download the model again.")
    return said


def is_here(name: str) -> bool:
    """Whether a model was downloaded, from either hub."""
    return any(_present(kind, model_id, Hub(kind, "").default_revision) for kind, model_id in _ids(name).items())


def _ids(name: str) -> Mapping[HubName, str]:
    """What each hub calls the model: as the catalogue knows it, else both by the name that was given."""
    if known(name) is not None or not MODEL_ID.fullmatch(name):
        return find(name).ids
    return {"huggingface": name, "modelscope": name}


def _id_on(where: Hub, name: str) -> str:
    """What the hub calls the model."""
    card = known(name) if MODEL_ID.fullmatch(name) else find(name)
    if card is None or (where.kind not in card.ids and "/" in name):
        return name                        # perhaps the hub knows it
    if where.kind in card.ids:
        return card.ids[where.kind]
    if card.family == "remote":
        raise BadInput(f"{card.name} cannot be downloaded: it is asked over HTTP. Use it as remote:{card.name}.")
    kind, model_id = next(iter(card.ids.items()))
    raise BadInput(f"The catalogue does not know {card.name} on {where.host}, but as {model_id} on {kind}. "
                   f"Add --from {kind}, or name it as {where.host} does: owner/name.")


def _not_here(name: str, source: str) -> BadFile:
    return BadFile(f"{name} is not on this machine. Download it with: {_command(name, source)}")


def _command(name: str, source: str) -> str:
    return f"qianru download {name}" + ("" if source == "huggingface" else f" --from {source}")


def _home(kind: str, model_id: str) -> Path:
    return environment.cache_folder() / "models" / kind / model_id


def _pointer(revision: str) -> str:
    return quote(revision, safe="") + ".json"


def _present(kind: str, model_id: str, revision: str) -> Path | None:
    """The folder of a model that is there; None if it never was; BadFile if some of it has gone."""
    home = _home(kind, model_id)
    record = _record(home / _pointer(revision))
    if record is None:
        return None
    folder, files = record
    for path, (size, _) in files.items():
        file = folder / path
        if _size(file) != size:
            raise BadFile(f"{file} is not as it was downloaded. Mend it with: {_command(model_id, kind)}")
    return folder


def _record(pointer: Path) -> tuple[Path, dict[str, tuple[int, str]]] | None:
    """(folder, path -> (size, hash)) of a state of the model that was downloaded whole; None if there is none."""
    try:
        said = json.loads(pointer.read_bytes())
        files = {str(path): (int(size), str(digest)) for path, (size, digest) in said["files"].items()}
        return pointer.parent / str(said["folder"]), files
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"{pointer} cannot be read: {error!r}. Delete it and download the model again.") from error


def _all_needed(model: HubModel, files: list[HubFile], home: Path, state: str) -> list[HubFile]:
    """The files to download. modules.json comes first, since it names the folders that count."""
    folders = ["", "1_Pooling"]       # which some folders have without a modules.json
    modules = next((file for file in files if file.path == "modules.json"), None)
    if modules is not None:
        _fetch_all(model, [modules], home, state, None)
        folders = list(dict.fromkeys([*folders, *_module_folders(home / state / "modules.json")]))
    wanted = needed(files, folders)
    if not has_weights(wanted):
        raise BadFile(f"{model.id} on {model.where.host} has no weights that Qianru reads: model.safetensors or "
                      "pytorch_model.bin. Choose another model, or another source with --from.")
    return wanted


def _module_folders(path: Path) -> list[str]:
    """The folders that modules.json names, without the model's own."""
    try:
        named = [str(entry["path"]).removeprefix("./").rstrip("/") for entry in json.loads(path.read_bytes())]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadFile(f"{path} is not a list of modules: {error!r}. Choose another model.") from error
    return [name for name in named if name not in ("", ".")]


def _fetch_all(model: HubModel, files: list[HubFile], home: Path, state: str, progress: Progress | None) -> None:
    """Every file under its name, those that are there left alone."""
    from filelock import FileLock

    folder = home / state
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _take_over(file, target, home)
    missing = [file for file in files if _size(folder / file.path) != file.size]     # or somebody changed it
    _check_room(folder, missing)
    total = sum(file.size for file in files)
    done = total - sum(file.size for file in missing)
    for file in missing:
        tick = _ticking(progress, done, total)
        target = folder / file.path
        lock = home / ".locks" / f"{file.digest[:16]}-{sha256(file.path.encode()).hexdigest()[:8]}.lock"
        lock.parent.mkdir(exist_ok=True)
        with _held(FileLock(str(lock)), target, tick):
            if _size(target) != file.size:      # another process may have done it meanwhile
                fetch(model, file, target, tick)
        done += file.size
    if progress is not None:
        progress(total, total)


def _ticking(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    """Takes the bytes of one file, tells those of all."""
    return (lambda n_bytes: progress(done + n_bytes, total)) if progress is not None else (lambda n_bytes: None)


def _take_over(file: HubFile, target: Path, home: Path) -> None:
    """Links a file that another state of the model has as well: when a setting changes, the weights stay."""
    for pointer in home.glob("*.json"):
        folder, files = _record(pointer) or (home, {})
        if files.get(file.path) == (file.size, file.digest):
            with suppress(OSError):      # it has gone, another process was faster, or the disk knows no links
                target.hardlink_to(folder / file.path)


@contextmanager
def _held(lock: Any, target: Path, tick: Callable[[int], None]) -> Iterator[None]:
    """The lock; while another process has it, its progress is shown as ours."""
    from filelock import Timeout

    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            tick(_size(part_of(target)) or 0)
    try:
        yield
    finally:
        lock.release()


def _check_room(folder: Path, files: list[HubFile]) -> None:
    """Raises StorageFailed if the disk cannot hold what is still to come."""
    folder.mkdir(parents=True, exist_ok=True)
    lacking = sum(file.size - (_size(part_of(folder / file.path)) or 0) for file in files)
    free = shutil.disk_usage(folder).free
    if lacking > 0 and free < lacking + SPARE_BYTES:
        raise StorageFailed(f"{lacking / 1e6:,.0f} MB are still to be downloaded and {folder} has {free / 1e6:,.0f} MB "
                            "free. Free some space, or set QIANRU_CACHE to a folder on another disk.")


@contextmanager
def _told(home: Path) -> Iterator[None]:
    """A disk that is full or cannot be written to ends in a StorageFailed."""
    try:
        yield
    except (ServerFailed, BadFile, StorageFailed):
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageFailed(f"{home} cannot be written to: {error.strerror or error}. "
                            + ("What was downloaded so far is kept. Free some space, then do the same again."
                               if full else "Set QIANRU_CACHE to a folder that can.")) from error


def _size(path: Path) -> int | None:
    """In bytes; None if there is no such file, which another process may make or rename at any moment."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """JSON, whole or not at all."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync(path.parent)
