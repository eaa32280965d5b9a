"""Packed weights on large pages: the same products, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the runtime needs torch: pip install 'qianru[torch]'")

from qianru.runtime import pages  # noqa: E402
from qianru.runtime.linear import Linear, pack, packed_weights  # noqa: E402


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@torch.inference_mode()
def test_products_stay_as_they_are(precision: Any) -> None:
    layers = torch.nn.ModuleList(Linear(torch.randn(1024, 1024), torch.randn(1024)) for _ in range(8))
    pack(layers, precision)
    x = torch.randn(5, 1024)
    before = [layer(x) for layer in layers]
    weights = packed_weights(layers)
    assert len(weights) == 8
    assert pages.use_large_pages(weights) >= 0
    assert all(torch.equal(layer(x), y) for layer, y in zip(layers, before, strict=True))


def test_gaps_of_less_than_a_page_are_part_of_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        data_ptr = staticmethod(lambda each: each[0])
        _nbytes = staticmethod(lambda each: each[1])

    monkeypatch.setattr(torch.ops, "mkldnn", Told)
    mb = 1 << 20
    given: Any = [(20 * mb, 3 * mb), (0, 3 * mb), (4 * mb, 2 * mb), (8 * mb, mb)]
    assert pages._stretches(given) == [(0, 6 * mb), (8 * mb, 9 * mb), (20 * mb, 23 * mb)]


def test_where_the_administrator_says_never_nothing_is_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(pages, "ALLOWED", tmp_path / "enabled")
    linear = Linear(torch.randn(2048, 2048), None)
    pack(linear, "float32")
    assert pages.use_large_pages(packed_weights(linear)) == 0


def test_one_heap_for_each_core_at_least_two_and_without_glibc_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(pages, "_libc", lambda name: lambda *numbers: told.append(numbers))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    pages.keep_few_heaps()
    assert told == [(pages.M_ARENA_MAX, 2)]
    monkeypatch.setattr(pages, "_libc", lambda name: None)
    pages.keep_few_heaps()
    pages.give_back()
