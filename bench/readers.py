"""Eight threads search while one writes: no error, no torn answer, and how long a search takes meanwhile.

    python bench/readers.py [seconds]           # default 300; one line of JSON
    python bench/readers.py 10 --documents 2000

The collection begins with poems and articles (BM25 and LSA, see poems_and_laws.py). The writer goes on replacing,
adding and deleting batches of documents, and has the graph built now and then if there are enough. Each text is
"poem ‖ id ‖ version", so a hit tells by itself whether its id, text and field belong together; the version must be one
that was committed or being committed: never older than what the writer had acknowledged before the search began, never
newer than what it had begun when the search ended. Half of the readers share the writer's collection, half have one
opened read-only, as another process would.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import peak_rss_mb, percentiles_ms, report
from poems_and_laws import SEED, clips, documents, lsa
from search import memory_mb

from qianru import Collection, Document
from qianru.types import Hit

N_READERS = 8
BATCH = 50
MARK = " ‖ "
KINDS = (["dense"], ["sparse"], None)
FAR = 1 << 60


class Truth:
    """What the writer has begun and what it has been told is stored. Version 0: deleted."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.begun: dict[str, int] = dict.fromkeys(ids, 1)          # the newest version of each id
        self.acknowledged: dict[str, int] = dict.fromkeys(ids, 1)   # ... that is stored
        self.born: dict[tuple[str, int], float] = {}                # when it was begun
        self.gone: dict[tuple[str, int], float] = {}                # when its end was acknowledged

    def check(self, hits: Sequence[Hit], asked_at: float, answered_at: float) -> None:
        """Raises AssertionError for a hit that no moment between the two can explain."""
        assert len({hit.id for hit in hits}) == len(hits), "an id twice"
        for hit in hits:
            _, id, version = hit.text.rsplit(MARK, 2)
            key = hit.id, int(version)
            assert id == hit.id, f"{hit.id} has the text of {id}"
            assert hit.fields["version"] == key[1], f"{hit.id}: text {version}, field {hit.fields['version']}"
            assert self.born.get(key, 0.0) <= answered_at, f"{key} came before it was written"
            assert self.gone.get(key, FAR) >= asked_at, f"{key} was found after it had gone"


class Writer:
    """One thread's changes, until the time is over."""

    def __init__(self, collection: Collection, texts: dict[str, str], truth: Truth, until: float) -> None:
        self.collection, self.texts, self.truth, self.until = collection, texts, truth, until
        self.done: Counter[str] = Counter()
        self.version = 1

    def run(self) -> None:
        chance = random.Random(SEED + 3)
        names = list(self.texts)
        while time.monotonic() < self.until:
            some = chance.sample(names, BATCH)
            if chance.random() < 0.3:
                self._delete(some)
            else:
                self._put(some)
            if chance.random() < 0.02:
                self.done["graphs"] += self.collection.optimize(wait=False)

    def _put(self, ids: Sequence[str]) -> None:
        self.version += 1
        now = time.monotonic()
        old = {id: version for id in ids if (version := self.truth.acknowledged.get(id))}
        for id in ids:
            self.truth.born[id, self.version] = now
            self.truth.begun[id] = self.version
        self.collection.add([made(id, self.texts[id], self.version) for id in ids])
        self._ended(old)
        self.truth.acknowledged.update(dict.fromkeys(ids, self.version))
        self.done["written"] += len(ids)

    def _delete(self, ids: Sequence[str]) -> None:
        old = {id: version for id in ids if (version := self.truth.acknowledged.get(id))}
        self.collection.delete(list(ids))
        self._ended(old)
        self.truth.acknowledged.update(dict.fromkeys(ids, 0))
        self.done["deleted"] += len(old)

    def _ended(self, old: dict[str, int]) -> None:
        now = time.monotonic()
        self.truth.gone.update(dict.fromkeys(old.items(), now))


def made(id: str, text: str, version: int) -> Document:
    return Document(id, f"{text}{MARK}{id}{MARK}{version}", {"version": version})


def read(collection: Collection, asked: Sequence[str], truth: Truth, until: float, seed: int,
         seconds: list[float], failures: list[str]) -> None:
    chance = random.Random(seed)
    while time.monotonic() < until:
        query, kinds = chance.choice(asked), chance.choice(KINDS)
        begun = time.monotonic()
        try:
            hits = collection.search(query, 10, kinds=kinds)
            ended = time.monotonic()
            truth.check(hits, begun, ended)
            if not hits and kinds is None:
                raise AssertionError(f"nothing found for {query}")
        except Exception as error:              # every one counts, and the others go on
            failures.append(f"{type(error).__name__}: {error}"[:200])
            continue
        seconds.append(ended - begun)


def measure(n: int, seconds: float) -> dict[str, Any]:
    told = documents(n)
    texts = {document.id: document.text for document in told}
    asked = clips(told)
    truth = Truth(list(texts))
    latencies: dict[str, list[list[float]]] = {"writer's collection": [], "read-only": []}
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder, \
            Collection.create(Path(folder) / "c", ["bm25", lsa()]) as collection:
        collection.add([made(id, text, 1) for id, text in texts.items()])
        collection.search(asked[0])
        with Collection.open(Path(folder) / "c", read_only=True) as reader:
            reader.search(asked[0])
            until = time.monotonic() + seconds
            writer = Writer(collection, texts, truth, until)
            threads = []
            for i in range(N_READERS):
                name, where = ("writer's collection", collection) if i % 2 else ("read-only", reader)
                latencies[name].append([])
                threads.append(threading.Thread(
                    target=read, args=(where, asked, truth, until, SEED + 10 + i, latencies[name][-1], failures)))
            for thread in threads:
                thread.start()
            begun = time.monotonic()
            writer.run()
            for thread in threads:
                thread.join()
            lasted = time.monotonic() - begun
        n_stored = collection.count()
        expected = sum(version > 0 for version in truth.acknowledged.values())
        if n_stored != expected:
            failures.append(f"{n_stored:,} documents are stored, {expected:,} were acknowledged")
        n_checked = 0
        for id, version in truth.acknowledged.items():
            if version:
                n_checked += 1
                if collection.get(id).fields["version"] != version:
                    failures.append(f"{id} is not as it was acknowledged")
    return {
        "seconds": round(lasted, 1), "readers": N_READERS, "n_documents": n,
        "errors": len(failures), "first_errors": failures[:3], "checked_at_the_end": n_checked,
        "written": dict(writer.done),
        "search": {name: {"n": sum(map(len, runs)), "per_s": round(sum(map(len, runs)) / lasted, 1),
                          **(percentiles_ms([second for run in runs for second in run]) if any(runs) else {})}
                   for name, runs in latencies.items()},
        "memory_mb": memory_mb(), "peak_rss_mb": peak_rss_mb(),
    }


def main() -> None:
    reading = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reading.add_argument("seconds", nargs="?", type=float, default=300)
    reading.add_argument("--documents", type=int, default=20_000)
    chosen = reading.parse_args()
    figures = measure(chosen.documents, chosen.seconds)
    report("readers", ["qdrant-edge-py", "numpy"], **figures)
    if figures["errors"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
