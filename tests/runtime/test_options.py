"""What a Runtime comes to: only precisions that the processor has instructions for are chosen, and none is emulated."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from qianru.errors import BadInput, UnknownName  # noqa: E402
from qianru.runtime.int8 import int8_multiplier  # noqa: E402
from qianru.runtime.options import Device, Runtime  # noqa: E402


@pytest.mark.parametrize(("able", "precision"), [
    ({}, "float32"),
    ({"avx2": True, "avx512_f": True, "avx512_vnni": True}, "float32"),
    ({"avx512_bf16": True}, "bfloat16"),
    ({"amx_bf16": True}, "bfloat16"),
    ({"avx512_bf16": False, "amx_int8": True}, "float32"),      # int8 must be asked for
])
def test_auto_is_bfloat16_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert Device.of(Runtime(device="cpu")).precision == precision


def test_int8_is_refused_by_a_processor_without_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(BadInput, match="This processor has no instructions for int8"):
        int8_multiplier(torch.ones(4, 4))


def test_what_was_asked_for_and_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Device.of(Runtime()).name == "cpu"
    with pytest.raises(BadInput, match="There is no CUDA device that torch can use"):
        Device.of(Runtime(device="cuda"))


@pytest.mark.parametrize(("options", "message"), [
    ({"precision": "fp16"}, "There is no precision 'fp16'"),
    ({"device": "tpu"}, "There is no device 'tpu'"),
])
def test_a_name_that_is_none_is_answered_with_those_that_are(options: dict[str, str], message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        Runtime(**options)      # type: ignore[arg-type]
