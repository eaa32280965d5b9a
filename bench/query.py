"""One short query by transformer models: Qianru beside its rivals, each in a process of its own, as users run them.

    python bench/query.py --keep FOLDER [--shapes base,small,minilm] [--threads 1,2] [--only qianru,openvino]

In one process the engines' threads take the cores from one another (with CTranslate2 loaded beside it, Qianru's queries
on two threads take 1.3 to 1.7 times as long), so each engine is started afresh, all of them in turns (A B C A B C ...).
Every process asks 5 times, then 60 times that count; medians over all. One line of JSON for each shape and number of
threads. FOLDER holds the checkpoints and converted models of bench/encode.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import data_folder, percentiles_ms, report
from encode import PACKAGES, Job, checkpoint, chinese, english, entrants, installed, say

from qianru.models.transformer import Transformer
from qianru.runtime.options import Runtime

QUERIES = {"minilm": "how do I find my card at the bank"}
QUERY = "怎样找回银行卡密码"   # 11 tokens; the English one has 10
WARM_UP, COUNTED = 5, 60


def job_of(shape: str, n_threads: int, keep: Path) -> Job:
    """As bench/encode.py has it."""
    data = data_folder()
    folder = checkpoint(shape, keep, data)
    tokenizer = Transformer.load(folder, Runtime("float32")).tokenizer
    texts = (english if shape == "minilm" else chinese)(data, 1088)
    return Job(folder, keep / f"{shape}-converted", tokenizer, texts[-64:], n_threads)


def asked(shape: str, n_threads: int, name: str, keep: Path) -> dict[str, list[float]]:
    """Seconds of each query, and of the processor for it, by that engine in this process."""
    torch.set_num_threads(n_threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    job = job_of(shape, n_threads, keep)
    encode, _ = next(load() for known, _, load in entrants(job, name, {}) if known == name)
    query = QUERIES.get(shape, QUERY)
    found: dict[str, list[float]] = {"wall": [], "work": []}
    for i in range(WARM_UP + COUNTED):
        start, used = time.perf_counter(), time.process_time()
        encode([query])
        if i >= WARM_UP:
            found["wall"].append(time.perf_counter() - start)
            found["work"].append(time.process_time() - used)
    return found


def measure(shape: str, n_threads: int, options: argparse.Namespace) -> None:
    """Prints the line of one shape."""
    left_out: dict[str, str] = {}
    names = [name for name, *_ in entrants(job_of(shape, n_threads, options.keep), options.only, left_out)]
    found: dict[str, dict[str, list[float]]] = {name: {"wall": [], "work": []} for name in names}
    for _ in range(options.rounds):
        for name in [name for name in names if name not in left_out]:
            child = [sys.executable, __file__, "--keep", str(options.keep), "--child", shape, str(n_threads), name]
            done = subprocess.run(child, capture_output=True, text=True)
            if done.returncode:
                left_out[name] = (done.stderr.strip().splitlines() or ["?"])[-1][:300]
                continue
            for kind, seconds in json.loads(done.stdout.splitlines()[-1]).items():
                found[name][kind] += seconds
            say(f"{shape}, {n_threads} threads, {name}: {percentiles_ms(found[name]['wall'])}")
    versions = [package for package in ("torch", "tokenizers", "numba", *PACKAGES) if installed(package)]
    rows: dict[str, Any] = {name: {"one_query": percentiles_ms(kinds["wall"]),
                                   "one_query_work": percentiles_ms(kinds["work"])}
                            for name, kinds in found.items() if name not in left_out}
    report("query", versions, shape=shape, threads=n_threads, load_average=round(os.getloadavg()[0], 2), rows=rows,
           left_out=left_out)


def main() -> None:
    """Measures everything that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="base,small,minilm")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--only", default="", help="parts of names, with commas: qianru,openvino")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--keep", type=Path, required=True, help="folder for checkpoints and converted models")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        shape, n_threads, name = options.child
        print(json.dumps(asked(shape, int(n_threads), name, options.keep)))
        return
    for shape in options.shapes.split(","):
        for n_threads in options.threads.split(","):
            measure(shape, int(n_threads), options)


if __name__ == "__main__":
    main()
