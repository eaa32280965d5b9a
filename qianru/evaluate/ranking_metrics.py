"""What a ranking is worth, by the rules of trec_eval and mteb, for all queries at once.

Documents of equal score stand in descending order of their ids. Grades are gains as they are; from 1 a document is
relevant. nDCG discounts by log2(1 + rank) and is held against the best order of all that were judged.
Source: trec_eval 9's m_ndcg_cut, m_map_cut, m_recall, m_P, m_success; mteb's mrr.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qianru.errors import ShapeMismatch
from qianru.types import IntArray

CUTS = (1, 3, 5, 10, 20, 100, 1000)
AT_ONCE = 1 << 20       # places that are looked at together: 8 MB an array


def ranking_metrics(
    found: IntArray, judged: Sequence[IntArray], cuts: Sequence[int] = CUTS
) -> dict[str, NDArray[np.float64]]:
    """name -> (q,) values: ndcg_at_k, map_at_k, recall_at_k, precision_at_k, mrr_at_k and hit_rate_at_k of each query.

    found: (q, m) grades of what was found, best first; 0 for documents without one and for places that are empty
    judged: for each query the grades of all documents that have one

    >>> one = ranking_metrics(np.array([[0, 2, 1]]), [np.array([2, 1, 1])], [3])
    >>> {name: round(float(value[0]), 4) for name, value in one.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'ndcg_at_3': 0.5627, 'map_at_3': 0.3889, 'recall_at_3': 0.6667, 'precision_at_3': 0.6667, 'mrr_at_3': 0.5,
     'hit_rate_at_3': 1.0}
    """
    if len(found) != len(judged):
        raise ShapeMismatch(f"{len(found)} rankings need as many judgments, not {len(judged)}.")
    step = max(1, AT_ONCE // max(found.shape[1], 1))
    parts = [_metrics(found[i : i + step], judged[i : i + step], cuts) for i in range(0, max(len(found), 1), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def means(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """name -> mean over the queries; "accuracy" is recall_at_1, as mteb has it."""
    mean = {name: float(each.mean()) for name, each in values.items()}
    if "recall_at_1" in mean:
        mean["accuracy"] = mean["recall_at_1"]
    return mean


def _metrics(found: IntArray, judged: Sequence[IntArray], cuts: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    gains = np.maximum(found, 0).astype(np.float64)                      # (q, m)
    hits = gains > 0
    depth = found.shape[1]
    ranks = np.arange(1, depth + 1)
    n_relevant = np.array([np.count_nonzero(grades > 0) for grades in judged], np.int64)
    at_least_one = np.maximum(n_relevant, 1)
    gained = np.cumsum(gains / np.log2(ranks + 1), axis=1)
    n_hits = np.cumsum(hits, axis=1)
    precisions = np.cumsum(np.where(hits, n_hits / ranks, 0.0), axis=1)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.iinfo(np.int64).max)
    values: dict[str, NDArray[np.float64]] = {}
    for k in cuts:
        last = min(k, depth) - 1
        ideal = _ideal(judged, k)
        none = np.zeros(len(found))
        dcg, in_all, summed = (
            (none, none, none) if last < 0 else (gained[:, last], n_hits[:, last], precisions[:, last])
        )
        values |= {
            f"ndcg_at_{k}": np.divide(dcg, ideal, out=np.zeros(len(found)), where=ideal > 0),
            f"map_at_{k}": summed / at_least_one,
            f"recall_at_{k}": in_all / at_least_one,
            f"precision_at_{k}": in_all / k,
            f"mrr_at_{k}": np.where(first <= k, 1 / first, 0.0),
            f"hit_rate_at_{k}": (first <= k).astype(np.float64),
        }
    return values


def _ideal(judged: Sequence[IntArray], k: int) -> NDArray[np.float64]:
    """(q,) DCG at k of the best order."""
    best = np.zeros(len(judged))
    for i, grades in enumerate(judged):
        top = -np.sort(-np.maximum(grades, 0))[:k]
        best[i] = (top / np.log2(np.arange(2, len(top) + 2))).sum()
    return best
