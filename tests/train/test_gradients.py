"""Packed, cached and cut into parts, a batch has the gradient of the plain padded pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from loss_inputs import POEMS  # noqa: E402
from plain_bert import mean_vectors  # noqa: E402

from qianru.errors import BadInput  # noqa: E402
from qianru.train.data.batches import PlainBatch, RankedBatch, ScoredBatch, rank  # noqa: E402
from qianru.train.data.examples import Ranked  # noqa: E402
from qianru.train.gradients import backward  # noqa: E402
from qianru.train.losses.contrastive import info_nce, without  # noqa: E402
from qianru.train.losses.three_heads import three_heads  # noqa: E402
from qianru.train.objective import LossConfig, loss_of, texts_of  # noqa: E402
from qianru.train.vectors import Forward, tokenized  # noqa: E402

BATCH = rank([Ranked(POEMS[0], (POEMS[1],), (POEMS[4],)), Ranked(POEMS[2], (POEMS[3], POEMS[6])),
              Ranked(POEMS[5], (POEMS[7],), (POEMS[0],))], 1, np.random.default_rng(0))
SCORED = ScoredBatch(POEMS[:4], POEMS[4:], np.array([0.0, 3, 1, 3]))
TAUGHT = rank([Ranked(POEMS[0], (POEMS[1],), (POEMS[4], POEMS[3]), (3.0, 1.0, 0.5)),
               Ranked(POEMS[2], (POEMS[3],), (POEMS[1], POEMS[7]), (2.0, 1.0, 0.0))], 2, np.random.default_rng(0))


def gradients(network: Any, run: Callable[[], float]) -> tuple[float, dict[str, Any]]:
    """(loss, parameter -> its gradient)."""
    network.zero_grad(set_to_none=True)
    loss = run()
    return loss, {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def packed(model: Any, batch: Any, config: LossConfig, memory_tokens: int = 1 << 20, *, heads: bool = False) -> Any:
    forward = Forward(model.network, "cpu", model.tokenizer.special_ids(), heads=heads)
    queries, documents = (tokenized(model, texts, "") for texts in texts_of(batch))
    return gradients(model.network, lambda: backward(
        forward, queries, documents, lambda q, d: loss_of(config, batch, q, d, 0), memory_tokens=memory_tokens))


def assert_same(one: tuple[float, dict[str, Any]], other: tuple[float, dict[str, Any]], atol: float = 1e-5) -> None:
    assert one[0] == pytest.approx(other[0], abs=atol)
    assert set(one[1]) == set(other[1])
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-4, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def test_the_packed_pass_has_the_gradient_of_the_padded_one(model: Any) -> None:
    def padded() -> float:
        sides = [mean_vectors(model.network.backbone, model.tokenizer.rows(texts).rows)
                 for texts in (BATCH.queries, BATCH.documents)]
        queries, documents = (torch.nn.functional.normalize(side, dim=-1) for side in sides)
        target, known = torch.from_numpy(BATCH.target), torch.from_numpy(BATCH.known)
        loss = info_nce(without(queries @ documents.T, target, known), target, 0.05)
        loss.backward()
        return loss.item()

    assert_same(packed(model, BATCH, LossConfig(temperature=0.05)), gradients(model.network, padded))


CONFIGS = {
    "info_nce": (BATCH, LossConfig(temperature=0.1, near_margin=0.3)),
    "four_directions": (BATCH, LossConfig("four_directions", temperature=0.1)),
    "nested": (BATCH, LossConfig(temperature=0.1, nested_dims=(32, 8))),
    "cosent": (SCORED, LossConfig()),
    "kl": (TAUGHT, LossConfig(temperature=0.1)),
    "ranked": (TAUGHT, LossConfig(temperature=0.1, teacher="ranked")),
    "margin": (TAUGHT, LossConfig(temperature=0.1, teacher="margin")),
    "simcse": (PlainBatch(POEMS), LossConfig(temperature=0.1)),
}


@pytest.mark.parametrize(("batch", "config"), CONFIGS.values(), ids=CONFIGS)
def test_two_passes_have_the_gradient_of_one(batch: Any, config: LossConfig, model: Any) -> None:
    model.network.train()
    assert_same(packed(model, batch, config), packed(model, batch, config, memory_tokens=12))


@pytest.mark.parametrize(("batch", "config"), CONFIGS.values(), ids=CONFIGS)
def test_similarities_of_two_queries_at_a_time_have_the_gradient_of_all(
    batch: Any, config: LossConfig, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packed(model, batch, config)
    monkeypatch.setattr("qianru.train.losses.by_rows.AT_ONCE", 2 * len(texts_of(batch)[1]))
    assert_same(packed(model, batch, config), whole, atol=1e-6)


@pytest.mark.parametrize("memory_tokens", [1 << 20, 12], ids=["one pass", "two passes"])
def test_in_bfloat16_the_gradient_points_the_same_way(memory_tokens: int, model: Any) -> None:
    exact = packed(model, BATCH, LossConfig(temperature=0.1))[1]
    forward = Forward(model.network, "cpu", model.tokenizer.special_ids(), bfloat16=True)
    queries, documents = (tokenized(model, texts, "") for texts in texts_of(BATCH))
    _, rounded = gradients(model.network, lambda: backward(
        forward, queries, documents, lambda q, d: loss_of(LossConfig(temperature=0.1), BATCH, q, d, 0),
        memory_tokens=memory_tokens))
    one, other = (torch.cat([grads[name].flatten() for name in exact]) for grads in (exact, rounded))
    assert other.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.995


def test_dropout_falls_alike_in_both_passes(model: Any) -> None:
    """So that the second pass goes through the very numbers of the first, and the random numbers after it agree."""
    for layer in model.network.backbone.layers:
        layer.out.dropout = layer.down.dropout = 0.3
    model.network.train()
    config, made = LossConfig(temperature=0.1), []
    whole = sum(len(row) for texts in texts_of(PlainBatch(POEMS)) for row in model.tokenizer.rows(texts).rows)
    forward = Forward(model.network, "cpu", model.tokenizer.special_ids())
    rows = tokenized(model, POEMS, "")
    for memory_tokens in (whole, whole - 1):     # one pass over one packed batch each side, or two passes over the same
        torch.manual_seed(5)
        made.append(gradients(model.network, lambda m=memory_tokens: backward(
            forward, rows, rows, lambda q, d: loss_of(config, PlainBatch(POEMS), q, d, 0), memory_tokens=m)))
        made[-1][1]["random"] = torch.rand(3)
    assert_same(*made)


def test_a_share_of_the_gradient_is_that_share(model: Any) -> None:
    forward = Forward(model.network, "cpu", model.tokenizer.special_ids())
    queries, documents = (tokenized(model, texts, "") for texts in texts_of(SCORED))

    def run(*shares: float) -> Any:
        return gradients(model.network, lambda: max([backward(
            forward, queries, documents, lambda q, d: loss_of(LossConfig(), SCORED, q, d, 0), memory_tokens=99, share=s)
            for s in shares]))

    assert_same(run(1.0), run(0.5, 0.5))


def slow_heads(model: Any, batch: RankedBatch) -> Any:
    """Text by text, pair by pair."""
    network, tokenizer = model.network, model.tokenizer
    unused = set(tokenizer.special_ids().tolist())

    def vectors(text: str) -> Any:
        row = tokenizer.rows([text]).rows
        states = network.backbone(Forward(network, "cpu", tokenizer.special_ids()).packed(
            tokenized(model, [text], ""), 99)[0][0])
        weights = network.heads["sparse_linear"](states).relu()[:, 0]
        terms: dict[int, Any] = {}
        for i, token in enumerate(row[0].tolist()):
            if token not in unused and (token not in terms or weights[i] > terms[token]):
                terms[token] = weights[i]
        tokens = torch.nn.functional.normalize(network.heads["colbert_linear"](states[1:]), dim=-1)
        return torch.nn.functional.normalize(states[0], dim=0), terms, tokens

    queries, documents = ([vectors(text) for text in texts] for texts in texts_of(batch))
    dense = torch.stack([torch.stack([q[0] @ d[0] for d in documents]) for q in queries])
    sparse = torch.stack([torch.stack([sum((w * d[1][t] for t, w in q[1].items() if t in d[1]), torch.tensor(0.0))
                                       for d in documents]) for q in queries])
    multi = torch.stack([torch.stack([(q[2] @ d[2].T).amax(1).mean() for d in documents]) for q in queries])
    return dense, sparse, multi


def test_three_heads_have_the_similarities_and_gradients_of_a_slow_loop(m3: Any) -> None:
    target, known = torch.from_numpy(BATCH.target), torch.from_numpy(BATCH.known)

    def slow() -> float:
        scores = (without(s, target, known) for s in slow_heads(m3, BATCH))
        loss = three_heads(*scores, target, 0.1)
        loss.backward()
        return loss.item()

    expected = gradients(m3.network, slow)
    config = LossConfig("three_heads", temperature=0.1)
    assert_same(packed(m3, BATCH, config, heads=True), expected)
    assert_same(packed(m3, BATCH, config, memory_tokens=20, heads=True), expected)


def test_three_heads_score_texts_as_encode_does(m3: Any) -> None:
    from qianru.scores.by_kind import kind_scores

    forward = Forward(m3.network, "cpu", m3.tokenizer.special_ids(), heads=True)
    from qianru.train.similarity import multi_similarities, sparse_similarities

    queries, documents = (forward.vectors(tokenized(m3, texts, ""), 20) for texts in texts_of(BATCH))
    expected = kind_scores(m3.encode(BATCH.queries, role="query"), m3.encode(BATCH.documents))
    np.testing.assert_allclose(sparse_similarities(queries, documents).detach(), expected["sparse"], atol=1e-5)
    np.testing.assert_allclose(multi_similarities(queries, documents).detach(), expected["multi"], atol=1e-5)


def test_a_model_without_heads_says_so(model: Any) -> None:
    with pytest.raises(BadInput, match="no sparse and multi heads"):
        Forward(model.network, "cpu", model.tokenizer.special_ids(), heads=True)


def test_a_text_without_tokens_is_told(model: Any) -> None:
    with pytest.raises(BadInput, match="has no token"):
        tokenized(model, ["床", "\u200b"], "")
