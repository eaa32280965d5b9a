"""What a collection on a server is, beside its documents: kept in a companion collection `name__meta`, without vectors.

One point says what the collection is (fingerprint, layout, plan), one each which file was read (sources), and some hold
the files of a small model, so that any client can open the collection by its address alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qianru.errors import CollectionBusy, CollectionDamaged, CollectionError, QianruError
from qianru.index.cluster_link import Link
from qianru.index.cluster_points import ClusterOptions
from qianru.index.intake import SourceFile

if TYPE_CHECKING:
    from qdrant_client.http.models import Record

FORMAT = 1
FACTS = 0                       # the number of the point that says what the collection is
LARGEST_MODEL = 64 << 20        # bytes; a larger one is named, and given again at opening
PART_BYTES = 1 << 20
ABANDONED = timedelta(minutes=10)
KNOWN = {"format": int, "created": str, "model": str, "fingerprint": str, "layout": str, "model_kept": bool,
         "parts": list}
"""The facts of every complete collection, and what they are."""
MEND = "Push the collection again, or delete both its collections on the server and make it anew."


class ClusterHome:
    """The companion collection of one collection."""

    def __init__(self, link: Link, name: str) -> None:
        self.link, self.name, self.meta = link, name, f"{name}__meta"

    def begin(self, facts: dict[str, Any], options: ClusterOptions) -> None:
        """Makes the companion, marked as not complete; goes on where a process was killed that made the same.

        Raises CollectionError where a collection stands already, CollectionBusy where another client is making one.
        """
        link, client = self.link, self.link.client
        if link.ask("looked up", client.collection_exists, self.meta):
            found = self._facts()
            if found.get("complete"):
                raise CollectionError(f"{link.where} already holds a collection {self.name!r}. Open it, or choose "
                                      "another name.")
            if any(found.get(key, value) != value for key, value in facts.items()):
                begun = datetime.fromisoformat(found["created"])
                if datetime.now(UTC) - begun < ABANDONED:
                    raise CollectionBusy(f"Another client has just begun to make {self.name!r} at {link.where}. Choose "
                                         f"another name, or wait {ABANDONED.seconds // 60} minutes in case it gave up.")
                link.ask("cleared away", client.delete_collection, self.name)
                link.ask("cleared away", client.delete_collection, self.meta)
        elif link.ask("looked up", client.collection_exists, self.name):
            raise CollectionError(f"{link.where} already holds a collection {self.name!r}, and it is not ours. Choose "
                                  "another name.")

        def make() -> None:
            if not client.collection_exists(self.meta):
                client.create_collection(self.meta, vectors_config={}, replication_factor=options.replicas,
                                         write_consistency_factor=options.replicas // 2 + 1)

        link.ask("made", make)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        self._put(FACTS, {"kind": "facts", "format": FORMAT, "created": created, "complete": False, **facts})

    def finish(self) -> None:
        """The collection is complete."""
        self.set("complete", True)

    def is_complete(self) -> bool:
        """Whether there is a collection."""
        exists = self.link.ask("looked up", self.link.client.collection_exists, self.meta)
        return bool(exists and self._facts().get("complete"))

    def facts(self) -> dict[str, Any]:
        """What the collection is.

        Raises CollectionError where there is none, or one of a newer Qianru; CollectionDamaged for no such note.
        """
        exists = self.link.ask("looked up", self.link.client.collection_exists, self.meta)
        facts = self._facts() if exists else {}
        if not facts.get("complete"):
            raise CollectionError(f"There is no collection {self.name!r} at {self.link.where}. Make one: qianru push "
                                  f"FOLDER qdrant://…/{self.name}, or Collection.create with that address.")
        for key, kind in KNOWN.items():
            if not isinstance(facts.get(key), kind):
                raise CollectionDamaged(f"{self.meta} at {self.link.where} is not what was written: {key} is "
                                        f"{facts.get(key)!r:.60}. {MEND}")
        if facts["format"] > FORMAT:
            raise CollectionError(f"{self.name!r} at {self.link.where} has format {facts['format']}; this version of "
                                  f"Qianru reads up to {FORMAT}. Upgrade Qianru.")
        return facts

    def set(self, key: str, value: Any) -> None:
        """Changes one of the facts."""
        self.link.ask("written", self.link.client.set_payload, self.meta, {key: value}, [FACTS], wait=True)

    # the model's files

    def put_files(self, folder: Path) -> bool:
        """Whether the files of a model's folder were small enough to be kept."""
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if sum(file.stat().st_size for file in files) > LARGEST_MODEL:
            return False
        for file in files:
            content = file.read_bytes()
            path, digest = file.relative_to(folder).as_posix(), blake2b(content, digest_size=16).hexdigest()
            for i in range(max(-(-len(content) // PART_BYTES), 1)):
                part = base64.b64encode(content[i * PART_BYTES : (i + 1) * PART_BYTES]).decode()
                self._put(_number("file", f"{path}:{i}"),
                          {"kind": "file", "path": path, "part": i, "digest": digest, "content": part})
        return True

    def take_files(self, folder: Path) -> None:
        """Writes the model's files into the folder. Raises CollectionDamaged where they are not what was put."""
        parts: dict[str, dict[int, tuple[bytes, str]]] = {}
        size = 0
        for record in self._each("file"):
            match record.payload:
                case {"path": str(path), "part": int(part), "content": str(content), "digest": str(digest)}:
                    size += len(content)
                    parts.setdefault(path, {})[part] = content.encode(), digest
                case _:
                    raise CollectionDamaged(f"A model's file at {self.link.where} is not what was written. {MEND}")
            if size > 2 * LARGEST_MODEL:        # base64 makes 4 of 3
                raise CollectionDamaged(f"The model at {self.link.where} is larger than any that was written. {MEND}")
        for path, its in parts.items():
            try:
                whole = b"".join(base64.b64decode(its[i][0]) for i in sorted(its))
                target = (folder / path).resolve()
                right = (blake2b(whole, digest_size=16).hexdigest() == its[min(its)][1]
                         and target != folder.resolve() and target.is_relative_to(folder.resolve()))
            except ValueError:      # no base64, or a path that no system knows
                right = False
            if not right:
                raise CollectionDamaged(f"The model's file {path!r} at {self.link.where} is not what was written. "
                                        f"{MEND}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(whole)

    # files whose passages are stored

    def put_sources(self, files: Sequence[SourceFile]) -> None:
        """Notes the files as complete."""
        for file in files:
            self._put(_number("source", file.path), {"kind": "source", "path": file.path, "n_passages": file.n_passages,
                                                     "digest": file.digest.hex()})

    def begin_source(self, path: str) -> None:
        """Notes the file as one that is not complete, whatever it was before."""
        self._put(_number("source", path), {"kind": "source", "path": path, "n_passages": 0, "digest": ""})

    def has_source(self, path: str, digest: bytes) -> bool:
        """Whether the file is noted as complete with that digest."""
        found = self.link.ask("read", self.link.client.retrieve, self.meta, [_number("source", path)])
        return bool(found) and (found[0].payload or {})["digest"] == digest.hex()

    def sources(self) -> list[SourceFile]:
        """All files that are noted, by path."""
        try:
            told = [record.payload or {} for record in self._each("source")]
            return sorted(SourceFile(one["path"], bytes.fromhex(one["digest"]), one["n_passages"]) for one in told)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, QianruError):
                raise
            raise CollectionDamaged(f"A note of a file in {self.meta} at {self.link.where} is not what was written "
                                    f"({error!r:.80}). {MEND}") from error

    def forget_sources(self, paths: Sequence[str]) -> None:
        """Forgets the files."""
        from qdrant_client.http import models

        if paths:
            these = models.PointIdsList(points=[_number("source", path) for path in paths])
            self.link.ask("written", self.link.client.delete, self.meta, these, wait=True)

    def _facts(self) -> dict[str, Any]:
        found = self.link.ask("read", self.link.client.retrieve, self.meta, [FACTS])
        return dict(found[0].payload or {}) if found else {}

    def _each(self, kind: str) -> Iterator[Record]:
        from qdrant_client.http import models

        only = models.Filter(must=[models.FieldCondition(key="kind", match=models.MatchValue(value=kind))])
        offset: Any = None
        while True:
            records, offset = self.link.ask("read", self.link.client.scroll, self.meta, only, limit=16, offset=offset)
            yield from records
            if offset is None:
                return

    def _put(self, number: int, payload: dict[str, Any]) -> None:
        from qdrant_client.http import models

        point = models.PointStruct(id=number, vector={}, payload=payload)
        self.link.ask("written", self.link.client.upsert, self.meta, [point], wait=True)


def _number(kind: str, name: str) -> int:
    """The number of a point; never that of the facts."""
    return int.from_bytes(blake2b(f"{kind}:{name}".encode(), digest_size=8).digest(), "big") >> 1 | 1
