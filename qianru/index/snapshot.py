"""A collection as one file, taken at one moment while others write, and made a collection again after it was verified.

A plain tar: manifest.json first, which lists the other members with size and SHA-256; collection.sqlite, compacted; the
model, or its name. The search engine's part is left out, since it is made from these.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any, NamedTuple

from qianru.errors import BadFile, BadInput, CollectionDamaged, CollectionError, StorageFailed
from qianru.index.database import connect, guarded
from qianru.index.generation import FOLDER, Coming, generation_of, give_up, place_of
from qianru.index.home import DATABASE, check_home, check_model
from qianru.index.keeping import MODEL, NAMED, kept, named_models
from qianru.index.storage import Storage
from qianru.index.verification import verify
from qianru.models.array_file import hash_file
from qianru.models.files import sync

MANIFEST = "manifest.json"
KIND, FORMAT = "qianru snapshot", 1
MANIFEST_BYTES = 16 << 20
BLOCK = 1 << 20
OURS = re.compile(rf"{re.escape(DATABASE)}|({FOLDER}[0-9]+/)?({re.escape(NAMED)}|{MODEL}/.+)")


class Snapshot(NamedTuple):
    """What a snapshot holds. named_models: those that are named and do not lie in it"""

    n_documents: int
    size_bytes: int
    named_models: list[str]


def snapshot(collection: Path, file: Path) -> Snapshot:
    """Writes a collection to a file that does not exist; it appears when it is whole.

    What others commit while it is written is not in it. Room is needed for two copies of the database for a while.
    Raises BadInput where the file exists, StorageFailed for a full disk.
    """
    check_home(collection)
    if file.exists():
        raise BadInput(f"{file} exists already. Choose another name, or remove it first.")
    with _draft_beside(file) as draft:
        copy = draft / DATABASE
        n_documents, generation = _copy_database(collection / DATABASE, copy)
        place = place_of(collection, generation)
        found = {DATABASE: copy} | {path.relative_to(collection).as_posix(): path for path in _model_files(place)}
        try:
            listed = {name: {"size": path.stat().st_size, "sha256": hash_file(path)} for name, path in found.items()}
        except FileNotFoundError as error:
            raise CollectionError(f"{collection} got another model while the snapshot was taken. Take it "
                                  "again.") from error
        manifest = {"kind": KIND, "format": FORMAT, "n_documents": n_documents, "files": listed}
        whole = draft / "whole.tar"
        with whole.open("wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                (draft / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1), encoding="utf-8")
                for name, path in {MANIFEST: draft / MANIFEST, **found}.items():
                    tar.add(path, name, recursive=False, filter=_anonymous)
            stream.flush()
            os.fsync(stream.fileno())
        size = whole.stat().st_size
        whole.rename(file)
        sync(file.absolute().parent)
    return Snapshot(n_documents, size, named_models(place))


def restore(file: Path, folder: Path) -> Snapshot:
    """Makes a collection of a snapshot, in a folder that does not exist or is empty; it appears when it is verified.

    Raises BadFile for a file that is no snapshot or holds what does not belong there, CollectionDamaged where something
    is not what was written, StorageFailed for a full disk.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} exists already. Choose a folder that does not exist yet.")
    if not file.is_file():
        raise BadFile(f"There is no file {file}.")
    with _draft_beside(folder) as draft:
        home = draft / "home"
        home.mkdir()
        try:
            with tarfile.open(file, "r:") as tar:
                manifest = _unpack(tar, file, home)
        except (tarfile.TarError, EOFError) as error:
            raise BadFile(f"{file} is no snapshot, or is cut short: {error}.") from error
        storage = Storage.open(home / DATABASE)
        with closing(storage):
            verify(storage)
            place = place_of(home, generation_of(storage))
            named = named_models(place)
            if not named:       # one that is named may lie on another machine, and is checked when it is opened
                made_with = storage.meta("fingerprint")
                check_model(file, made_with, kept(place, None, made_with), None)
        for path in home.rglob("*"):
            if path.is_dir():
                sync(path)
        sync(home)
        if folder.exists():
            folder.rmdir()
        home.rename(folder)
        sync(folder.absolute().parent)
    return Snapshot(manifest["n_documents"], file.stat().st_size, named)


def _copy_database(database: Path, copy: Path) -> tuple[int, int]:
    """(number of documents, generation) of a compact copy, as of one moment, also while another process writes."""
    connection, _ = connect(database, read_only=True)
    with closing(connection), guarded(copy):
        connection.execute("VACUUM INTO ?", (str(copy),))
    storage = Storage.open(copy)
    with closing(storage), guarded(copy):
        if Coming.of(storage) is not None:
            give_up(storage)            # what another model has made so far
            storage.connection.execute("PRAGMA temp_store = FILE")
            storage.connection.execute("VACUUM")
        storage.connection.execute("PRAGMA journal_mode = WAL")
        n = int(storage.query("SELECT count(*) FROM documents")[0][0])
        return n, generation_of(storage)


def _model_files(place: Path) -> Iterator[Path]:
    if (place / NAMED).exists():
        yield place / NAMED
    yield from sorted(path for path in (place / MODEL).rglob("*") if path.is_file())


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names and rights of whoever made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _unpack(tar: tarfile.TarFile, file: Path, home: Path) -> dict[str, Any]:
    """Writes the members that the manifest lists, and returns it; each is a plain file of the size that is told."""
    manifest = _manifest(tar, file)
    listed: dict[str, dict[str, Any]] = manifest["files"]
    while (member := tar.next()) is not None:
        told = listed.pop(member.name, None)
        if told is None or not member.isreg() or not _belongs(member.name):
            raise BadFile(f"{file} holds {member.name!r:.100}, which does not belong into a snapshot. Nothing was "
                          "restored.")
        stream = tar.extractfile(member)
        assert stream is not None
        target = home / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if member.size != told["size"] or _write(stream, target) != told["sha256"]:
            raise CollectionDamaged(f"{file}: {member.name} is not what was written. Take another snapshot.")
    if listed:
        raise CollectionDamaged(f"{file} lacks {min(listed)}. Take another snapshot.")
    return manifest


def _manifest(tar: tarfile.TarFile, file: Path) -> dict[str, Any]:
    first = tar.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MANIFEST_BYTES:
        raise BadFile(f"{file} is no snapshot of a collection: it does not begin with {MANIFEST}.")
    stream = tar.extractfile(first)
    assert stream is not None
    try:
        manifest: dict[str, Any] = json.loads(stream.read())
        if manifest["kind"] != KIND:
            raise ValueError(f"its kind is {manifest['kind']!r}")
        if manifest["format"] > FORMAT:
            raise CollectionError(f"{file} has format {manifest['format']}; this version of Qianru reads up to "
                                  f"{FORMAT}. Upgrade Qianru.")
        for told in manifest["files"].values():
            int(told["size"]), str(told["sha256"])
        int(manifest["n_documents"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadFile(f"{file} is no snapshot of a collection: its {MANIFEST} cannot be used ({error!r}).") from error
    return manifest


def _belongs(name: str) -> bool:
    """Whether it names a file of a collection, on every system: nothing that leads out of the folder."""
    parts = PurePosixPath(name).parts
    return (OURS.fullmatch(name) is not None and name == "/".join(parts)
            and not any(part in (".", "..") or set(part) & set("/\\:\0") for part in parts))


def _write(stream: Any, target: Path) -> str:
    """The SHA-256 of what was written."""
    digest = sha256()
    with target.open("xb") as written:
        while block := stream.read(BLOCK):
            digest.update(block)
            written.write(block)
        written.flush()
        os.fsync(written.fileno())
    return digest.hexdigest()


@contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    """A folder beside the target that is gone afterwards; what the system says becomes an error that names it."""
    draft = target.absolute().with_name(f".{target.name}.new-{token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        yield draft
    except (CollectionError, BadFile, StorageFailed):
        raise
    except OSError as error:
        raise StorageFailed(f"{target} cannot be written: {error.strerror or error}. Nothing has changed.") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(draft)
