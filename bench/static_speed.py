"""How fast a static table reads short texts, beside model2vec with the same table, and how fast it is loaded.

    python bench/static_speed.py [MODEL] [--n 20000]

Texts: questions of DRCD and titles of CSL, 10 to 60 letters. One thread each: the tokenizers of both are told so by
RAYON_NUM_THREADS. Repetitions alternate between the two; the vectors are compared first. Figures are of processor time
as well as of wall time, since other work on the machine slows only the second.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, data_folder, read_text, report

sys.path[:0] = [str(HERE.parent)]

from qianru.models import BOX, MINI, load  # noqa: E402
from qianru.models.static import StaticModel  # noqa: E402

REPEATS = 7


def short_texts(n: int) -> list[str]:
    """So many texts, different ones first."""
    data = data_folder() / "retrieval"
    drcd = json.loads(read_text(data / "drcd/DRCD_dev.json.gz"))["data"]
    texts = [qa["question"] for article in drcd for part in article["paragraphs"] for qa in part["qas"]]
    texts += [line.split("\t")[2] for line in read_text(data / "csl_title/dev.tsv.gz").splitlines()]
    return [texts[i % len(texts)] for i in range(n)]


def rates(ways: dict[str, Callable[[], Any]], n: int) -> dict[str, Any]:
    """Texts per second of each, turn by turn after a warm-up."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(REPEATS + 1):
        for name, work in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            if turn:
                seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: {"texts_per_cpu_s": round(n / statistics.median(cpu for cpu, _ in found)),
                   "texts_per_s": round(n / statistics.median(wall for _, wall in found)),
                   "spread": [round(n / max(cpu for cpu, _ in found)), round(n / min(cpu for cpu, _ in found))]}
            for name, found in seconds.items()}


def loading(name: str) -> dict[str, float]:
    """Milliseconds in a fresh process, after `import qianru` and the libraries that it needs are there."""
    code = ("import time, numpy, tokenizers, safetensors.numpy, qianru, qianru.models.static\n"
            "wall, cpu = time.perf_counter(), time.process_time()\n"
            f"qianru.load({name!r})\n"
            "print(time.perf_counter() - wall, time.process_time() - cpu)")
    found = [list(map(float, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                                            cwd=HERE.parent).stdout.split())) for _ in range(REPEATS)]
    return {"wall_ms": round(statistics.median(wall for wall, _ in found) * 1e3, 1),
            "cpu_ms": round(statistics.median(cpu for _, cpu in found) * 1e3, 1)}


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=MINI)
    parser.add_argument("--n", type=int, default=20_000)
    given = parser.parse_args()
    texts = short_texts(given.n)
    ours = load(given.model)
    assert isinstance(ours, StaticModel)
    folder = BOX / MINI if given.model == MINI else Path(given.model)
    import model2vec

    theirs = model2vec.StaticModel.from_pretrained(folder)
    plain = [text for text in texts if text.isascii() or load_alike(ours, text)][:200]
    difference = float(np.abs(ours.encode(plain).dense - theirs.encode(plain, max_length=None)).max())
    ways: dict[str, Callable[[], Any]] = {
        "qianru": lambda: ours.encode(texts),
        "model2vec": lambda: theirs.encode(texts, max_length=None, use_multiprocessing=False),
    }
    report("static_speed", ["numpy", "tokenizers", "model2vec"], model=given.model, dim=ours.spec.dim,
           dtype=str(ours.table.dtype), n_texts=given.n, mean_letters=round(sum(map(len, texts)) / len(texts), 1),
           difference=difference, load=loading(given.model), **rates(ways, given.n),
           size_mb=round(sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6, 2))


def load_alike(model: StaticModel, text: str) -> bool:
    """Whether the text is without Traditional characters, which only Qianru reads as Simplified ones."""
    from qianru.text.normalize import fold

    return fold(text, width=False, script=True) == text


if __name__ == "__main__":
    main()
