"""The real files of real models, read as they are; only their weights are not here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from checkpoints import write_json

from qianru.errors import SpecMismatch
from qianru.models.catalogue import find
from qianru.models.folder import ModelFolder
from qianru.models.named import card_as_known
from qianru.models.recipe import DenseSpec, Known, Prompts

TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "


@pytest.fixture
def layouts(data: Path) -> Path:
    """A folder for each model."""
    return data / "model_layouts"


def test_there_is_no_layout_that_no_test_reads(layouts: Path) -> None:
    assert {path.name for path in layouts.iterdir() if path.is_dir()} == {
        "acge_text_embedding", "bert-base-chinese", "bge-m3", "bge-small-zh-v1.5", "jasper-600m_qwen3", "m3e-small",
        "stella_en_1.5B_v5"}


def test_m3e_is_a_mean_that_is_not_normalised(layouts: Path) -> None:
    found = ModelFolder.read(layouts / "m3e-small", card_as_known(find("m3e-small"), says_itself=True))
    assert (found.recipe.pooling, found.recipe.normalize, found.max_tokens) == (("mean",), False, 512)
    assert found.recipe.dim(512) == 512


def test_bge_is_cls_by_its_pooling_and_normalised_by_the_catalogue(layouts: Path) -> None:
    card = find("bge-small-zh-v1.5")
    found = ModelFolder.read(layouts / "bge-small-zh-v1.5", card_as_known(card, says_itself=False))
    assert (found.recipe.pooling, found.recipe.normalize) == (("cls",), True)
    assert found.prompts.before("query") == "为这个句子生成表示以用于检索相关文章："


def test_a_plain_bert_does_not_say_how_to_pool(layouts: Path) -> None:
    with pytest.raises(SpecMismatch, match="does not say how its tokens become one vector"):
        ModelFolder.read(layouts / "bert-base-chinese")
    assert ModelFolder.read(layouts / "bert-base-chinese", Known(pooling="mean")).recipe.pooling == ("mean",)


def test_bge_m3_needs_its_two_heads_and_then_makes_three_kinds(layouts: Path, tmp_path: Path) -> None:
    known = card_as_known(find("bge-m3"), says_itself=False)
    with pytest.raises(SpecMismatch, match=r"lacks sparse_linear\.pt"):
        ModelFolder.read(layouts / "bge-m3", known)
    shutil.copytree(layouts / "bge-m3", tmp_path / "m3", copy_function=shutil.copyfile)
    for name in ("sparse_linear.pt", "colbert_linear.pt"):
        (tmp_path / "m3" / name).touch()
    found = ModelFolder.read(tmp_path / "m3", known)
    assert (found.recipe.kinds, found.recipe.pooling, found.recipe.normalize) == (
        ("dense", "sparse", "multi"), ("cls",), True)
    assert found.max_tokens == 8192


def test_acge_ends_with_its_dense(layouts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "acge"
    shutil.copytree(layouts / "acge_text_embedding", folder, copy_function=shutil.copyfile)
    bert = json.loads((layouts / "bert-base-chinese/config.json").read_text())
    write_json(folder / "config.json", bert | {"hidden_size": 1024, "num_hidden_layers": 24,
                                               "num_attention_heads": 16, "max_position_embeddings": 1024})
    found = ModelFolder.read(folder, card_as_known(find("acge_text_embedding"), says_itself=True))
    assert found.recipe.dense == (DenseSpec("2_Dense", 1024, 1792, bias=True, activation="none"),)
    assert (found.recipe.dim(1024), found.max_tokens) == (1792, 1024)


def test_stella_looks_both_ways_and_ends_with_the_dense_that_modules_json_names(layouts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stella"
    shutil.copytree(layouts / "stella_en_1.5B_v5", folder, copy_function=shutil.copyfile)
    modules = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", [*modules[:2], modules[2] | {"path": "2_Dense_1024"}])
    known = card_as_known(find("dunzhang/stella_en_1.5B_v5"), says_itself=True)
    found = ModelFolder.read(folder, known)
    assert (found.recipe.pooling, found.recipe.dim(1536), found.recipe.normalize) == (("mean",), 1024, False)
    assert found.prompts.before("query", "Find the poem") == "Instruct: Find the poem\nQuery: "
    torch_part = pytest.importorskip("qianru.models.decoder", reason="shapes of decoders need torch")
    assert not torch_part.read_config(found.config, known.causal).causal
    with pytest.raises(SpecMismatch, match="wants attention by code of its own"):      # not guessed without the card
        torch_part.read_config(found.config, None)


def test_the_prompts_of_jasper_are_those_of_its_file(layouts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "jasper"
    shutil.copytree(layouts / "jasper-600m_qwen3", folder, copy_function=shutil.copyfile)
    write_json(folder / "config.json", {"model_type": "qwen3", "hidden_size": 1024})
    found = ModelFolder.read(folder, Known(pooling="lasttoken"))
    assert found.prompts == Prompts(TASK, "", "Instruct: {instruction}\nQuery: ")
