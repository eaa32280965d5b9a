"""Which model a collection is searched by: its tables, its folder, and the one transaction in which another takes over.

    model/, model.json, engine/     of the first model
    generation-1/                   the same of the model that took its place, and so on
    generation-2/                   of one that is still being worked on, see reembed.py

The database says which of them counts. What it does not name was left behind by a kill, and is removed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from qianru.index.database import FORMAT
from qianru.index.follower import ENGINE
from qianru.index.graph import sweep
from qianru.index.keeping import MODEL, NAMED
from qianru.index.storage import KEYS_OF_MODEL, NEXT, OF_MODEL, Storage

FOLDER = "generation-"
OLD = "old_"


def place_of(home: Path, generation: int) -> Path:
    """The folder of a generation's model and engine."""
    return home / f"{FOLDER}{generation}" if generation else home


@dataclass(frozen=True, slots=True)
class Coming:
    """A model that is to take over: the number of its generation, and what it is called."""

    generation: int
    model: str

    @classmethod
    def of(cls, storage: Storage) -> Self | None:
        """The one that a collection is working on, if any."""
        told = storage.meta("coming")
        return None if told is None else cls(**json.loads(told))


def generation_of(storage: Storage) -> int:
    """The number of the generation that counts."""
    return int(storage.meta("generation", 0))


def begin(storage: Storage, coming: Coming, meta: dict[str, Any]) -> Storage:
    """The storage of a model to come, with empty tables; meta: its fingerprint and layout."""
    beside = Storage(storage.connection, storage.file, NEXT)
    with storage.transaction():
        for name, sql in OF_MODEL.items():
            storage.connection.execute(sql.replace(f"TABLE {name}", f"TABLE {NEXT}{name}", 1))
        storage.set_meta("coming", json.dumps({"generation": coming.generation, "model": coming.model}))
        for key, value in {"n_documents": 0, "n_tokens": 0, **meta}.items():
            beside.set_meta(key, value)
    storage.has_next = True
    return beside


def give_up(storage: Storage) -> None:
    """Forgets the model to come and all that it has made."""
    with storage.transaction():
        for name in OF_MODEL:
            storage.connection.execute(f"DROP TABLE IF EXISTS {NEXT}{name}")
        storage.connection.executemany("DELETE FROM meta WHERE key = ?",
                                       [("coming",), *((NEXT + key,) for key in KEYS_OF_MODEL)])
    storage.has_next = False


def change_over(storage: Storage, beside: Storage, coming: Coming, plan: str) -> None:
    """Has the model to come take over, in one transaction; `beside` is the collection's storage from then on."""
    run = storage.connection.execute
    with storage.transaction():
        for name in OF_MODEL:
            if name != "multi" or storage.has_multi:
                run(f"ALTER TABLE {name} RENAME TO {OLD}{name}")
            run(f"ALTER TABLE {NEXT}{name} RENAME TO {name}")
        for key in KEYS_OF_MODEL:
            run("DELETE FROM meta WHERE key = ?", (key,))
            run("UPDATE meta SET key = ? WHERE key = ?", (key, NEXT + key))
        run("DELETE FROM meta WHERE key = 'coming'")
        storage.set_meta("generation", coming.generation)
        storage.set_meta("plan", plan)
        storage.next_sequence()         # readers look again
        run(f"PRAGMA user_version = {FORMAT}")
    beside.prefix = ""


def clear_away(home: Path, storage: Storage) -> None:
    """Removes what belongs to no generation that counts or is to come."""
    if left := [name for (name,) in storage.query("SELECT name FROM sqlite_master WHERE type = 'table'")
                if name.startswith(OLD)]:
        with storage.transaction():
            for name in left:
                storage.connection.execute(f"DROP TABLE {name}")
    now, coming = generation_of(storage), Coming.of(storage)
    kept = {place_of(home, now), place_of(home, coming.generation if coming is not None else now)}
    for folder in home.glob(f"{FOLDER}*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    if now:
        sweep(home)
        (home / NAMED).unlink(missing_ok=True)
        for name in (MODEL, ENGINE):
            shutil.rmtree(home / name, ignore_errors=True)
