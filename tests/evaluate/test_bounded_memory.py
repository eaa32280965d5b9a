"""What --memory promises: a process that is measured, and one that is killed and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qianru.types import Kind

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
from qianru.types import Embeddings, Ragged, SparseRows

N, QUERIES, MEMORY, KINDS = {n}, {queries}, {memory}, {kinds}
DIM, TERMS, TOKENS, TOKEN_DIM = 2048 // len(KINDS), 1000 // len(KINDS), 160 // len(KINDS), 32
LONG = "." * (200 if "multi" in KINDS else 4000)      # few large vectors in a block, and little to read
folder = Path(sys.argv[1])
draw = np.random.default_rng(0)
HIGH, LOW = draw.standard_normal((2, 256, DIM), np.float32)             # a number's vector: that of its two bytes
WORDS = np.sort(draw.permuted(np.tile(np.arange(8000), (512, 1)), axis=1)[:, :TERMS]).astype(np.int32)
WEIGHTS = draw.random((256, TERMS), np.float32)
TOKEN_HIGH, TOKEN_LOW = draw.standard_normal((2, 256, TOKENS, TOKEN_DIM), np.float32)

class Numbers:
    spec = ModelSpec("numbers", "test", KINDS, "3" * 64, DIM)
    encoded = 0
    def encode(self, texts, *, role="document", kinds=None, instruction=None, progress=None):
        numbers = np.array([int(text[1:].rstrip(".")) for text in texts])
        n = len(numbers)
        Numbers.encoded += n
        made = {{}}
        if "dense" in kinds:
            made["dense"] = HIGH[numbers >> 8] + LOW[numbers & 255]
        if "sparse" in kinds:
            weights = WEIGHTS[numbers >> 8] + WEIGHTS[numbers & 255]
            weights /= np.sqrt(np.einsum("nt,nt->n", weights, weights))[:, None]
            made["sparse"] = SparseRows(np.arange(n + 1) * TERMS, WORDS[numbers % 512].ravel(), weights.ravel(), 8000)
        if "multi" in kinds:
            tokens = TOKEN_HIGH[numbers >> 8]
            tokens += TOKEN_LOW[numbers & 255]
            tokens /= np.sqrt(np.einsum("ntd,ntd->nt", tokens, tokens))[..., None]
            made["multi"] = Ragged(tokens.reshape(-1, TOKEN_DIM), np.arange(n + 1) * TOKENS)
        return Embeddings("numbers", np.ones(n, np.int64), **made)

def private():
    # what the process holds of its own: mapped files are the system's to drop
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024

def task(place, n, queries):
    def write(name, count):
        lines = (json.dumps({{"_id": str(i), "text": f"文{{i}}{{LONG}}"}}) + "\\n" for i in range(count))
        (place / name).write_text("".join(lines))
    place.mkdir(exist_ok=True)
    if not (place / "corpus.jsonl").exists():
        write("corpus.jsonl", n)
        write("queries.jsonl", queries)
        qrels = (f"{{i}}\\t{{i}}\\t1\\n" for i in range(queries))
        (place / "qrels.tsv").write_text("qid\\tpid\\tscore\\n" + "".join(qrels))
    return Task(name="x", type="Retrieval", layout="parts", folder=place,
                files=dict(corpus="corpus.jsonl", queries="queries.jsonl", qrels="qrels.tsv"))

evaluate(Numbers(), task(folder / "small", 300, 10), How())      # what libraries take is not the search's
Numbers.encoded = 0
large = task(folder, N, QUERIES)
before = private()
peak, stop = [before], threading.Event()
def watch():
    while not stop.wait(0.02):
        peak[0] = max(peak[0], private())
threading.Thread(target=watch, daemon=True).start()
result = evaluate(Numbers(), large, How(memory_bytes=MEMORY, cache=VectorCache(folder / "cache")))
stop.set()
print(json.dumps(dict(peak=peak[0] - before, ndcg=result.main, encoded=Numbers.encoded, texts=result.n_texts)))
"""


def run(
    folder: Path, n: int, queries: int, memory: int, kinds: tuple[Kind, ...] = ("dense",)
) -> subprocess.Popen[str]:
    script = SCRIPT.format(here=str(HERE), n=n, queries=queries, memory=memory, kinds=kinds)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True,
                            env=environment, cwd=HERE.parent.parent)


def segments(folder: Path) -> list[Path]:
    return list((folder / "cache").rglob("*.safetensors"))


def told(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return json.loads(out)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize(("kinds", "n", "queries"), [
    (("dense",), 8_500, 6), (("sparse",), 8_800, 4), (("multi",), 3_400, 2), (("dense", "sparse", "multi"), 8_600, 2),
], ids=["dense", "sparse", "multi", "hybrid"])
def test_scoring_stays_within_the_memory_that_it_was_given(
    tmp_path: Path, kinds: tuple[Kind, ...], n: int, queries: int
) -> None:
    memory = 64 << 20
    said = told(run(tmp_path, n, queries, memory, kinds))
    on_disk = sum(path.stat().st_size for path in segments(tmp_path))
    assert on_disk > memory, "all vectors together would not fit"
    assert said["peak"] < memory, f"{said['peak'] / 2**20:.0f} MiB"
    assert said["ndcg"] == 1.0
    assert said["encoded"] == said["texts"] == n + queries


def test_after_a_kill_two_go_on_at_once_from_what_was_finished(tmp_path: Path) -> None:
    n = 3_000
    process = run(tmp_path, n, 50, 64 << 20)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and len(segments(tmp_path)) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(segments(tmp_path))
    assert kept >= 2
    for one in [run(tmp_path, n, 50, 64 << 20) for _ in range(2)]:
        said = told(one)
        assert said["encoded"] <= n + 50 - (kept - 1) * 498
        assert said["ndcg"] == 1.0
