"""Texts are packed end to end, and no text sees another."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="the runtime needs torch: pip install 'qianru[torch]'")

from qianru.runtime.attention import attend  # noqa: E402
from qianru.runtime.packing import pack, plan  # noqa: E402

lengths_of_texts = st.lists(st.integers(1, 40), max_size=30)


@given(lengths=lengths_of_texts, budget=st.integers(1, 100))
def test_a_plan_holds_every_row_once_longest_first_and_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan(np.array(lengths, np.int64), budget)
    flat = [row for batch in batches for row in batch.tolist()]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[row] for row in flat] == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[row] for row in batch) <= budget
    for one, following in pairwise(batches):
        assert sum(lengths[row] for row in one) + lengths[following[0]] > budget   # no batch could have been fuller


@given(lengths=lengths_of_texts)
def test_packed_tokens_are_the_rows_end_to_end(lengths: list[int]) -> None:
    rows = [np.arange(length) + 100 * i for i, length in enumerate(sorted(lengths, reverse=True))]
    batch = pack(rows)
    assert len(batch) == len(rows)
    assert_array_equal(batch.ids.numpy(), np.concatenate([np.zeros(0, np.int64), *rows]))
    places = [np.arange(len(row)) for row in rows]
    assert_array_equal(batch.positions.numpy(), np.concatenate([np.zeros(0, np.int64), *places]))
    assert [group.length for group in batch.groups] == sorted(set(lengths), reverse=True)
    covered = [batch.ids[group.tokens].view(group.n, group.length) for group in batch.groups]
    assert_array_equal(np.concatenate([np.zeros(0), *(part.numpy().ravel() for part in covered)]), batch.ids.numpy())
    assert batch.ids[batch.first].tolist() == [row[0] for row in rows]
    assert batch.ids[batch.last].tolist() == [row[-1] for row in rows]


def slow_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, causal: bool) -> np.ndarray:
    """(length, heads, d), said as plainly as can be."""
    made = np.zeros_like(query)
    shared = query.shape[1] // key.shape[1]
    for head in range(query.shape[1]):
        for i in range(len(query)):
            seen = range(i + 1 if causal else len(query))
            scores = np.array([query[i, head] @ key[j, head // shared] for j in seen]) / np.sqrt(query.shape[2])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            made[i, head] = sum(w * value[j, head // shared] for w, j in zip(weights, seen, strict=True))
    return made


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n_key_heads", [4, 2, 1])
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_attention_is_that_of_each_text_alone(causal: bool, n_key_heads: int, lengths: list[int], seed: int) -> None:
    lengths = sorted(lengths, reverse=True)
    batch = pack([np.arange(length) for length in lengths])
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((sum(lengths), 4, 8)).astype(np.float32)
    key, value = (rng.standard_normal((sum(lengths), n_key_heads, 8)).astype(np.float32) for _ in range(2))
    mixed = attend(*map(torch.from_numpy, (query, key, value)), batch, causal=causal).numpy()
    for start, end in pairwise(batch.offsets):
        expected = slow_attention(query[start:end], key[start:end], value[start:end], causal)
        assert_allclose(mixed[start:end], expected.reshape(end - start, -1), atol=1e-5)


@pytest.mark.parametrize("length", [1, 30, 1024, 1025])
def test_attention_in_bfloat16_stays_close_whatever_the_length(length: int) -> None:
    batch = pack([np.arange(length), np.arange(length)])
    states = torch.randn(3, 2 * length, 2, 16)
    exact = attend(*states, batch)
    assert (attend(*states.bfloat16(), batch).float() - exact).abs().max() < 0.05
