"""Metrics of rankings against pytrec_eval, which runs trec_eval's own code, and against mteb's rule for MRR."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import pytrec_eval
from numpy.testing import assert_allclose

from qianru.evaluate.ranking_metrics import CUTS, means, ranking_metrics
from qianru.evaluate.search import Ids

Run = Mapping[str, Mapping[str, float]]
NAMES = {"ndcg_cut": "ndcg", "map_cut": "map", "recall": "recall", "P": "precision", "success": "hit_rate"}


def ours(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, np.ndarray]:
    """Ranked as trec_eval ranks: by score, then by the higher id."""
    depth = max(CUTS)
    found = np.zeros((len(qrels), depth), np.int64)
    for row, query in zip(found, qrels, strict=True):
        ranked = sorted(run[query], key=lambda document: (run[query][document], document), reverse=True)[:depth]
        row[: len(ranked)] = [qrels[query].get(document, 0) for document in ranked]
    return ranking_metrics(found, [np.array(list(grades.values())) for grades in qrels.values()])


def theirs(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> Mapping[str, Mapping[str, float]]:
    cuts = ",".join(map(str, CUTS))
    judge = pytrec_eval.RelevanceEvaluator(qrels, {f"{name}.{cuts}" for name in NAMES})
    return judge.evaluate(run)     # type: ignore[no-any-return]


@pytest.mark.parametrize("levels", [4, 40, 10_000], ids=["many ties", "some ties", "hardly any"])
def test_all_metrics_are_those_of_trec_eval(levels: int) -> None:
    rng = np.random.default_rng(levels)
    documents = [f"{word}{i}" for i, word in enumerate(rng.choice(["文", "d", "doc-", "9"], 1500))]
    run, qrels = {}, {}
    for query in map(str, range(40)):
        n = int(rng.integers(1, 1300))
        chosen = rng.choice(documents, n, replace=False).tolist()
        run[query] = dict(zip(chosen, (rng.integers(0, levels, n) / 8).tolist(), strict=True))
        judged = rng.choice(documents, int(rng.integers(1, 60)), replace=False).tolist()
        qrels[query] = dict(zip(judged, rng.integers(0, 4, len(judged)).tolist(), strict=True))
    found, wanted = ours(run, qrels), theirs(run, qrels)
    for name, called in NAMES.items():
        for k in CUTS:
            values = [wanted[query][f"{name}_{k}"] for query in qrels]
            assert_allclose(found[f"{called}_at_{k}"], values, atol=1e-6, err_msg=f"{name}_{k}")


def test_reciprocal_rank_counts_the_first_relevant_document_within_the_cut() -> None:
    found = ranking_metrics(np.array([[0, 0, 1, 2]]), [np.array([1, 2])], [1, 3])
    assert found["mrr_at_1"].tolist() == [0.0]
    assert_allclose(found["mrr_at_3"], [1 / 3])


def test_a_query_without_a_relevant_document_counts_as_nothing() -> None:
    found = ranking_metrics(np.array([[0, 0]]), [np.array([0, 0])], [10])
    assert all(value.tolist() == [0.0] for value in found.values())


def test_a_query_that_finds_nothing_counts_as_nothing() -> None:
    found = means(ranking_metrics(np.array([[1, 0], [0, 0]]), [np.array([1]), np.array([1])], [1]))
    assert found["ndcg_at_1"] == 0.5
    assert found["accuracy"] == 0.5


def test_numbers_of_documents_run_against_the_order_of_their_ids() -> None:
    ids = Ids.of(lambda: iter([("a", ""), ("文10", ""), ("文2", ""), ("b", "")]))
    names = sorted(["a", "b", "文10", "文2"], reverse=True)
    assert ids.numbers(names).tolist() == [0, 1, 2, 3]
    assert [ids.name(i) for i in range(4)] == names
    assert ids.numbers(["c", "文"]).tolist() == [-1, -1]
