"""Scores by kind and their weighted means, against FlagEmbedding's and by hand; what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import TEXTS, build, tiny  # noqa: E402

from qianru.errors import BadInput  # noqa: E402
from qianru.models.matching import explain_match, score_pairs  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402

GOLDENS = Path(__file__).parent.parent / "goldens" / "encoders.npz"
PAIRS = [(TEXTS[7], TEXTS[3]), (TEXTS[0], TEXTS[6]), (TEXTS[2], TEXTS[2])]      # as tools/record_goldens.py has them


@pytest.fixture(scope="module")
def m3(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    """A small BGE-M3."""
    return Transformer.load(build("bge-m3", tmp_path_factory.mktemp("m3"), data), Runtime(precision="float32"))


@pytest.fixture(scope="module")
def goldens() -> Any:
    """What FlagEmbedding made."""
    return np.load(GOLDENS)


def test_every_score_of_a_pair_is_flag_embeddings(m3: Transformer, goldens: Any) -> None:
    score, parts = score_pairs(m3, PAIRS, {"dense": 0.4, "sparse": 0.2, "multi": 0.4})
    for kind, name in (("dense", "dense"), ("sparse", "sparse"), ("multi", "colbert")):
        assert_allclose(parts[kind], goldens[f"bge-m3/score/{name}"], rtol=1e-5)
    assert_allclose(score, goldens["bge-m3/score/colbert+sparse+dense"], rtol=1e-5)


def test_without_weights_all_kinds_count_alike(m3: Transformer) -> None:
    score, parts = score_pairs(m3, PAIRS)
    assert_allclose(score, (parts["dense"] + parts["sparse"] + parts["multi"]) / 3, rtol=1e-6)


def test_the_parts_of_an_explanation_add_up_to_its_scores(m3: Transformer) -> None:
    match = explain_match(m3, "床前明月光", "举头望明月，低头思故乡", {"dense": 1, "multi": 3})
    assert_allclose(sum(token.gain for token in match.shared), match.scores["sparse"], rtol=1e-5)
    assert_allclose(np.mean([token.score for token in match.aligned]), match.scores["multi"], rtol=1e-5)
    assert match.score == pytest.approx((match.scores["dense"] + 3 * match.scores["multi"]) / 4)
    assert [token.gain for token in match.shared] == sorted((token.gain for token in match.shared), reverse=True)


def test_a_text_against_itself_aligns_every_token_with_itself(m3: Transformer) -> None:
    match = explain_match(m3, "What is BGE M3?", "What is BGE M3?")
    assert match.aligned
    assert all(token.query_token == token.document_token for token in match.aligned)
    assert_allclose([token.score for token in match.aligned], 1, atol=1e-5)
    assert match.aligned[-1].query_token == "</s>"     # the end has a vector, the beginning has none
    assert all(token.query_weight == token.document_weight for token in match.shared)


def test_an_empty_text_matches_nothing_and_explains_nothing(m3: Transformer) -> None:
    match = explain_match(m3, "", "床前明月光")
    assert set(match.scores.values()) == {0.0}
    assert match.shared == match.aligned == ()


def test_a_model_of_dense_vectors_scores_by_them_and_cannot_explain(tmp_path: Path) -> None:
    model = Transformer.load(tiny(tmp_path / "tiny"), Runtime(precision="float32", normalize=True))
    score, parts = score_pairs(model, [("床前", "床前")])
    assert list(parts) == ["dense"]
    assert_allclose(score, 1, atol=1e-6)
    with pytest.raises(BadInput, match="no token can be told"):
        explain_match(model, "床前", "明月")
    with pytest.raises(BadInput, match="There are no sparse scores to weigh, only dense"):
        score_pairs(model, [("床前", "明月")], {"sparse": 1})


def test_an_altered_model_shares_weights_and_is_another_model(m3: Transformer) -> None:
    short = m3.altered(max_tokens=6, truncate_dim=8)
    assert short.network is m3.network
    assert (short.spec.max_tokens, short.spec.dim) == (6, 8)
    assert short.spec.fingerprint != m3.spec.fingerprint
    made, whole = short.encode(TEXTS[7:]), m3.encode(TEXTS[7:])
    assert (made.n_truncated, whole.n_truncated) == (1, 0)
    assert_allclose(np.linalg.norm(made.dense, axis=1), 1, atol=1e-6)
    assert m3.altered().spec == m3.spec
    with pytest.raises(BadInput, match="reads at most 512 tokens, fewer than max_tokens=513"):
        m3.altered(max_tokens=513)
    with pytest.raises(BadInput, match="makes 32 dimensions, fewer than truncate_dim=33"):
        m3.altered(truncate_dim=33)
