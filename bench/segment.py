"""Segmentation beside jieba on four kinds of real text: characters a second, and lines cut otherwise.

    python bench/segment.py
"""

from __future__ import annotations

import csv
import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path

import jieba
import rjieba
from common import data_folder, read_text, report, timed

from qianru.text.analyze import Analyzer
from qianru.text.segment import segmenter


def corpora(data: Path) -> dict[str, list[str]]:
    """Name -> lines that hold something."""
    code = [line for path in sorted((data / "articles/民法典").glob("*.md")) for line in read_text(path).splitlines()]
    titles = read_text(data / "train/text/tnews_unlabeled.json.gz").splitlines()
    with gzip.open(data / "classification/waimai_10k.csv.gz", "rt", encoding="utf-8") as reviews:
        found = {
            "西游记": read_text(data / "articles/西游记.txt").splitlines(),
            "民法典": code,
            "tnews titles": [json.loads(line)["sentence"] for line in titles],
            "waimai reviews": [row["review"] for row in csv.DictReader(reviews)],
        }
    return {name: [line for line in lines if line.strip()] for name, lines in found.items()}


def words(tokens: list[str]) -> list[str]:
    """The tokens that hold a letter, digit or Han character: what an Analyzer keeps."""
    return [token for token in tokens if any(sign.isalnum() for sign in token)]


def unlike(one: list[list[str]], other: list[list[str]]) -> int:
    """How many lines are cut otherwise."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def main() -> None:
    """Prints one line of JSON."""
    jieba.setLogLevel(logging.ERROR)
    jieba.initialize()
    plain, rust = segmenter(), rjieba.Jieba()
    options = {
        "analyzer": Analyzer(),
        "analyzer_search": Analyzer(mode="search"),
        "analyzer_fold_script": Analyzer(fold_script=True),
        "analyzer_nothing_folded": Analyzer(fold_width=False, lowercase=False),
    }
    figures = {}
    for name, lines in corpora(data_folder()).items():
        ways: dict[str, Callable[[str], object]] = {"jieba": jieba.lcut, "rjieba": rust.cut}
        ways |= {way: analyzer.tokens for way, analyzer in options.items()}
        size = sum(map(len, lines))
        taken = {way: timed(lambda cut=cut, lines=lines: [cut(line) for line in lines]) for way, cut in ways.items()}
        cuts = [words(jieba.lcut(line)) for line in lines]
        searched = [words(jieba.lcut_for_search(line)) for line in lines]
        figures[name] = {
            "characters": size,
            "lines": len(lines),
            "characters_per_s": {way: round(size / t["median_s"]) for way, t in taken.items()},
            "spread": {way: round((t["max_s"] - t["min_s"]) / t["median_s"], 2) for way, t in taken.items()},
            "unlike_jieba": unlike(cuts, [plain.words(line) for line in lines]),
            "unlike_jieba_rjieba_alone": unlike(cuts, [words(rust.cut(line)) for line in lines]),
            "unlike_jieba_search": unlike(searched, [plain.words(line, search=True) for line in lines]),
        }
    report("segment", ["qianru", "rjieba", "jieba"], runs=5, figures=figures)


if __name__ == "__main__":
    main()
