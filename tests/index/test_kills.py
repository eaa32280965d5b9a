"""kill -9 at any moment of deleting, optimising, changing over, pushing, compacting: nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from qdrant_server import QdrantServer
from servers import serving

from qianru.index.address import Address, address_of
from qianru.index.cluster_home import ClusterHome
from qianru.index.cluster_link import Link
from qianru.index.collection import Collection
from qianru.index.home import DATABASE
from qianru.index.push import push
from qianru.models.bm25 import BM25
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import SEARCH
from qianru.types import Document

N, DIM = 400, 16
MOST_LINES = {"add": 60, "delete": 60, "optimise": 80, "switch": 120, "push": 80, "push to a server": 80, "compact": 40}
LONGEST_S = 0.15        # after the last of these lines
BEGIN = """
import sys, threading
from pathlib import Path
from qianru import Collection, Document
from qianru.index import engine, push_ends, reembed
engine.GRAPH_ABOVE_KB = 10
reembed.DOCUMENTS_AT_ONCE = 20
push_ends.AT_ONCE = 40
path, there = sys.argv[1:]

def say(what):
    sys.stdout.write(what + "\\n")
    sys.stdout.flush()

def add(*ids):
    for id in ids:
        say("?" + id)
    collection.add([Document(id, f"词{len(id)} 黄河 {id}") for id in ids])
    for id in ids:
        say("+" + id)

def delete(id):
    say("?" + id)
    collection.delete(id)
    say("-" + id)

def change():
    for i in range(10_000):
        add(f"新{i}")
        if i % 2:
            delete(f"新{i}")

collection = Collection.open(path)
say("begun")
"""
PUSH = """
from qianru.index.push import place_for, push
for i in range(10_000):
    say("begins")
    with place_for(collection, there) as target:
        push(collection, target, progress=lambda what: lambda done, total: say(f"{what} {done}"))
    say("pushed")
    add(*(f"推{i}-{j}" for j in range(10)))
    delete(f"推{i}-0")
"""
JOBS = {
    "add": """
for i in range(10_000):
    add(*(f"新{i}-{j}" for j in range(5)))
    if i % 5 == 0:
        collection.search("黄河")
""",
    "delete": """
for i, document in enumerate(collection.documents(limit=10_000)):
    delete(document.id)
    if i % 5 == 0:
        collection.search("黄河")
""",
    "optimise": """
threading.Thread(target=change, daemon=True).start()
while True:
    say("begins")
    collection.optimize()
    say("optimised")
    with collection.entered():      # the other thread waits
        collection._follow().rebuild()
""",
    "switch": """
threading.Thread(target=change, daemon=True).start()
names = [str(Path(there) / name) for name in ("bm25", "dense", "other")]
say("begins")
if "reembedding" in collection.info():
    collection.reembed()
    say("switched")
while True:
    for given in (names[:2], names[2:], [names[0], names[2]]):
        say("begins")
        collection.reembed(given)
        say("switched")
""",
    "push": PUSH,
    "push to a server": PUSH,
    "compact": """
threading.Thread(target=change, daemon=True).start()
while True:
    say("begins")
    collection.compact()
    say("compacted")
""",
}


def models(folder: Path) -> tuple[BM25, WordVectorModel]:
    """Saves the models that a collection goes over to, and gives those that it begins with."""
    words = [f"词{i}" for i in range(N)]
    made: list[WordVectorModel] = []
    for seed, name in enumerate(("dense", "other")):
        vectors = np.random.default_rng(seed).standard_normal((N, DIM)).astype(np.float32)
        made.append(WordVectorModel(WordVectors(words, vectors)))
        made[-1].save(folder / name)
    bm25 = BM25(SEARCH, query_stop_lists=("zh", "en"))
    bm25.save(folder / "bm25")
    return bm25, made[0]


def killed(job: str, path: Path, there: str, chance: random.Random) -> list[str]:
    """What a process had said when it was killed: at a random line and moment, whatever the machine's speed."""
    command = [sys.executable, "-c", BEGIN + JOBS[job], str(path), there]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n", process.stderr.read()
        said = [process.stdout.readline() for _ in range(chance.randrange(MOST_LINES[job]))]
        time.sleep(chance.random() * LONGEST_S)
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
        assert "Error" not in (errors := process.stderr.read()), errors
    return [line.rstrip("\n") for line in said if line.endswith("\n")]


def run(job: str, tmp_path: Path, times: int) -> dict[str, int]:
    """How often each thing was acknowledged; after every kill all of that is there, and the collection is clean."""
    chance = random.Random(f"20261121 {job}")
    folder = tmp_path / "models"
    texts = [Document(f"d{i}", f"词{i} 词{i * 7 % N} 黄河" + " 明月" * (i % 4), {"n": i}) for i in range(N)]
    with Collection.create(tmp_path / "c", list(models(folder))) as collection:
        collection.add(texts)
    counts = dict.fromkeys(("+", "-", "begins", "optimised", "switched", "pushed", "compacted"), 0)
    stored = {document.id for document in texts}
    with places(job, tmp_path) as there:
        for i in range(times):
            said = killed(job, tmp_path / "c", there(i), chance)
            last: dict[str, str] = {}          # of each document that was changed, the last that was said
            for line in said:
                what = line if line in counts else line[0]
                counts[what] = counts.get(what, 0) + 1
                if line[0] in "?+-":
                    last[line[1:]] = line[0]
            with Collection.open(tmp_path / "c") as collection:
                found = {document.id for document in collection.documents(limit=100_000)}
                for id in found ^ stored:
                    assert last.get(id) == "?" or (last.get(id) == "+") == (id in found), (id, last.get(id))
                assert not [id for id, what in last.items() if what == ("-" if id in found else "+")]
                checked = collection.check()
                assert checked.clean, checked
                if "sparse" in collection.info()["kinds"]:
                    assert {hit.id for hit in collection.search("黄河", 100_000, kinds=["sparse"])} == found
                if job.startswith("push"):
                    check_target(there(i), collection, pushed(said, stored), finish=bool(i % 2))
                collection.delete(sorted(found - stored))
                collection.add(texts)
    return counts


@contextmanager
def places(job: str, tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Where kill i finds what it is told of: models, or where to push; each place is pushed to by two processes."""
    if job != "push to a server":
        yield lambda i: str(tmp_path / (f"there{i // 2}" if job == "push" else "models"))
        return
    with serving(QdrantServer().handler()) as url:      # lives on where a process that pushes is killed
        yield lambda i: url.replace("http://", "qdrant://") + f"/推{i // 2}"


def pushed(said: Sequence[str], stored: set[str]) -> set[str]:
    """The documents that were there when a push was last acknowledged; none if none was."""
    there, here = set[str](), set(stored)
    for line in said:
        if line == "pushed":
            there |= here
        elif line[0] == "+":
            here.add(line[1:])
        elif line[0] == "-":
            here.discard(line[1:])
    return there


def check_target(there: str, source: Collection, acknowledged: set[str], *, finish: bool) -> None:
    """What was acknowledged is there, every document is as it was here, and the next push goes on from it.

    finish: whether that push is made, which reads all back and compares
    """
    if not is_made(there):
        assert not acknowledged
        return
    with Collection.open(there) as target:
        found = {document.id: document.text for document in target.documents(limit=100_000)}
        assert acknowledged <= found.keys()
        texts = {document.id: document.text for document in source.documents(limit=100_000)}
        assert {id: text for id, text in found.items() if id in texts} == {id: texts[id] for id in found & texts.keys()}
        if address_of(there) is None:
            assert target.check().clean
        if finish:
            done = push(source, target)
            assert done.copied == len(texts.keys() - found.keys())
            assert done.verified == len(texts)
            assert target.rebuild() == target.count()
            hits = [{hit.id for hit in at.search("黄河", 100_000, kinds=["sparse"])} for at in (source, target)]
            assert hits[0] <= hits[1]


def is_made(there: str) -> bool:
    """Whether there is a collection yet, in a folder or on a server."""
    url = address_of(there)
    if url is None:
        return (Path(there) / DATABASE).exists()
    address = Address.parse(url)
    return ClusterHome(Link.to(address.base), address.name).is_complete()


@pytest.mark.parametrize("job", [job for job in JOBS if job != "compact"])
def test_nothing_is_lost_to_a_kill(job: str, tmp_path: Path) -> None:
    run(job, tmp_path, times=2)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_nothing_is_lost_to_50_kills(job: str, tmp_path: Path) -> None:
    counts = run(job, tmp_path, times=50)
    print(job, counts)
    assert counts
