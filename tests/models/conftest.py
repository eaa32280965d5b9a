"""Every model family, fitted, in one place: a new family is one line here and passes the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qianru.models.bm25 import BM25
from qianru.models.lexical import Counts, TfIdf
from qianru.models.lsa import LSA
from qianru.text.analyze import Analyzer

CORPUS = [
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "我不爱吃蔬菜，我喜欢吃肉。",
    "我不爱吃肉，我爱吃蔬菜。",
    "明月几时有，把酒问青天。",
    "不知天上宫阙，今夕是何年。",
    "An embedding is a list of numbers that stands for a text.",
    "Texts that mean the same have embeddings that lie close together.",
    "向量检索把文字变成数字，再找最近的邻居。",
    "明月松间照，清泉石上流。",
]

FAMILIES: dict[str, Callable[[], Any]] = {
    "counts": lambda: Counts().fit(CORPUS),
    "binary counts": lambda: Counts(binary=True).fit(CORPUS),
    "character 1-3-grams": lambda: Counts(Analyzer(unit="char", ngrams=(1, 3))).fit(CORPUS),
    "tfidf": lambda: TfIdf(sublinear_tf=True).fit(CORPUS),
    "word 1-2-gram tfidf": lambda: TfIdf(Analyzer(ngrams=(1, 2)), norm=None).fit(CORPUS),
    "lsa": lambda: LSA(4).fit(CORPUS),
    "bm25": lambda: BM25().fit(CORPUS),
    "bm25+": lambda: BM25(variant="bm25+", k1=1.2, b=0.5, delta=0.5).fit(CORPUS),
    "empty bm25": BM25,
}
"""name -> a fitted model, small enough to be made for every test."""


@pytest.fixture(scope="session", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    """Each family in turn; not to be changed by a test."""
    return FAMILIES[request.param]()
