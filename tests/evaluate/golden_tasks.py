"""The tasks and the model that tools/record_mteb_goldens.py ran mteb on: both sides take their texts from here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np

from qianru.evaluate.task import Task, read_task
from qianru.models.base import ModelSpec, as_texts
from qianru.types import Embeddings, FloatArray, Kind, Progress, Role

HERE = Path(__file__).parent.parent / "tasks"
DIM = 256


def hashed(texts: Sequence[str]) -> FloatArray:
    """(n, 256) sums over the characters and pairs of characters of each text, each with a weight by its hash.

    With plain counts, pairs of texts would have equal cosines but for their rounding, and then even mteb's average
    precision differs between its two ways to compute a cosine (0.6304 and 0.6309 on BUSTM).
    """
    vectors = np.zeros((len(texts), DIM), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        padded = f" {text} "
        for n in (1, 2):
            for i in range(len(padded) - n + 1):
                digest = crc32(padded[i : i + n].encode())
                row[digest % DIM] += ((digest >> 8) % 2001 - 1000) / 1000
    return vectors


class Hashed:
    """`hashed` as a model."""

    spec = ModelSpec("hashed", "hashed", ("dense",), "0" * 64, DIM)

    def encode(self, texts: Iterable[str], *, role: Role = "document", kinds: Sequence[Kind] | None = None,
               instruction: str | None = None, progress: Progress | None = None) -> Embeddings:
        """The texts' vectors."""
        listed = as_texts(texts)
        return Embeddings("hashed", np.array([len(text) for text in listed], np.int64), dense=hashed(listed))


def _task(name: str) -> Task:
    return read_task(HERE / f"{name}.toml")


TASKS = (
    _task("STSB-zh"),
    replace(_task("AFQMC-dev"), max_rows=1500),
    _task("BUSTM"),
    replace(_task("CSL-ctg"), samples_per_label=8, draws=3),
    replace(_task("EPRSTMT"), samples_per_label=8),
    replace(_task("CSL-clusters"), draws=3, draw_size=300),
    replace(_task("CSL-clusters"), name="CSL-sets", draws=0, max_rows=400),
    _task("CMRC2018"),
    _task("QBQTC-rerank"),
    replace(_task("STSB-zh"), name="STSB-mining", type="BitextMining", main_score="f1", max_rows=600),
    replace(_task("Tatoeba-zh"), max_rows=300),
)
MINILM_TASKS = (replace(_task("STSB-en"), max_rows=300),
                replace(_task("Banking77"), max_rows=800, every=2, samples_per_label=4, draws=2))
