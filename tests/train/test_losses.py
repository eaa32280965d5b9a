"""Every loss beside a slow loop that says the same, and beside the reference library's value on the same numbers."""

from __future__ import annotations

import json
from math import exp, inf, log
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import loss_inputs as given  # noqa: E402

from qianru.errors import BadInput  # noqa: E402
from qianru.train.losses.contrastive import four_directions, info_nce, without, without_near  # noqa: E402
from qianru.train.losses.distillation import (  # noqa: E402
    embedding_distance,
    kl_divergence,
    margin_mse,
    ranked_distillation,
    soft_cross_entropy,
)
from qianru.train.losses.nested import nested  # noqa: E402
from qianru.train.losses.scored import cosent  # noqa: E402
from qianru.train.losses.three_heads import three_heads  # noqa: E402

GOLDENS = Path(__file__).parent.parent / "goldens"
Q, D = torch.tensor(given.QUERIES), torch.tensor(given.DOCUMENTS)
TARGET = torch.arange(given.B) * given.GROUP
OWN = TARGET[:, None] + torch.arange(given.GROUP)
T = given.TEMPERATURE
TEACHER = torch.tensor(given.TEACHER_SCORES)


def golden(library: str, name: str) -> float:
    return json.loads((GOLDENS / f"losses_{library}.json").read_text())["values"][name]


def log_softmax(row: list[float], i: int) -> float:
    return row[i] - log(sum(exp(x) for x in row))


# --- the right document among its candidates


def test_info_nce_is_the_mean_of_minus_log_softmax() -> None:
    scores = (Q @ D.T).numpy()
    slow = -np.mean([log_softmax(list(scores[i] / T), i * given.GROUP) for i in range(given.B)])
    assert info_nce(Q @ D.T, TARGET, T).item() == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("library", ["sentence-transformers", "FlagEmbedding"])
def test_info_nce_is_that_of_the_reference(library: str) -> None:
    assert info_nce(Q @ D.T, TARGET, T).item() == pytest.approx(golden(library, "info_nce"), abs=1e-6)


def test_a_second_copy_of_the_positive_is_no_negative() -> None:
    twice = torch.tensor([[0.9, 0.9, 0.1]], requires_grad=True)
    known = torch.tensor([[True, True, False]])
    loss = info_nce(without(twice, torch.tensor([0]), known), torch.tensor([0]), 1.0)
    assert loss.item() == pytest.approx(log(1 + exp(0.1 - 0.9)))
    loss.backward()
    assert twice.grad[0, 1] == 0
    assert torch.isfinite(twice.grad).all()


def test_a_candidate_far_above_the_positive_is_taken_for_an_unlabelled_positive() -> None:
    scores = torch.tensor([[0.5, 0.59, 0.61]])
    assert without_near(scores, torch.tensor([0]), 0.1)[0].tolist() == [0.5, pytest.approx(0.59), -inf]


def test_four_directions_is_one_softmax_over_all_pairs() -> None:
    total = 0.0
    for i in range(given.B):
        positive = given.DOCUMENTS[i * given.GROUP]
        candidates = [given.QUERIES[i] @ d for d in given.DOCUMENTS]
        candidates += [given.QUERIES[i] @ q for j, q in enumerate(given.QUERIES) if j != i]
        candidates += [positive @ q for q in given.QUERIES]
        candidates += [positive @ d for j, d in enumerate(given.DOCUMENTS) if j // given.GROUP != i]
        total -= log_softmax([score / T for score in candidates], i * given.GROUP)
    own = torch.zeros(len(Q), len(D), dtype=torch.bool).scatter(1, OWN, True)
    made = info_nce(four_directions(Q, D, TARGET, own), TARGET, T).item()
    assert made == pytest.approx(total / given.B, abs=1e-9)
    assert made == pytest.approx(golden("sentence-transformers", "four_directions"), abs=1e-6)


def test_texts_known_to_be_right_count_in_none_of_the_four_directions() -> None:
    """Queries 0 and 1 ask the same; document 0 answers both."""
    target, own = torch.tensor([0, 0]), torch.tensor([[True, False], [True, False]])
    known, alike = own.clone(), torch.ones(2, 2, dtype=torch.bool)
    finite = torch.isfinite(four_directions(Q[:2], D[:2], target, own, known, alike))
    assert finite.int().tolist() == [[1, 1, 0, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 1, 0, 1]]


# --- scored pairs


def slow_cosent(scores: np.ndarray, degrees: np.ndarray) -> float:
    total = 1.0
    for i in range(len(scores)):
        for j in range(len(scores)):
            if degrees[i] > degrees[j]:
                total += exp(20 * (scores[j] - scores[i]))
    return log(total)


def test_cosent_is_the_sum_over_all_pairs_in_the_wrong_order() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 2, 7, 40):
        scores, degrees = rng.uniform(-1, 1, n), rng.integers(0, 6, n).astype(float)
        made = cosent(torch.tensor(scores), torch.tensor(degrees)).item()
        assert made == pytest.approx(slow_cosent(scores, degrees), abs=1e-9)


def test_cosent_is_that_of_the_reference() -> None:
    scores = (Q * D[:: given.GROUP]).sum(1)
    made = cosent(scores, torch.tensor(given.DEGREES)).item()
    assert made == pytest.approx(golden("sentence-transformers", "cosent"), abs=1e-6)


def test_gradients_of_cosent_are_those_of_the_sum_over_all_pairs() -> None:
    degrees = torch.tensor(given.DEGREES)
    fast = torch.tensor(given.drawn(9, given.B), requires_grad=True)
    slow = fast.detach().clone().requires_grad_()
    cosent(fast, degrees).backward()
    wrong = (20 * (slow[None, :] - slow[:, None]))[degrees[:, None] > degrees[None, :]]
    torch.cat([torch.zeros(1, dtype=wrong.dtype), wrong]).logsumexp(0).backward()
    torch.testing.assert_close(fast.grad, slow.grad)


def test_cosent_of_pairs_alike_in_degree_is_nought_with_no_gradient() -> None:
    scores = torch.tensor([0.3, 0.2], requires_grad=True)
    cosent(scores, torch.tensor([1.0, 1.0])).backward()
    assert scores.grad.tolist() == [0, 0]


# --- a teacher


def test_kl_divergence_is_the_sum_of_p_log_p_over_q() -> None:
    own = (Q @ D.T).gather(1, OWN)
    slow = 0.0
    for student, teacher in zip((own / T).numpy(), (TEACHER / T).numpy(), strict=True):
        for i in range(given.GROUP):
            aim = log_softmax(list(teacher), i)
            slow += exp(aim) * (aim - log_softmax(list(student), i))
    assert kl_divergence(own, TEACHER, T).item() == pytest.approx(slow / given.B * T**2, abs=1e-9)


def test_kl_divergence_is_that_of_the_reference() -> None:
    made = kl_divergence((Q @ D.T).gather(1, OWN), TEACHER, T).item()
    assert made == pytest.approx(golden("sentence-transformers", "kl_divergence"), abs=1e-6)


def test_soft_cross_entropy_beside_info_nce_is_that_of_the_reference() -> None:
    scores = Q @ D.T
    made = soft_cross_entropy(scores.gather(1, OWN) / T, TEACHER.softmax(1)) + info_nce(scores, TARGET, T)
    assert made.item() == pytest.approx(golden("FlagEmbedding", "soft_and_info_nce"), abs=1e-6)


def test_ranked_distillation_leaves_out_better_candidates_one_by_one() -> None:
    scores, slow = (Q @ D.T / T).numpy(), 0.0
    for i in range(given.B):
        row, weights = list(scores[i]), TEACHER.softmax(1)[i].tolist()
        for g, weight in enumerate(weights):
            better = [i * given.GROUP + k for k in range(g)]
            left = [x for c, x in enumerate(row) if c not in better]
            slow -= weight * log_softmax(left, i * given.GROUP)   # after g are gone, the next stands in its place
    made = ranked_distillation(Q @ D.T, OWN, TEACHER, T).item()
    assert made == pytest.approx(slow / given.B, abs=1e-9)
    assert made == pytest.approx(golden("FlagEmbedding", "ranked_distillation"), abs=1e-6)


def test_margin_mse_is_that_of_a_loop_and_of_the_reference() -> None:
    own = (Q @ D.T).gather(1, OWN)
    slow = np.mean([((own[i, 0] - own[i, j]) - (TEACHER[i, 0] - TEACHER[i, j])).item() ** 2
                    for i in range(given.B) for j in range(1, given.GROUP)])
    made = margin_mse(own, TEACHER).item()
    assert made == pytest.approx(slow, abs=1e-9)
    assert made == pytest.approx(golden("sentence-transformers", "margin_mse"), abs=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "mse", "l2"])
def test_embedding_distances_are_those_of_the_reference(distance: str) -> None:
    made = embedding_distance(Q, torch.tensor(given.TEACHER_VECTORS), distance).item()   # type: ignore[arg-type]
    assert made == pytest.approx(golden("sentence-transformers", f"embedding_{distance}"), abs=1e-6)


# --- Matryoshka


def in_batch(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    return info_nce(queries @ documents.T, TARGET, T)


def test_a_nested_loss_is_the_weighted_sum_over_shortened_vectors() -> None:
    made = nested(in_batch, (Q, D), given.DIMS, [1.0] * 3).item()
    slow = 0.0
    for dim in given.DIMS:
        q, d = given.unit(given.QUERIES[:, :dim]), given.unit(given.DOCUMENTS[:, :dim])
        slow -= np.mean([log_softmax(list(q[i] @ d.T / T), i * given.GROUP) for i in range(given.B)])
    assert made == pytest.approx(slow, abs=1e-8)
    assert made == pytest.approx(golden("sentence-transformers", "nested"), abs=1e-6)
    assert nested(in_batch, (Q, D), given.DIMS).item() == pytest.approx(slow / 3, abs=1e-8)


def test_nested_dimensions_beyond_the_model_are_refused() -> None:
    with pytest.raises(BadInput, match=r"between 1 and the model's 8; they are \[16, 8\]"):
        nested(in_batch, (Q, D), [16, 8])


# --- three heads


def similarities() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sparse = torch.tensor(given.TERMS_Q @ given.TERMS_D.T)
    multi = torch.tensor([[np.mean([max(t @ s for s in d) for t in q]) for d in given.TOKENS_D]
                          for q in given.TOKENS_Q])
    return Q @ D.T, sparse, multi


@pytest.mark.parametrize("self_distil", [False, True])
def test_three_heads_is_that_of_a_loop_and_of_the_reference(self_distil: bool) -> None:
    dense, sparse, multi = (s.numpy() / T for s in similarities())
    ensemble = dense + 0.3 * sparse + multi
    rows, aims = range(given.B), [i * given.GROUP for i in range(given.B)]

    def right(scores: np.ndarray) -> float:
        return -np.mean([log_softmax(list(scores[i]), aims[i]) for i in rows])

    def taught(scores: np.ndarray) -> float:
        return -np.mean([sum(exp(log_softmax(list(ensemble[i]), c)) * log_softmax(list(scores[i]), c)
                             for c in range(len(D))) for i in rows])

    slow = (right(dense) + right(ensemble) + 0.1 * right(sparse) + right(multi)) / 4
    if self_distil:
        slow = (slow + (taught(dense) + 0.1 * taught(sparse) + taught(multi)) / 3) / 2
    made = three_heads(*similarities(), TARGET, T, self_distil=self_distil).item()
    assert made == pytest.approx(slow, abs=1e-8)
    name = "three_heads_distilled" if self_distil else "three_heads"
    assert made == pytest.approx(golden("FlagEmbedding", name), abs=1e-6)


def test_a_hidden_candidate_does_not_spoil_self_distillation() -> None:
    scores = [torch.tensor([[0.5, -inf, 0.2]], requires_grad=True) for _ in range(3)]
    three_heads(*scores, torch.tensor([0])).backward()
    assert all(torch.isfinite(s.grad).all() for s in scores)


# --- precision


def test_scores_in_half_precision_are_summed_in_float32() -> None:
    half = (Q @ D.T).bfloat16()
    assert info_nce(half, TARGET, T).item() == pytest.approx(info_nce(half.float(), TARGET, T).item(), abs=1e-6)
    assert info_nce(half, TARGET, T).dtype == torch.float32
