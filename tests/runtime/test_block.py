"""Packed layers: what one loop does between two products is what torch does in several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch", reason="the runtime needs torch: pip install 'qianru[torch]'")
pytest.importorskip("numba", reason="blocks are compiled: pip install 'qianru[fast]'")

from torch.nn import functional  # noqa: E402

from qianru.runtime.attention import SHORT, attend, attend_fused  # noqa: E402
from qianru.runtime.block import blocks_of  # noqa: E402
from qianru.runtime.linear import Linear, pack  # noqa: E402
from qianru.runtime.norm_numba import NormWeights, add_norm_  # noqa: E402
from qianru.runtime.packing import Packed, pack as packed_rows  # noqa: E402

SIZE, HEADS = 64, 4
NEAR = {"float32": 1e-5, "bfloat16": 0.05, "int8": 0.15}     # of numbers whose standard deviation is 1


def layer(activation: str = "gelu") -> Any:
    """A post-norm layer with random weights."""
    def linear(n_out: int, n_in: int, activation: str = "none") -> Linear:
        return Linear(torch.randn(n_out, n_in) / n_in**0.5, torch.randn(n_out) / 10, activation)

    def norm() -> Any:
        return SimpleNamespace(weight=torch.rand(SIZE) + 0.5, bias=torch.randn(SIZE) / 10, eps=1e-12)

    return SimpleNamespace(n_heads=HEADS, qkv=linear(3 * SIZE, SIZE), out=linear(SIZE, SIZE), down=linear(SIZE, 128),
                           up=linear(128, SIZE, activation), attention_norm=norm(), output_norm=norm())


def plainly(made: Any, hidden: Any, batch: Packed) -> Any:
    """The layer in torch's own words."""
    qkv = made.qkv(hidden).view(len(hidden), 3, HEADS, -1)
    mixed = attend(qkv[:, 0], qkv[:, 1], qkv[:, 2], batch)
    for y, norm in ((lambda h: made.out(mixed), made.attention_norm),
                    (lambda h: made.down(made.up(h)), made.output_norm)):
        hidden = functional.layer_norm(hidden + y(hidden), (SIZE,), norm.weight, norm.bias, norm.eps)
    return hidden


def rows_of(*lengths: int) -> Packed:
    """A batch of rows of these lengths."""
    return packed_rows([np.arange(length) for length in lengths])


def packed_block(made: Any, precision: Any) -> Any:
    for name in ("qkv", "out", "up", "down"):
        pack(getattr(made, name), precision)
    (block,) = blocks_of([made], precision)
    return block


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize("batch", [rows_of(11), rows_of(9, 9, 3), rows_of(70, 70, 40, 12)], ids=["one", "few", "many"])
@torch.inference_mode()
def test_a_block_is_the_layer(batch: Packed, precision: Any) -> None:
    torch.manual_seed(1)
    made, hidden = layer(), torch.randn(len(batch.ids), SIZE)
    expected = plainly(made, hidden, batch)
    block = packed_block(made, precision)
    states = block(block.begin(hidden.clone()), batch)
    assert_allclose(states.hidden.numpy(), expected.numpy(), atol=NEAR[precision])
    first = block(block.begin(hidden.clone()), batch, batch.first)
    assert_allclose(first.hidden.numpy(), states.hidden[batch.first].numpy(), atol=NEAR[precision] / 10)


@pytest.mark.parametrize("precision", NEAR)
@torch.inference_mode()
def test_a_short_text_alone_is_as_in_a_large_batch(precision: Any) -> None:
    torch.manual_seed(2)
    batch = rows_of(90, 11, 11)
    hidden = torch.randn(len(batch.ids), SIZE)
    block = packed_block(layer(), precision)
    together = block(block.begin(hidden.clone()), batch).hidden[90:101]
    alone = block(block.begin(hidden[90:101].clone()), rows_of(11)).hidden
    if precision == "int8":
        assert torch.equal(together, alone)     # whole numbers add up to the same in any order, and all else is by rows
    assert functional.cosine_similarity(together, alone).min() > (1 - 1e-6 if precision == "float32" else 1 - 1e-4)


@torch.inference_mode()
def test_an_activation_without_a_loop_is_left_to_torch_in_int8() -> None:
    made = layer("gelu_tanh")
    for name in ("qkv", "out", "up", "down"):
        pack(getattr(made, name), "int8")
    assert blocks_of([made], "int8") == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [(1,), (2, 2, 1), (SHORT,), (SHORT + 1, SHORT, 3), (40, 40, 9, 9), (5, 50, 5)])
def test_attention_of_short_texts_is_torchs(lengths: tuple[int, ...], dtype: Any) -> None:
    torch.manual_seed(3)
    batch = rows_of(*lengths)
    qkv = torch.randn(len(batch.ids), 3 * SIZE).to(dtype)
    parts = qkv.view(len(qkv), 3, HEADS, -1)
    expected = attend(parts[:, 0], parts[:, 1], parts[:, 2], batch)
    made = attend_fused(qkv, HEADS, batch)
    assert made.dtype == dtype
    assert_allclose(made.float(), expected.float(), atol=2e-6 if dtype == torch.float32 else 0.02)


def test_scores_that_are_no_numbers_do_not_come_out_as_one() -> None:
    qkv = torch.randn(3, 3 * SIZE)
    qkv[1, 0] = float("nan")
    made = attend_fused(qkv, HEADS, rows_of(3))
    assert made[1, : SIZE // HEADS].isnan().all()
    assert made[0].isfinite().all()


@pytest.mark.parametrize("n", [1, 300])
def test_threads_share_the_norms(n: int) -> None:
    hidden, y, half = torch.randn(n, SIZE), torch.randn(n, SIZE), torch.empty(n, SIZE, dtype=torch.bfloat16)
    expected = functional.layer_norm(hidden + y, (SIZE,), eps=1e-5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        add_norm_(hidden, y, NormWeights(np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32), np.float32(1e-5)), half)
    finally:
        torch.set_num_threads(before)
    assert_allclose(hidden.numpy(), expected.numpy(), atol=1e-5)
    assert torch.equal(half, hidden.bfloat16())
