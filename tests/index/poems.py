"""Four poems, and BM25 by a model that has just been fitted."""

from __future__ import annotations

import numpy as np

from qianru.models.bm25 import BM25
from qianru.text.analyze import SEARCH
from qianru.types import Document

POEMS = [
    Document("静夜思", "床前明月光，疑是地上霜。举头望明月，低头思故乡。", {"poet": "李白", "lines": 4}),
    Document("春晓", "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。", {"poet": "孟浩然", "lines": 4}),
    Document("登鹳雀楼", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", {"poet": "王之涣", "lines": 4}),
    Document("将进酒", "君不见黄河之水天上来，奔流到海不复回。", {"poet": "李白", "lines": 2}),
]


def bm25_by_hand(texts: dict[str, str], query: str, model: BM25 | None = None) -> dict[str, float]:
    """BM25 (Lucene's if no model is given) over the texts by a model that has just been fitted."""
    model = (model or BM25(SEARCH, query_stop_lists=("zh", "en"))).fit(texts.values())
    documents = model.encode(texts.values()).sparse
    asked = model.encode([query], role="query").sparse
    assert documents is not None
    assert asked is not None
    width = max(documents.width, asked.width)
    q = np.zeros(width)
    terms, weights = asked.row(0)
    q[terms] = weights
    return {id: float(w @ q[t]) for id, (t, w) in zip(texts, documents, strict=True) if float(w @ q[t]) > 0}
