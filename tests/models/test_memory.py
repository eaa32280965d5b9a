"""A model's weights stand in memory once: what was laid out for the processor is not kept beside the file's pages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import tiny, write_bin  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from qianru.models.files import Stored, fingerprint  # noqa: E402
from qianru.models.mapped import MAPS, LazyArrays, release  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.models.weights import open_weights  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402

LAYERS = {"hidden_size": 256, "num_hidden_layers": 32, "num_attention_heads": 4, "intermediate_size": 1024}
MEASURED = """
import os, sys
from pathlib import Path
import qianru
import qianru.models.network
from qianru.runtime.options import Runtime
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
small, *folders = sys.argv[1:]
for folder in folders:
    if child := os.fork():      # whose peak knows nothing of the others', and which need not import torch again
        assert os.waitpid(child, 0)[1] == 0
        continue
    qianru.load(small, Runtime("float32", threads=1)).encode(["床前明月光"] * 99)
    before = peak()
    model = qianru.load(folder, Runtime("float32", threads=1))
    model.encode(["床前明月光"] * 99)
    model.save(Path(folder).with_name(Path(folder).name + " again"))
    print(1024 * (peak() - before), flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells which memory is a file's")
def test_peak_memory_of_loading_encoding_and_saving_is_near_the_weights(tmp_path: Path) -> None:
    small, plain = tiny(tmp_path / "small"), tiny(tmp_path / "plain", **LAYERS)
    Transformer.load(plain, Runtime("float32")).save(saved := tmp_path / "saved")
    shutil.copytree(plain, torch_bin := tmp_path / "bin", ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(plain / "model.safetensors")
    write_bin(torch_bin / "pytorch_model.bin", {name: tensor.numpy() for name, tensor in tensors.items()})
    folders = [plain, torch_bin, saved]
    done = subprocess.run([sys.executable, "-c", MEASURED, small, *folders], capture_output=True, text=True, check=True)
    for folder, grown in zip(folders, map(int, done.stdout.split()), strict=True):
        size = max(path.stat().st_size for path in folder.iterdir())
        assert size > 100e6
        assert grown < 1.3 * size + 90e6, folder.name      # query, key and value joined once; one layer stands twice


def test_released_pages_are_read_again(tmp_path: Path) -> None:
    expected = {"a": torch.arange(100_000, dtype=torch.float32), "b": torch.ones(3)}
    save_file(expected, tmp_path / "model.safetensors")
    mapped = {name: read() for name, read in open_weights(tmp_path / "model.safetensors").items()}
    mapped["a"].sum()
    release(mapped)
    for name, tensor in expected.items():
        assert_array_equal(mapped[name], tensor)


def test_memory_that_lies_in_no_file_is_left_alone() -> None:
    tensors = {"a": torch.arange(100_000), "none": torch.zeros(0)}
    release(tensors)
    assert_array_equal(tensors["a"], np.arange(100_000))


def test_lazy_arrays_have_the_fingerprint_of_plain_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qianru.models.mapped.WORTH_RELEASING", 1000)
    tensors = {f"t{i}": torch.full((300,), float(i), dtype=torch.bfloat16) for i in range(20)}
    save_file(tensors, tmp_path / "model.safetensors")
    mapped = {name: read() for name, read in open_weights(tmp_path / "model.safetensors").items()}
    plain = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    for lazy in (LazyArrays(mapped, unchanged=True), LazyArrays(tensors, unchanged=False)):
        assert len(lazy) == 20
        assert fingerprint(Stored("f", {}, lazy)) == fingerprint(Stored("f", {}, plain))


def test_a_trained_model_keeps_what_it_learnt(tmp_path: Path) -> None:
    model = Transformer.load(tiny(tmp_path / "tiny"), Runtime("float32"), packed=False)
    before = model.spec.fingerprint
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(1)
    again = model.altered()
    assert again.spec.fingerprint != before
    assert_array_equal(again._identity().arrays["backbone/embeddings.word_embeddings.weight"],
                       model.network.backbone.words.detach())      # type: ignore[attr-defined]


def test_a_packed_copy_of_a_trained_model_takes_nothing_from_it(tmp_path: Path) -> None:
    trained = Transformer.load(tiny(tmp_path / "tiny", hidden_size=64, max_position_embeddings=512), Runtime("float32"),
                               packed=False)      # its tensors lie in the file's pages, written to without the file
    with torch.no_grad():
        for parameter in trained.network.parameters():
            parameter.mul_(1.5)
    expected = {name: parameter.detach().clone() for name, parameter in trained.network.named_parameters()}
    copy = Transformer.from_stored(trained.stored(), Runtime("float32"))
    assert copy.spec.fingerprint == trained.spec.fingerprint
    for name, parameter in trained.network.named_parameters():
        assert_array_equal(parameter.detach(), expected[name], err_msg=name)
    np.testing.assert_allclose(copy.encode(["床前明月光"]).dense, trained.encode(["床前明月光"]).dense, atol=1e-5)
