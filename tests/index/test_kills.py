"""kill -9 at any moment of deleting, optimising, changing over, pushing, compacting: nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qianru.index.collection import Collection
from qianru.models.bm25 import BM25
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import SEARCH
from qianru.types import Document

N, DIM = 400, 16
MOST_LINES = {"add": 60, "delete": 60, "optimise": 80, "switch": 120, "push": 12, "compact": 40}
LONGEST_S = 0.15        # after the last of these lines
BEGIN = """
import sys, threading
from pathlib import Path
from qianru import Collection, Document
from qianru.index import engine, reembed
engine.GRAPH_ABOVE_KB = 10
reembed.DOCUMENTS_AT_ONCE = 20
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
    "push": """
from qianru.index.push import place_for, push
while True:
    say("begins")
    with place_for(collection, there) as target:
        push(collection, target)
    say("pushed")
    add("推")
    delete("推")
""",
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


def killed(job: str, path: Path, there: Path, chance: random.Random) -> list[str]:
    """What a process had said when it was killed: at a random line and moment, whatever the machine's speed."""
    command = [sys.executable, "-c", BEGIN + JOBS[job], str(path), str(there)]
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
    there = tmp_path / "there" if job == "push" else folder
    texts = [Document(f"d{i}", f"词{i} 词{i * 7 % N} 黄河" + " 明月" * (i % 4), {"n": i}) for i in range(N)]
    with Collection.create(tmp_path / "c", list(models(folder))) as collection:
        collection.add(texts)
    counts = dict.fromkeys(("+", "-", "begins", "optimised", "switched", "pushed", "compacted"), 0)
    stored = {document.id for document in texts}
    for _ in range(times):
        said = killed(job, tmp_path / "c", there, chance)
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
            if job == "push":
                check_target(there, collection)
            collection.delete(sorted(found - {document.id for document in texts}))
            collection.add(texts)
        stored = {document.id for document in texts}
    return counts


def check_target(there: Path, source: Collection) -> None:
    """What a push has copied before it was killed is clean, and of documents as they were here."""
    if not (there / "collection.sqlite").exists():
        return
    with Collection.open(there) as target:
        assert target.check().clean
        texts = {document.id: document.text for document in source.documents(limit=100_000)}
        for document in target.documents(limit=100_000):
            assert texts.get(document.id, document.text) == document.text


@pytest.mark.parametrize("job", [job for job in JOBS if job != "compact"])
def test_nothing_is_lost_to_a_kill(job: str, tmp_path: Path) -> None:
    run(job, tmp_path, times=2)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_nothing_is_lost_to_50_kills(job: str, tmp_path: Path) -> None:
    counts = run(job, tmp_path, times=50)
    print(job, counts)
    assert counts
