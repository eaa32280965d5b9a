"""Scores on held-out examples, worked by hand and held against scipy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qianru.errors import BadInput
from qianru.train.data.sets import DataConfig, DataSet
from qianru.train.heldout import HeldOut, hold_out, spearman
from qianru.types import Embeddings


class Table:
    """Vectors of two numbers by the text."""

    def __init__(self, **vectors: tuple[float, float]) -> None:
        self.vectors = vectors

    def encode(self, texts: Sequence[str], **options: Any) -> Embeddings:
        return Embeddings("table", np.ones(len(texts), np.int64), 0,
                          np.array([self.vectors[text] for text in texts], np.float32))


def held_out(path: Path, text: str) -> HeldOut:
    path.write_text(text, "utf-8")
    return HeldOut(DataSet(DataConfig(str(path))))


def test_ndcg_and_mrr_are_of_each_query_among_all_documents(tmp_path: Path) -> None:
    """甲's answer 一 is second behind 二; 乙's answers 二 and 三 are first and third."""
    judge = held_out(tmp_path / "dev.jsonl", '{"query": "甲", "pos": ["一"]}\n{"query": "乙", "pos": ["二", "三"]}\n')
    model: Any = Table(甲=(1, 0.2), 乙=(1, 0), 一=(1, 0.5), 二=(1, 0.1), 三=(0, 1))
    first, second = (1 / log2(3)) / 1, (1 + 1 / log2(4)) / (1 + 1 / log2(3))
    assert judge(model) == pytest.approx({"ndcg@10": (first + second) / 2, "mrr@10": (1 / 2 + 1) / 2})


def test_spearman_is_scipys_with_ties_too() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 6, 30).astype(float), rng.integers(0, 6, 30).astype(float)
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert spearman(np.ones(3), np.arange(3.0)) == 0


def test_scored_pairs_are_correlated(tmp_path: Path) -> None:
    judge = held_out(tmp_path / "dev.tsv", "text1\ttext2\tscore\n甲\t乙\t5\n甲\t丙\t1\n甲\t丁\t3\n")
    model: Any = Table(甲=(1, 0), 乙=(1, 0), 丙=(0, 1), 丁=(1, 1))
    assert judge(model) == {"spearman": pytest.approx(1.0)}


def test_plain_texts_are_no_held_out_set(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds plain texts"):
        held_out(tmp_path / "a.csv", "text\n甲\n")


def rows(path: Path, n: int) -> DataSet:
    lines = (json.dumps({"query": f"问{i % (n // 2)}", "pos": [f"答{i}"]}, ensure_ascii=False) for i in range(n))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return DataSet(DataConfig(str(path)))


def test_a_share_is_held_out_and_no_query_stands_on_both_sides(tmp_path: Path) -> None:
    data = rows(tmp_path / "a.jsonl", 400)
    rest, held = data.split(0.2)
    queries = [{part[i].query for i in range(len(part))} for part in (rest, held)]   # type: ignore[union-attr]
    assert not queries[0] & queries[1]
    assert len(queries[0] | queries[1]) == 200
    assert 50 <= len(held) <= 110
    assert len(rest) + len(held) == len(data) == 400
    assert len(rest.n_chars) == len(rest)


def test_several_sets_are_judged_by_their_mean(tmp_path: Path) -> None:
    sets = [rows(tmp_path / "a.jsonl", 40), rows(tmp_path / "b.jsonl", 40)]
    rest, judge = hold_out(sets, 0.3)
    held = [data.split(0.3)[1] for data in sets]

    class One:
        def encode(self, texts: Sequence[str], **options: Any) -> Embeddings:
            return Embeddings("one", np.ones(len(texts), np.int64), 0, np.ones((len(texts), 2), np.float32))

    model: Any = One()
    scores = judge(model)
    each = [HeldOut(part)(model)["ndcg@10"] for part in held]
    assert scores["mean"] == pytest.approx(np.mean(each))
    assert list(scores) == ["mean", "a.jsonl ndcg@10", "a.jsonl mrr@10", "b.jsonl ndcg@10", "b.jsonl mrr@10"]
    assert [len(part) for part in rest] == [40 - len(part) for part in held]
    with pytest.raises(BadInput, match="leaves 0 rows to judge by"):
        hold_out(sets, 1e-9)
