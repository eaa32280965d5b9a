"""Poems and articles of law as documents, with clips of others as queries, and a dense and a sparse model for them.

Half are poems and half articles, by turns, each text once, streamed out of the two archives of the data. The dense
model is LSA of 256 axes over characters and pairs of them, fitted on 20,000 of the documents: real topics, real near
copies (laws of many provinces say the same), no two runs different. Sparse: BM25 as collections use it.

Texts and vectors are kept in a folder (QIANRU_BENCH_CACHE, else one in the system's temporary place), since the
benchmarks share them.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder

from qianru import Document
from qianru.models.lsa import LSA
from qianru.text.analyze import Analyzer
from qianru.types import FloatArray

N = 200_000
DIM = 256
FITTED_ON = 20_000
N_QUERIES = 1_000
SEED = 20261121
LONGEST = 400                                   # characters; longer articles are left to chunking
ARTICLE = re.compile(r"^第[一二三四五六七八九十百千零]+条", re.MULTILINE)


def cache() -> Path:
    """The folder of what is kept between runs."""
    folder = Path(os.environ.get("QIANRU_BENCH_CACHE", Path(tempfile.gettempdir()) / "qianru-bench"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _members(name: str, ending: str) -> Iterator[tuple[str, str]]:
    with tarfile.open(data_folder() / "train" / "text" / name, "r|xz") as packed:
        for member in packed:
            handle = packed.extractfile(member) if member.name.endswith(ending) else None
            if handle is not None:
                yield member.name, handle.read().decode("utf-8", "replace")


def poems() -> Iterator[tuple[str, str]]:
    """(title, text) of each poem."""
    for _, told in _members("chinese_poetry.tar.xz", ".json"):
        try:
            said = json.loads(told)
        except ValueError:
            continue
        for poem in said if isinstance(said, list) else []:
            if isinstance(poem, dict) and isinstance(poem.get("paragraphs"), list):
                title = poem.get("title") or poem.get("rhythmic") or ""
                yield str(title), "".join(map(str, poem["paragraphs"])).strip()


def articles() -> Iterator[tuple[str, str]]:
    """(law, text) of each article of law."""
    for name, told in _members("laws_md.tar.xz", ".md"):
        law = name.rpartition("/")[2].removesuffix(".md")
        starts = [match.start() for match in ARTICLE.finditer(told)]
        for start, end in pairwise([*starts, len(told)]):
            text = told[start:end].partition("\n#")[0]
            yield law, re.sub(r"\s+", " ", text.partition(" ")[2] or text).strip()


def documents(n: int = N) -> list[Document]:
    """The first n of N documents in an order by lot, with fields source, title and share (0 to 99, by lot)."""
    kept = cache() / "documents.json"
    if not kept.exists():
        seen: set[str] = set()

        def new(told: Iterator[tuple[str, str]], source: str) -> Iterator[tuple[str, str, str]]:
            for title, text in told:
                if 12 <= len(text) <= LONGEST and text not in seen:
                    seen.add(text)
                    yield source, title, text

        both = zip(new(articles(), "law"), new(poems(), "poem"), strict=False)
        rows = list(islice(chain.from_iterable(both), N))
        if len(rows) < N:
            sys.exit(f"The data holds {len(rows):,} such documents, not {N:,}.")
        random.Random(SEED).shuffle(rows)
        _write(kept, json.dumps(rows, ensure_ascii=False).encode())
    chance = random.Random(SEED + 1)
    return [Document(str(i), text, {"source": source, "title": title, "share": chance.randrange(100)})
            for i, (source, title, text) in enumerate(json.loads(kept.read_bytes())[:n])]


def clips(told: list[Document], n: int = N_QUERIES) -> list[str]:
    """n clips of 8 to 30 characters out of the documents, as somebody remembers a passage."""
    chance = random.Random(SEED + 2)
    found = []
    while len(found) < n:
        text, length = chance.choice(told).text, chance.randint(8, 30)
        start = chance.randrange(max(1, len(text) - length))
        found.append(text[start : start + length])
    return found


def lsa() -> LSA:
    """The dense model, fitted on the first documents."""
    kept = cache() / f"lsa-{DIM}"
    if not kept.exists():
        model = LSA(DIM, Analyzer(unit="char", ngrams=(1, 2), fold_script=True), min_df=5, max_features=20_000,
                    sublinear_tf=True)
        model.fit(document.text for document in documents(FITTED_ON))
        model.save(kept)
    return LSA.load(kept)


def vectors(n: int = N) -> tuple[FloatArray, FloatArray]:
    """(n, 256) of the documents and (1000, 256) of the clips; float32, of length 1."""
    kept = cache() / f"vectors-{DIM}-{n}.npz"
    if not kept.exists():
        told = documents(n)
        model = lsa()
        made: dict[str, Any] = {}
        for name, texts in (("documents", [document.text for document in told]), ("queries", clips(told))):
            dense = model.encode(texts).dense
            assert dense is not None
            made[name] = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-12)
        part = kept.with_suffix(".part.npz")
        np.savez(part, **made)
        part.replace(kept)
    with np.load(kept) as file:
        return file["documents"], file["queries"]


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


if __name__ == "__main__":
    n_documents = int(sys.argv[1]) if len(sys.argv) > 1 else N
    made = vectors(n_documents)
    print(json.dumps({"documents": made[0].shape, "queries": made[1].shape, "folder": str(cache())}))
