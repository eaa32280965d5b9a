"""The compiled softmax says what torch's says."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the runtime needs torch: pip install 'qianru[torch]'")
pytest.importorskip("numba", reason="the compiled softmax needs numba: pip install 'qianru[fast]'")

from qianru.runtime.softmax_numba import softmax_  # noqa: E402


@pytest.mark.parametrize("length", [1, 2, 5, 16, 24, 100, 1500])
def test_softmax_is_that_of_torch_to_half_a_unit(length: int) -> None:
    scores = (torch.randn(3, 7, length, generator=torch.Generator().manual_seed(length)) * 5).bfloat16()
    exact = scores.double().softmax(-1)
    ours = softmax_(scores.clone())
    assert (ours.double() - exact).abs().div(exact + 1e-30).max() <= 2**-8      # bfloat16 has 8 digits
    assert ours.double().sum(-1).sub(1).abs().max() < 0.02


def test_softmax_of_far_scores_is_one_and_nothing() -> None:
    scores = torch.tensor([[0.0, -300.0, 1000.0], [-1000.0, -1000.0, -1e30]]).bfloat16()
    assert softmax_(scores).tolist() == [[0, 0, 1], [0.5, 0.5, 0]]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    scores = torch.randn(200, 23, generator=torch.Generator().manual_seed(1)).bfloat16()
    together = softmax_(scores.clone())
    assert all(torch.equal(together[i : i + 1], softmax_(scores[i : i + 1].clone())) for i in range(200))


def test_a_score_that_is_no_number_does_not_come_out_as_one() -> None:
    scores = torch.zeros(3, 38).bfloat16()
    scores[1, 3], scores[2] = float("nan"), float("inf")
    assert softmax_(scores).isnan().any(1).tolist() == [False, True, True]
