"""The catalogue of known checkpoints: found by any of its names, refused where a folder says otherwise."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from qianru.errors import BadInput, SpecMismatch, UnknownName
from qianru.models.catalogue import Card, catalogue, check, find, known

FOLDER_SAYS = ("stella_en_1.5B_v5",)      # the dim: there is a Dense for each of seven
CONFIG = {"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "max_position_embeddings": 512}


@pytest.mark.parametrize("name", ["m3e-base", "moka-ai/m3e-base", "AI-ModelScope/m3e-base", "MOKA-AI/M3E-BASE"])
def test_a_card_is_found_by_either_hubs_name_in_any_case(name: str) -> None:
    assert find(name).name == "m3e-base"


def test_the_old_owner_of_the_modelscope_models_is_known() -> None:
    assert find("damo/nlp_gte_sentence-embedding_chinese-base") is find("thenlper/gte-base-zh")


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(UnknownName, match=r"'moka-ai/m3e-bse'. Did you mean 'moka-ai/m3e-base'\?"):
        find("moka-ai/m3e-bse")
    assert known("moka-ai/m3e-bse") is None


def test_no_two_cards_share_a_name() -> None:
    counts = Counter(name for card in catalogue() for name in {name.lower() for name in card.names})
    assert [name for name, n in counts.items() if n > 1] == []


@pytest.mark.parametrize("card", catalogue(), ids=lambda card: card.name)
def test_a_card_says_nothing_that_cannot_be(card: Card) -> None:
    assert card.family in {"bert", "xlm-roberta", "qwen2", "qwen3", "mistral", "remote"}
    assert card.pooling in {"", "cls", "mean", "last"}
    assert (card.dim is None) == (card.kinds == () or card.name in FOLDER_SAYS)       # rerankers make scores
    assert set(card.ids) <= {"huggingface", "modelscope"}
    assert all(name.count("/") == 1 for name in card.ids.values())
    assert all(size < (card.dim or 0) for size in card.matryoshka)
    assert card.any_dim_from is None or card.any_dim_from < (card.dim or 0)
    assert not card.instruction or "{instruction}" in card.instruction


def test_the_number_of_parameters_follows_from_the_size_of_a_chinese_bert() -> None:
    # 21,128 words, 512 positions and 2 segments with their norm; per layer 4 h^2 + 2 h 4h and the biases; the pooler.
    for name in ("m3e-small", "m3e-base", "m3e-large", "gte-small-zh", "bge-small-zh-v1.5", "text2vec-base-chinese"):
        card = find(name)
        h = card.hidden or 0
        layer = 12 * h * h + (4 + 4 + 1) * h + 4 * h
        assert card.n_parameters == (21128 + 512 + 2) * h + 2 * h + (card.n_layers or 0) * layer + h * h + h


def test_the_number_of_parameters_follows_from_the_size_of_an_xlm_roberta_reranker() -> None:
    # 250,002 words, positions and 1 segment with their norm; layers as above; the head's two layers.
    for name in ("bge-reranker-base", "bge-reranker-large", "bge-reranker-v2-m3"):
        card = find(name)
        h = card.hidden or 0
        layer = 12 * h * h + (4 + 4 + 1) * h + 4 * h
        positions = (card.max_tokens or 0) + 2
        head = h * h + h + h + 1
        assert card.n_parameters == (250_002 + positions + 1) * h + 2 * h + (card.n_layers or 0) * layer + head
        assert card.kinds == ()


def test_prompts_differ_by_role() -> None:
    assert find("bge-base-zh-v1.5").prompts.before("query") == "为这个句子生成表示以用于检索相关文章："
    assert find("bge-base-zh-v1.5").prompts.before("document") == ""
    assert find("multilingual-e5-base").prompts.before("document") == "passage: "


def test_an_instruction_takes_the_place_of_the_task_in_the_prompt() -> None:
    prompts = find("iic/gte_Qwen2-1.5B-instruct").prompts
    assert prompts.before("query", "找出{相关}的诗句") == "Instruct: 找出{相关}的诗句\nQuery: "
    with pytest.raises(BadInput, match="for queries"):
        prompts.before("document", "找出相关的诗句")
    with pytest.raises(BadInput, match="takes no instruction"):
        find("m3e-base").prompts.before("query", "找出相关的诗句")


def test_a_folder_that_says_the_same_passes() -> None:
    check(find("m3e-base"), CONFIG, "config.json")
    check(find("m3e-base"), {}, "config.json")    # what it does not say cannot contradict


@pytest.mark.parametrize(("change", "both"), [
    ({"hidden_size": 1024}, "hidden_size = 1024; m3e-base has 768"),
    ({"num_hidden_layers": 6}, "num_hidden_layers = 6; m3e-base has 12"),
    ({"model_type": "roberta"}, "model_type = 'roberta'; m3e-base has 'bert'"),
    ({"max_position_embeddings": 128}, "max_position_embeddings = 128; m3e-base reads 512"),
])
def test_a_folder_that_contradicts_the_card_is_refused_with_both_values(change: dict[str, object], both: str) -> None:
    with pytest.raises(SpecMismatch, match=both):
        check(find("m3e-base"), CONFIG | change, "config.json")


def test_a_causal_folder_is_not_gte_qwen2() -> None:
    with pytest.raises(SpecMismatch, match=r"is_causal = True; gte-Qwen2-1.5B-instruct has False"):
        check(find("gte-Qwen2-1.5B-instruct"), {"is_causal": True}, "config.json")


def test_the_real_files_of_known_models_agree_with_their_cards(data: Path) -> None:
    for name in ("m3e-small", "bge-small-zh-v1.5", "bge-m3", "stella_en_1.5B_v5"):
        folder = data / "model_layouts" / name
        check(find(name), json.loads((folder / "config.json").read_text(encoding="utf-8")), str(folder))
