"""A collection of more vectors than memory: made, searched and opened again under a limit of anonymous memory.

    python bench/memory.py                                  # 3 GB of vectors, 1 GB of memory; one line of JSON
    python bench/memory.py --vectors-mb 300 --limit-mb 150 --graph

The limit (RLIMIT_DATA: heap, stacks and private writable maps, in use or not) is set in each process before it loads
the library, and holds for its children too. Pages of files that are mapped do not count: the system gives them back
when memory is short. Documents are six words out of 4,096 with random vectors of 1,024 numbers; a query is a document's
text, which must come first with a score of 1. Without --graph every search looks at all vectors.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DIM = 1_024
N_WORDS = 4_096
SEED = 20261121
N_QUERIES = 50


def word(i: int) -> str:
    """The i-th word, which no segmenter takes apart."""
    return "zq" + "".join(chr(97 + int(digit)) for digit in f"{i:04}")


def text(i: int) -> str:
    """The i-th document."""
    return " ".join(map(word, random.Random(SEED + i).sample(range(N_WORDS), 6)))


def make(folder: Path, n: int, graph: bool) -> dict[str, Any]:
    import numpy as np

    from qianru import Collection, Document
    from qianru.models.vectors import WordVectors
    from qianru.models.word_vector_model import WordVectorModel

    drawn = np.random.default_rng(SEED).standard_normal((N_WORDS, DIM), np.float32)
    model = WordVectorModel(WordVectors([word(i) for i in range(N_WORDS)], drawn))

    def documents() -> Iterator[Document]:
        return (Document(str(i), text(i)) for i in range(n))

    told: dict[str, Any] = {}
    with Collection.create(folder, model) as collection:
        begun = time.perf_counter()
        collection.add(documents())
        told["store_s"] = round(time.perf_counter() - begun, 1)
        begun = time.perf_counter()
        collection.prepare()
        told["follow_s"] = round(time.perf_counter() - begun, 1)
        if graph:
            begun = time.perf_counter()
            told["graph_built"] = collection.optimize()
            told["graph_s"] = round(time.perf_counter() - begun, 1)
        begun = time.perf_counter()
    told["close_s"] = round(time.perf_counter() - begun, 1)
    return told


def search(folder: Path, n: int) -> dict[str, Any]:
    from common import percentiles_ms

    from qianru import Collection

    begun = time.perf_counter()
    with Collection.open(folder) as collection:
        collection.search(text(0))
        opened_s = time.perf_counter() - begun
        seconds, first = [], 0
        for i in range(0, n, max(1, n // N_QUERIES)):
            begun = time.perf_counter()
            hits = collection.search(text(i), 10)
            seconds.append(time.perf_counter() - begun)
            first += hits[0].id == str(i) and abs(hits[0].score - 1) < 1e-4
        collection.add(["新的 " + text(n)])
        sizes = collection.info()["size_bytes"]
    return {"open_and_search_s": round(opened_s, 2), "queries": len(seconds), "right_comes_first": first,
            **percentiles_ms(seconds), "size_mb": {name: round(size / 1e6) for name, size in sizes.items()}}


def memory() -> dict[str, float]:
    """Of this process: the most that was resident, what of it is its own now, and what counts against the limit."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: round(int(told[key].split()[0]) / 1024) for name, key in
            (("peak_resident", "VmHWM"), ("anonymous", "RssAnon"), ("mapped_files", "RssFile"), ("counted", "VmData"))}


def limited(step: str, folder: Path, n: int, limit_mb: int, graph: bool) -> dict[str, Any]:
    """A step in a process of its own, under the limit."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--n", str(n),
               "--limit-mb", str(limit_mb), *(["--graph"] if graph else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{step} failed under {limit_mb} MB ({done.returncode}): {done.stderr.strip()[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    reading = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reading.add_argument("--vectors-mb", type=int, default=3_072)
    reading.add_argument("--limit-mb", type=int, default=1_024)
    reading.add_argument("--graph", action="store_true", help="build the graph too: minutes a gigabyte")
    for name in ("--step", "--folder"):
        reading.add_argument(name, help=argparse.SUPPRESS)
    reading.add_argument("--n", type=int, help=argparse.SUPPRESS)
    chosen = reading.parse_args()
    if chosen.step:
        resource.setrlimit(resource.RLIMIT_DATA, (chosen.limit_mb << 20, chosen.limit_mb << 20))
        folder = Path(chosen.folder)
        told = make(folder, chosen.n, chosen.graph) if chosen.step == "make" else search(folder, chosen.n)
        print(json.dumps({**told, "memory_mb": memory()}))
        return
    from common import report

    n = (chosen.vectors_mb << 20) // (4 * DIM)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "c"
        steps = {step: limited(step, folder, n, chosen.limit_mb, chosen.graph) for step in ("make", "search")}
    report("memory", ["qdrant-edge-py", "numpy"], vectors_mb=chosen.vectors_mb, limit_mb=chosen.limit_mb,
           n_documents=n, dim=DIM, **steps)


if __name__ == "__main__":
    main()
