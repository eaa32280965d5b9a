"""qianru.load: by a built-in name, a folder or a file, and never by a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qianru
from qianru.errors import BadFile, BadInput, SpecMismatch, UnknownName
from qianru.models import FAMILIES, load
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.models.files import Stored, write_folder
from qianru.models.vector_files import write_vectors
from qianru.models.vectors import WordVectors

VECTORS = WordVectors(["春", "夏"], np.array([[1.0, 2, 3], [4, 5, 6]]))


def test_every_family_that_is_saved_is_loaded_as_what_it_was(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = qianru.load(str(tmp_path / "model"))
    assert type(loaded) is type(model)
    assert loaded.spec == model.spec


def test_every_family_of_the_table_is_there() -> None:
    from importlib import import_module

    for family, place in FAMILIES.items():
        module, _, name = place.partition(":")
        assert getattr(import_module(module), name).family == family


def test_bm25_is_built_in_and_empty() -> None:
    model = load("bm25")
    assert isinstance(model, BM25)
    assert model.statistics.n_documents == 0
    assert load("bm25") is not model


def test_a_folder_called_as_a_built_in_name_needs_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BM25().fit(["春"]).save(tmp_path / "bm25")
    monkeypatch.chdir(tmp_path)
    assert load("bm25").statistics.n_documents == 0      # type: ignore[attr-defined]
    assert load("./bm25").statistics.n_documents == 1    # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.bin", "v.txt.gz", "v.bin.gz"])
def test_a_file_of_word_vectors_is_a_model(tmp_path: Path, name: str) -> None:
    write_vectors(VECTORS, tmp_path / name)
    model = load(tmp_path / name)
    assert isinstance(model, Model)
    dense = model.encode(["春夏"]).dense
    assert dense is not None
    assert dense.tolist() == [[2.5, 3.5, 4.5]]


def test_the_real_characters_are_a_model(data: Path) -> None:
    assert load(data / "vectors" / "tencent_char_4762x200.npz").spec.dim == 200


TRANSFORMERS = {
    "m3e-small": "holds no weights", "stella_en_1.5B_v5": "'2_Dense', which is not there",
    "acge_text_embedding": "config.json cannot be read",
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_that_lacks_a_file_is_refused_for_it(data: Path, name: str) -> None:
    pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")
    with pytest.raises(BadFile, match=TRANSFORMERS[name]):
        load(data / "model_layouts" / name)


def test_a_missing_model_is_answered_with_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match=r"'bm52'\. Did you mean 'bm25'"):
        load("bm52")
    with pytest.raises(BadFile, match=r"not on this machine. Download it with: qianru download BAAI/bge-m3"):
        load("BAAI/bge-m3")
    BM25().save(tmp_path / "notes-bm25")
    with pytest.raises(UnknownName, match=r"Did you mean '.*notes-bm25'"):
        load(tmp_path / "note-bm25")


def test_what_is_no_model_is_told_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# 春")
    with pytest.raises(BadInput, match=r"is not a model. What can be loaded: a folder that a model was saved to"):
        load(tmp_path / "notes.md")
    with pytest.raises(BadInput, match=r"is not a model folder. What can be loaded"):
        load(tmp_path)


def test_a_family_of_the_future_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", Stored("telepathy", {}))
    with pytest.raises(SpecMismatch, match=r"family 'telepathy'.* upgrade"):
        load(tmp_path / "model")


def test_a_damaged_folder_is_not_a_missing_one(tmp_path: Path) -> None:
    BM25().fit(["春"]).save(tmp_path / "model")
    (tmp_path / "model" / "vocabulary.json").write_text("[]")
    with pytest.raises(BadFile, match="its hash differs"):
        load(tmp_path / "model")


def test_a_model_whose_saving_was_killed_between_two_renames_is_found(tmp_path: Path) -> None:
    BM25().fit(["春"]).save(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / ".model.old")
    assert load(tmp_path / "model").spec.family == "bm25"
