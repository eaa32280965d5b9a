"""A collection may be larger than memory: its vectors lie in mapped files, which are no process's own.

bench/memory.py makes and searches 3 GB of vectors under a limit of 1 GB.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qianru.index.collection import Collection
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.types import Document

DIM = 1_024
FEW, MANY = 1_000, 9_000        # 4 and 37 MB of vectors
SEARCHING = """
import re, sys
from pathlib import Path
from qianru import Collection
with Collection.open(sys.argv[1]) as collection:
    for text in sys.argv[2:]:
        assert collection.search(text, 3)[0].text == text
    print(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def words(i: int) -> str:
    """Three words of 64, which say what i is."""
    return " ".join(f"zq{place}" + "".join(chr(97 + int(digit)) for digit in f"{i // 64**power % 64:02}")
                    for power, place in enumerate("abc"))


def own_memory_mb(folder: Path, model: WordVectorModel, n: int) -> float:
    """Of a process that opens and searches a collection of n documents."""
    with Collection.create(folder, model) as collection:
        collection.add([Document(str(i), words(i)) for i in range(n)])
        collection.prepare()
    done = subprocess.run([sys.executable, "-c", SEARCHING, str(folder), words(7), words(n - 1)],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells memory of its own apart")
def test_searching_takes_no_more_memory_where_there_are_more_vectors(tmp_path: Path) -> None:
    vocabulary = sorted({word for i in range(MANY) for word in words(i).split()})
    drawn = np.random.default_rng(0).standard_normal((len(vocabulary), DIM), np.float32)
    model = WordVectorModel(WordVectors(vocabulary, drawn))
    few, many = (own_memory_mb(tmp_path / str(n), model, n) for n in (FEW, MANY))
    assert many - few < (MANY - FEW) * DIM * 4 / 2**20 / 4
