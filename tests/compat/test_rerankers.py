"""FlagReranker and CrossEncoder give the numbers that the libraries themselves gave for the same folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch", reason="rerankers need torch: pip install 'qianru[torch]'")

from checkpoints import tiny, write_json  # noqa: E402
from reranker_checkpoints import DOCUMENTS, LAYOUTS, PAIRS, QUERY, build, tiny_reranker  # noqa: E402

from qianru.compat import CrossEncoder, FlagModel, FlagReranker, SentenceTransformer  # noqa: E402
from qianru.errors import BadInput, SpecMismatch  # noqa: E402

ONE_LABEL = ("bge-reranker", "bert-reranker")


@pytest.fixture(scope="module")
def recorded() -> Any:
    """What the references made of the same folders."""
    return np.load(Path(__file__).parent.parent / "goldens" / "rerankers.npz")


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Layout -> folder."""
    return {name: build(name, tmp_path_factory.mktemp(name), data) for name in LAYOUTS}


@pytest.mark.parametrize("name", ONE_LABEL)
def test_flag_reranker_scores(folder: dict[str, Path], recorded: Any, name: str) -> None:
    model = FlagReranker(folder[name], devices="cpu")
    assert_allclose(model.compute_score(PAIRS), recorded[f"{name}/flag"], atol=1e-5)
    assert_allclose(model.compute_score(PAIRS, normalize=True), recorded[f"{name}/flag/normalized"], atol=1e-5)
    assert_allclose(model.compute_score(PAIRS, max_length=48), recorded[f"{name}/flag/48"], atol=1e-5)
    one = model.compute_score(list(PAIRS[0]))
    assert isinstance(one, list)
    assert_allclose(one, recorded[f"{name}/flag"][:1], atol=1e-5)


def test_an_instruction_stands_before_the_query(folder: dict[str, Path]) -> None:
    plain = FlagReranker(folder["bert-reranker"])
    told = FlagReranker(folder["bert-reranker"], query_instruction_for_rerank="问：", normalize=True)
    expected = plain.compute_score([("问：明月", "床前")], normalize=True)
    assert told.compute_score([("明月", "床前")]) == expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_cross_encoder_predictions(folder: dict[str, Path], recorded: Any, name: str) -> None:
    model = CrossEncoder(folder[name], max_length=512)
    assert_allclose(model.predict(PAIRS), recorded[f"{name}/predict"], atol=1e-5)
    assert_allclose(model.predict(list(PAIRS[1])), recorded[f"{name}/predict"][1], atol=1e-5)
    raw = model.predict(PAIRS, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    assert_allclose(raw.reshape(len(PAIRS), -1), recorded[f"{name}/logits"], atol=1e-5)
    if model.num_labels > 1:
        assert_allclose(model.predict(PAIRS, apply_softmax=True).sum(1), 1, atol=1e-6)
        with pytest.raises(BadInput, match="one label"):
            model.rank(QUERY, DOCUMENTS)


@pytest.mark.parametrize("name", ONE_LABEL)
def test_cross_encoder_ranks(folder: dict[str, Path], recorded: Any, name: str) -> None:
    ranked = CrossEncoder(folder[name]).rank(QUERY, DOCUMENTS, return_documents=True)
    assert_allclose([entry["score"] for entry in ranked], recorded[f"{name}/rank/scores"], atol=1e-5)
    assert [entry["corpus_id"] for entry in ranked] == recorded[f"{name}/rank"].tolist()
    assert ranked[0]["text"] == DOCUMENTS[ranked[0]["corpus_id"]]
    assert len(CrossEncoder(folder[name]).rank(QUERY, DOCUMENTS, top_k=2)) == 2


def test_a_folder_that_sentence_transformers_saved_has_its_activation(tmp_path: Path) -> None:
    place = tiny_reranker(tmp_path / "saved")
    write_json(place / "modules.json", [{"idx": 0, "name": "0", "path": "",
                                         "type": "sentence_transformers.base.modules.transformer.Transformer"}])
    write_json(place / "sentence_bert_config.json", {"transformer_task": "sequence-classification"})
    settings = {"activation_fn": "torch.nn.modules.linear.Identity", "default_prompt_name": None, "prompts": {}}
    write_json(place / "config_sentence_transformers.json", settings)
    pair = [("明月", "床前明月光")]
    assert_allclose(CrossEncoder(place).predict(pair), FlagReranker(place).compute_score(pair), atol=1e-6)
    write_json(place / "config_sentence_transformers.json", settings | {"activation_fn": "os.system"})
    with pytest.raises(SpecMismatch, match=r"asks for the activation 'os\.system'"):
        CrossEncoder(place)
    write_json(place / "config_sentence_transformers.json", settings | {"default_prompt_name": "query"})
    with pytest.raises(SpecMismatch, match="asks for the prompt 'query'"):
        CrossEncoder(place)


def test_rerankers_and_embedding_models_are_not_taken_for_one_another(
    folder: dict[str, Path], tmp_path: Path
) -> None:
    for adapter in (FlagModel, SentenceTransformer):
        with pytest.raises(SpecMismatch, match="is a reranker: it makes scores, not vectors"):
            adapter(folder["bert-reranker"])
    tiny(tmp_path / "encoder")
    with pytest.raises(SpecMismatch, match="makes dense vectors; it is no reranker"):
        FlagReranker(tmp_path / "encoder")
    with pytest.raises(SpecMismatch, match="has 2 labels; FlagReranker takes one"):
        FlagReranker(folder["bert-two-labels"])
    with pytest.raises(SpecMismatch, match="has 2 labels, not 1"):
        CrossEncoder(folder["bert-two-labels"], num_labels=1)
