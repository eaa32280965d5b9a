"""The same answers on a GPU: `pytest -m gpu` where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import LAYOUTS, TEXTS, build  # noqa: E402
from decoder_checkpoints import LAYOUTS as DECODERS, SMALL, build as build_decoder  # noqa: E402

from qianru.errors import BadInput  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.attention import attend  # noqa: E402
from qianru.runtime.options import Device, Runtime  # noqa: E402
from qianru.runtime.packing import pack  # noqa: E402

pytestmark = pytest.mark.gpu
HEADS_OF_16 = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


@pytest.fixture(autouse=True)
def gpu() -> None:
    """Skips without a CUDA device."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")


@pytest.fixture(params=[*LAYOUTS, *DECODERS])
def folder(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Path:
    """Every layout, its heads as wide as a GPU's kernels take them."""
    name = request.param
    if name in DECODERS:
        if SMALL[name]["hidden_size"] == 96:       # 12 heads of 8
            DECODERS[name](tmp_path, data, SMALL[name] | {"hidden_size": 192})
            return tmp_path
        return build_decoder(name, tmp_path, data)
    LAYOUTS[name](tmp_path, data, HEADS_OF_16)
    return tmp_path


def cosines(one: Any, other: Any) -> np.ndarray:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_float32_on_a_gpu_gives_the_vectors_of_the_cpu(folder: Path) -> None:
    here, there = (Transformer.load(folder, Runtime("float32", device)).encode(TEXTS) for device in ("cpu", "cuda"))
    assert here.kinds == there.kinds
    assert_allclose(there.dense, here.dense, atol=1e-4)
    assert_array_equal(there.n_tokens, here.n_tokens)
    if here.sparse is not None and there.sparse is not None:
        assert_allclose(there.sparse.to_dense(), here.sparse.to_dense(), atol=1e-4)
    if here.multi is not None and there.multi is not None:
        assert_array_equal(there.multi.offsets, here.multi.offsets)
        assert_allclose(there.multi.data, here.multi.data, atol=1e-4)


def test_bfloat16_on_a_gpu_stays_close_and_is_chosen_where_the_gpu_has_it(folder: Path) -> None:
    exact = Transformer.load(folder, Runtime("float32", "cpu")).encode(TEXTS).dense
    lower = Transformer.load(folder, Runtime("bfloat16", "cuda")).encode(TEXTS).dense
    assert cosines(lower, exact).min() > 0.999
    assert Device.of(Runtime()).name == "cuda"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        assert Device.of(Runtime()).precision == "bfloat16"


def test_neighbours_hardly_change_a_vector_on_a_gpu(folder: Path) -> None:
    for precision, most in (("float32", 1e-6), ("bfloat16", 1e-3)):
        model = Transformer.load(folder, Runtime(precision, "cuda", normalize=True))     # type: ignore[arg-type]
        together = model.encode(TEXTS).dense
        alone = np.concatenate([model.encode([text]).dense for text in TEXTS])
        assert cosines(together, alone).min() > 1 - most


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("causal", "window", "n_key_heads"), [
    (False, None, 8), (True, None, 8), (True, None, 2), (True, 5, 2), (True, 1, 8), (False, None, 2),
])
def test_attention_of_variable_length_is_that_of_each_text_alone(
    dtype: str, causal: bool, window: int | None, n_key_heads: int
) -> None:
    lengths = [130, 130, 64, 17, 17, 17, 3, 1]
    generator = torch.Generator().manual_seed(7)
    batch = pack([np.zeros(n, np.int64) for n in lengths], "cuda")
    query, key, value = (torch.randn(sum(lengths), n, 64, generator=generator).cuda() for n in
                         (8, n_key_heads, n_key_heads))
    exact = attend(query, key, value, batch, causal=causal, window=window)             # float32: text by text
    kind = getattr(torch, dtype)
    mixed = attend(query.to(kind), key.to(kind), value.to(kind), batch, causal=causal, window=window)
    assert mixed.shape == exact.shape == (sum(lengths), 8 * 64)
    assert (mixed.float() - exact).abs().max() < 0.03


def test_memory_that_runs_out_on_a_gpu_halves_the_batch(data: Path, tmp_path: Path) -> None:
    model = Transformer.load(build("m3e", tmp_path, data), Runtime("float32", "cuda", batch_tokens=1 << 20))
    expected = model.encode(TEXTS).dense
    whole, tried = model.network.backbone.forward, []      # type: ignore[attr-defined]

    def small_memory(batch: Any) -> Any:
        tried.append(len(batch.ids))
        if len(batch.ids) > 600:
            torch.empty(1 << 50, device="cuda")            # the error itself, by the device itself
        return whole(batch)

    model.network.backbone.forward = small_memory          # type: ignore[attr-defined,method-assign]
    assert_allclose(model.encode(TEXTS).dense, expected, atol=1e-5)
    assert max(tried) > 600


def test_the_fingerprint_does_not_depend_on_the_device(data: Path, tmp_path: Path) -> None:
    folder = build("m3e", tmp_path, data)
    assert len({Transformer.load(folder, Runtime(device=device)).spec.fingerprint for device in ("cpu", "cuda")}) == 1


def test_int8_is_for_the_cpu(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="int8 runs on the CPU only"):
        Transformer.load(build("m3e", tmp_path, data), Runtime("int8"))


def test_gradients_reach_every_parameter_on_a_gpu(data: Path, tmp_path: Path) -> None:
    model = Transformer.load(build("m3e", tmp_path, data), Runtime("float32", "cuda"), packed=False)
    batch = pack(model.tokenizer.rows(TEXTS[:3]).rows, "cuda")
    model.network.dense_vectors(model.network.backbone(batch), batch).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.network.parameters())
