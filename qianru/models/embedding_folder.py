"""A folder of embeddings: any number of texts in bounded memory, resumed after a kill where it stopped.

    vectors/
      manifest.json          {"model": …, "fingerprint": …, "kinds": […], …, "complete": true, "shards": […]}
      00000.safetensors      the first texts, as embedding_files.py writes them
      00001.safetensors      …

A shard is there whole or not at all. Its header holds a digest of its ids and texts: on resuming, the input is read
again and only what has no shard yet is embedded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from qianru.errors import BadFile, BadInput, CollectionBusy, ModelMismatch, SpecMismatch, StorageFailed
from qianru.models.array_file import hash_file
from qianru.models.base import Model, ModelSpec, check_role, chosen_kinds
from qianru.models.embedding_files import Named, load_embeddings, read_facts, save_embeddings
from qianru.types import Kind, Progress, Role

Card: TypeAlias = dict[str, Any]        # of a job: model, kinds, role, …: what must be the same to go on with it
Entry: TypeAlias = dict[str, Any]       # of a shard in the manifest
FORMAT = 1
MANIFEST = "manifest.json"
SHARD_CHARS = 4_000_000         # of the texts of a shard at most, which bounds memory
MULTI_SHARD_CHARS = 100_000     # where each token has a vector: 400 MB of 1,024 numbers, at a token a character


@dataclass(frozen=True, slots=True)
class EmbedPlan:
    """What to make of the texts.

    kinds: None for all that the model makes;  shard_texts: texts in a file at most
    """

    role: Role = "document"
    kinds: tuple[Kind, ...] | None = None
    instruction: str | None = None
    shard_texts: int = 4096


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What embed_to did; n_before: texts that were embedded already."""

    n_texts: int
    n_before: int
    n_truncated: int
    n_shards: int


def embed_to(
    folder: Path,
    model: Model,
    texts: Iterable[tuple[str, str]],
    plan: EmbedPlan | None = None,
    progress: Progress | None = None,
) -> EmbedReport:
    """Writes the vectors of (id, text) pairs to a folder; called again with the same, it goes on where it stopped.

    progress: told texts done, those of before among them
    Raises ModelMismatch if the folder was begun with another model or plan, BadInput if with other texts or if it
    holds something else, CollectionBusy if another process is writing to it.
    """
    plan = plan or EmbedPlan()
    folder = Path(folder)
    card = begin_card(model.spec, plan)
    with writing(folder, card):
        entries: list[Entry] = []
        n_texts = n_before = 0
        for shard in shards_of(texts, card):
            entry = entry_of(folder, shard)
            if entry is None:
                entry = make_shard(folder, shard, model, card, _from(progress, n_texts))
            else:
                n_before += entry["n_texts"]
            entries.append(entry)
            n_texts += entry["n_texts"]
            if progress is not None:
                progress(n_texts, None)
        if progress is not None:
            progress(n_texts, n_texts)
        return finish(folder, card, entries, n_before)


class Shard(NamedTuple):
    """The texts of one file, and their names."""

    number: int
    ids: list[str]
    texts: list[str]

    @property
    def digest(self) -> str:
        """64 hex digits that change if a name or a text does."""
        return sha256(json.dumps([self.ids, self.texts]).encode()).hexdigest()


def begin_card(spec: ModelSpec, plan: EmbedPlan) -> Card:
    """What the manifest of such a job begins with; BadInput for a plan that the model cannot follow."""
    check_role(plan.role)
    if plan.shard_texts < 1:
        raise BadInput(f"A shard holds at least one text, not {plan.shard_texts}.")
    return {
        "format": FORMAT, "model": spec.name, "fingerprint": spec.fingerprint,
        "kinds": list(chosen_kinds(spec, plan.kinds)), "dim": spec.dim, "role": plan.role,
        "instruction": plan.instruction, "shard_texts": plan.shard_texts,
    }


@contextmanager
def writing(folder: Path, card: Card) -> Iterator[None]:
    """While this lasts the folder is one of embeddings by that card, and no other process writes there."""
    with _held(folder):
        _begin(folder, card)
        yield


def entry_of(folder: Path, shard: Shard) -> Entry | None:
    """What the manifest says of a shard that is there already; None if it is to be made.

    BadInput if what is there was made of other texts.
    """
    path = folder / shard_name(shard.number)
    if not path.exists():
        return None
    facts = read_facts(path)
    if facts.get("texts") != shard.digest:
        raise BadInput(f"{path} holds the vectors of other texts: the input has changed since. Embed to a new folder.")
    return _entry(path, shard, facts["n_truncated"])


def make_shard(folder: Path, shard: Shard, model: Model, card: Card, progress: Progress | None = None) -> Entry:
    """Embeds and writes one shard; what the manifest says of it."""
    made = model.encode(shard.texts, role=card["role"], kinds=card["kinds"], instruction=card["instruction"],
                        progress=progress)
    path = folder / shard_name(shard.number)
    save_embeddings(path, made, shard.ids, {"texts": shard.digest})
    return _entry(path, shard, made.n_truncated)


def finish(folder: Path, card: Card, entries: Sequence[Entry], n_before: int) -> EmbedReport:
    """Writes the manifest of all shards, in order of their numbers; BadInput if the folder holds more."""
    if (folder / shard_name(len(entries))).exists():
        raise BadInput(f"{folder} holds the vectors of more texts than there are now: the input has changed since. "
                       "Embed to a new folder.")
    n_texts, n_truncated = (sum(entry[name] for entry in entries) for name in ("n_texts", "n_truncated"))
    _write(folder, {**card, "complete": True, "n_texts": n_texts, "n_truncated": n_truncated, "shards": entries})
    return EmbedReport(n_texts, n_before, n_truncated, len(entries))


def shards_of(texts: Iterable[tuple[str, str]], card: Card) -> Iterator[Shard]:
    """The (id, text) pairs shard by shard: always the same for the same texts."""
    n_chars = MULTI_SHARD_CHARS if {"multi", "tokens"} & set(card["kinds"]) else SHARD_CHARS
    for number, (ids, listed) in enumerate(_groups(texts, card["shard_texts"], n_chars)):
        yield Shard(number, ids, listed)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the folder holds and by which model; BadFile if it is no folder of embeddings."""
    path = Path(folder) / MANIFEST
    try:
        card = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BadFile(f"{folder} is no folder of embeddings: it has no {MANIFEST}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read: {error}. Embed to a new folder.") from error
    version = card.get("format") if isinstance(card, dict) else None
    if not isinstance(card, dict) or not isinstance(version, int) or not isinstance(card.get("shards"), list):
        raise BadFile(f"{path} is no {MANIFEST} of embeddings. Name another folder.")
    if version > FORMAT:
        raise SpecMismatch(f"{path} has format {version}; this version reads up to {FORMAT}. Upgrade Qianru.")
    return card


def read_shards(folder: Path) -> Iterator[Named]:
    """The embeddings of a complete folder, one shard after the other; each file is checked against its hash.

    Raises BadFile for what is damaged, missing or not complete yet.
    """
    card = read_manifest(folder)
    if not card.get("complete"):
        raise BadFile(f"{folder} is not complete: embedding was stopped. The same command goes on from there.")
    for number, shard in enumerate(card["shards"]):
        path = Path(folder) / shard_name(number)      # not what the manifest says, which could lead out of the folder
        if not path.is_file() or not isinstance(shard, dict) or hash_file(path) != shard.get("sha256"):
            raise BadFile(f"{path} is missing or not the file that was written. Delete it and embed again: only this "
                          "shard is made anew.")
        yield load_embeddings(path)


def _begin(folder: Path, card: dict[str, Any]) -> None:
    """Makes the folder one of embeddings by this plan, or checks that it is."""
    for left in folder.glob(".*.new"):      # by a process that was killed
        left.unlink()
    if not (folder / MANIFEST).exists():
        foreign = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
        if foreign:
            raise BadInput(f"{folder} is not empty and holds no {MANIFEST}; it has {foreign[0]}. Name a new folder.")
        _write(folder, {**card, "complete": False, "shards": []})
        return
    stands = read_manifest(folder)
    for name, now in card.items():
        if stands.get(name) != now:
            what = name.replace("_", " ")
            raise ModelMismatch(f"{folder} was begun with the {what} {_short(stands.get(name))}, not {_short(now)}. "
                                "Use the same, or embed to a new folder.")


def _write(folder: Path, card: dict[str, Any]) -> None:
    new = folder / f".{MANIFEST}.new"
    try:
        with new.open("w", encoding="utf-8") as file:
            json.dump(card, file, ensure_ascii=False, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / MANIFEST)
    except OSError as error:
        raise StorageFailed(f"{folder / MANIFEST} could not be written: {error.strerror or error}.") from error


def _groups(texts: Iterable[tuple[str, str]], n_texts: int, n_chars: int) -> Iterator[tuple[list[str], list[str]]]:
    """Ids and texts, shard by shard: always the same for the same texts."""
    ids: list[str] = []
    listed: list[str] = []
    room = n_chars
    for name, text in texts:
        if ids and (len(ids) == n_texts or len(text) > room):
            yield ids, listed
            ids, listed, room = [], [], n_chars
        ids.append(name)
        listed.append(text)
        room -= len(text)
    if ids:
        yield ids, listed


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """While this lasts no other process writes there."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", blocking=False)
    try:
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"{folder} is a file; vectors are written to a folder. Choose another name.")
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise CollectionBusy(f"Another process is writing vectors to {folder}. Wait for it, or name another "
                             "folder.") from None
    except OSError as error:
        raise StorageFailed(f"{folder} cannot be written: {error.strerror or error}. Choose another folder.") from error
    try:
        yield
    finally:
        lock.release()


def shard_name(number: int) -> str:
    """Of a shard's file."""
    return f"{number:05d}.safetensors"


def _entry(path: Path, shard: Shard, n_truncated: int) -> Entry:
    """texts: digest of names and texts;  sha256: of the file"""
    return {"file": path.name, "n_texts": len(shard.ids), "n_truncated": n_truncated, "texts": shard.digest,
            "sha256": hash_file(path)}


def _from(progress: Progress | None, n_before: int) -> Progress | None:
    """Progress in one shard as progress of the whole."""
    if progress is None:
        return None
    told = progress
    return lambda done, total: told(n_before + done, None)


def _short(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return f"'{text[:12]}…'" if len(text) == 64 else f"'{text}'"
