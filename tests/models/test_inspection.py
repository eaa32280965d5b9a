"""What inspection tells of folders, sound and broken."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import LAYOUTS, build, tiny  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

from qianru.errors import BadFile, SpecMismatch  # noqa: E402
from qianru.models.bm25 import BM25  # noqa: E402
from qianru.models.inspection import check_model, inspect_model  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.int8 import can_multiply_int8  # noqa: E402
from qianru.types import Embeddings  # noqa: E402

TOLD = {
    "m3e": ("sentence-transformers", "Transformer -> mean of 32"),
    "bge-zh": ("sentence-transformers", "Transformer -> cls of 32 -> length 1"),
    "acge": ("sentence-transformers", "Transformer -> mean of 32 -> Dense 32 to 56 tanh"),
    "bge-m3": ("BGE-M3", "Transformer -> cls of 32 -> length 1; sparse and multi heads on every token"),
    "gte": ("ModelScope", "Transformer -> cls of 32"),
}


@pytest.mark.parametrize("name", [name for name in TOLD if name in LAYOUTS])
def test_every_layout_is_told_with_what_is_applied(name: str, tmp_path: Path, data: Path) -> None:
    folder = build(name, tmp_path / name, data)
    found = inspect_model(folder)
    assert (found.facts["layout"], found.facts["applied"]) == TOLD[name]
    assert found.problem is None
    assert found.check is not None
    assert found.check["texts"] == 4
    without = inspect_model(folder, check=False)
    assert without.check is None
    assert {key: found.facts[key] for key in without.facts} == without.facts


def test_tokens_and_prompts_and_files_that_are_not_taken_are_shown(tmp_path: Path, data: Path) -> None:
    folder = build("bge-zh", tmp_path / "bge", data)
    (folder / "modeling_own.py").write_text("raise SystemExit('never run')")
    facts = inspect_model(folder, check=False).facts
    assert facts["prompts"] == ["query: '为这个句子生成表示以用于检索相关文章：'"]
    assert facts["tokens"].startswith("床前明月光 hello -> [CLS](101) 床(2414) ")
    assert facts["tokens"].endswith("[SEP](102)")
    assert facts["not taken"] == ["modeling_own.py"]


def test_a_broken_folder_tells_what_could_be_read_and_why_it_cannot_be_used(tmp_path: Path, data: Path) -> None:
    folder = build("bge-m3", tmp_path / "m3", data)
    (folder / "sparse_linear.pt").unlink()
    found = inspect_model(folder)
    assert found.problem is not None
    assert "lacks sparse_linear.pt" in found.problem
    assert found.check is None
    assert "colbert_linear.pt (0.0 MB)" in found.facts["weights"]


def test_the_check_says_whether_a_model_may_run_in_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny(tmp_path / "tiny")
    told = inspect_model(folder).check
    assert told is not None
    if not can_multiply_int8():
        assert told["int8"].startswith("no: This processor has no instructions for int8")
        return
    assert re.fullmatch(r"cosine 0\.99\d\d to float32 for the worst of 8 texts, where 0.99 is asked for", told["int8"])
    monkeypatch.setattr("qianru.models.transformer.INT8_COSINE", 0.99999999)
    found = inspect_model(folder)
    assert found.problem is None      # it works in other precisions
    assert found.check is not None
    assert found.check["int8"].startswith("no: tiny loses too much in int8: a cosine of 0.99")


def test_weights_that_give_no_numbers_fail_the_check(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "tiny")
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.0.output.dense.bias"][0] = np.nan
    save_file(tensors, folder / "model.safetensors")
    found = inspect_model(folder)
    assert found.problem is not None
    assert "they differ by nan" in found.problem
    assert inspect_model(folder, check=False).problem is None


def test_vectors_that_depend_on_neighbours_fail_the_check(tmp_path: Path) -> None:
    class Padded:
        spec = BM25().spec

        def encode(self, texts: list[str]) -> Embeddings:
            lengths = np.array([[max(map(len, texts)), len(text)] for text in texts], np.float32)
            return Embeddings("padded", np.ones(len(texts), int), dense=lengths)

    with pytest.raises(SpecMismatch, match="makes other vectors of a text alone than among others"):
        check_model(Padded())      # type: ignore[arg-type]


def test_folders_that_qianru_wrote_are_told_too(tmp_path: Path) -> None:
    BM25().fit(["床前明月光", "疑是地上霜"]).save(tmp_path / "bm25")
    found = inspect_model(tmp_path / "bm25")
    assert (found.facts["layout"], found.facts["kinds"], found.problem) == ("Qianru's bm25", ["sparse"], None)
    Transformer.load(tiny(tmp_path / "tiny")).save(tmp_path / "saved")
    assert inspect_model(tmp_path / "saved").facts["layout"] == "Qianru's transformer"
    with pytest.raises(BadFile, match="There is no folder"):
        inspect_model(tmp_path / "none")
