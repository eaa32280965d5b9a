"""What --memory promises: a process that is measured, and one that is killed and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPT = """
import json, sys, threading, time
from pathlib import Path
import numpy as np
sys.path.insert(0, {here!r})
from qianru.evaluate.run import How, evaluate
from qianru.evaluate.task import Task
from qianru.evaluate.vector_cache import VectorCache
from qianru.models.base import ModelSpec
from qianru.types import Embeddings

N, QUERIES, DIM, MEMORY = {n}, {queries}, 512, {memory}
folder = Path(sys.argv[1])

class Numbers:
    spec = ModelSpec("numbers", "test", ("dense",), "3" * 64, DIM)
    encoded = 0
    def encode(self, texts, *, role="document", kinds=None, instruction=None, progress=None):
        texts = list(texts)
        Numbers.encoded += len(texts)
        with (folder / "encoded").open("a") as log:
            log.write(f"{{len(texts)}}\\n")
        vectors = np.stack([np.random.default_rng(int(t[1:])).standard_normal(DIM, np.float32) for t in texts])
        return Embeddings("numbers", np.ones(len(texts), np.int64), dense=vectors)

def private():
    # what the process holds of its own: mapped files are the system's to drop
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024

(folder / "corpus.jsonl").exists() or (folder / "corpus.jsonl").write_text(
    "".join(json.dumps({{"_id": str(i), "text": f"文{{i}}"}}) + "\\n" for i in range(N)))
(folder / "queries.jsonl").write_text(
    "".join(json.dumps({{"_id": str(i), "text": f"文{{i}}"}}) + "\\n" for i in range(QUERIES)))
(folder / "qrels.tsv").write_text("qid\\tpid\\tscore\\n" + "".join(f"{{i}}\\t{{i}}\\t1\\n" for i in range(QUERIES)))
task = Task(name="x", type="Retrieval", layout="parts", folder=folder,
            files=dict(corpus="corpus.jsonl", queries="queries.jsonl", qrels="qrels.tsv"))
before = private()
peak, stop = [before], threading.Event()
def watch():
    while not stop.wait(0.05):
        peak[0] = max(peak[0], private())
threading.Thread(target=watch, daemon=True).start()
result = evaluate(Numbers(), task, How(memory_bytes=MEMORY, cache=VectorCache(folder / "cache")))
stop.set()
print(json.dumps(dict(peak=peak[0] - before, ndcg=result.main, encoded=Numbers.encoded, texts=result.n_texts)))
"""


def run(folder: Path, n: int, queries: int, memory: int) -> subprocess.Popen[str]:
    script = SCRIPT.format(here=str(HERE), n=n, queries=queries, memory=memory)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True,
                            env=environment, cwd=HERE.parent.parent)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of memory")
def test_scoring_stays_within_the_memory_that_it_was_given(tmp_path: Path) -> None:
    n, queries, memory = 36_000, 150, 64 << 20
    out, _ = run(tmp_path, n, queries, memory).communicate(timeout=200)
    said = json.loads(out)
    assert n * 512 * 4 > memory, "all vectors together would not fit"
    assert said["peak"] < memory, f"{said['peak'] / 2**20:.0f} MiB"
    assert said["ndcg"] == 1.0
    assert said["encoded"] == said["texts"] == n + queries


def test_what_was_finished_before_a_kill_is_not_done_again(tmp_path: Path) -> None:
    n = 12_000
    process = run(tmp_path, n, 50, 64 << 20)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list((tmp_path / "cache").rglob("*.safetensors"))) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(list((tmp_path / "cache").rglob("*.safetensors")))
    assert kept >= 2
    said = json.loads(run(tmp_path, n, 50, 64 << 20).communicate(timeout=100)[0])
    assert said["encoded"] <= n + 50 - (kept - 1) * 4096
    assert said["ndcg"] == 1.0
