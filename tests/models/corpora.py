"""Real texts of five kinds, cut for speed."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path


def _rows(path: Path, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode()), delimiter=delimiter))


def _reviews(data: Path) -> list[str]:
    return [row[1] for row in _rows(data / "classification/waimai_10k.csv.gz", ",")[1:2001]]


def _titles(data: Path) -> list[str]:
    lines = (data / "classification/fewclue_tnews/test_public.json").read_text("utf-8").splitlines()
    return [json.loads(line)["sentence"] for line in lines[:2000]]


def _abstracts(data: Path) -> list[str]:
    return [row[1] for row in _rows(data / "retrieval/csl_title/dev.tsv.gz", "\t")[:500]]


def _statutes(data: Path) -> list[str]:
    text = (data / "articles/民法典/合同编.md").read_text("utf-8")
    return [line for line in text.splitlines() if line.strip()][:800]


def _questions(data: Path) -> list[str]:
    return [row[0] for row in _rows(data / "classification/banking77_en/train.csv.gz", ",")[1:2001]]


CORPORA: dict[str, Callable[[Path], list[str]]] = {
    "waimai reviews": _reviews,
    "tnews titles": _titles,
    "csl abstracts": _abstracts,
    "civil code": _statutes,
    "banking77": _questions,
}
