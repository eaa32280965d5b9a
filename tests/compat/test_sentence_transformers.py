"""sentence-transformers' examples with the import line changed, against what it recorded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import TEXTS
from numpy.testing import assert_allclose, assert_array_equal

from qianru.compat import SentenceTransformer, util
from qianru.errors import BadInput, UnknownName


@pytest.fixture(scope="module")
def m3e(folders: dict[str, Path]) -> Any:
    return SentenceTransformer(folders["m3e"])


@pytest.fixture(scope="module")
def bge(folders: dict[str, Path]) -> Any:
    return SentenceTransformer(str(folders["bge-zh"]), device="cpu", trust_remote_code=True)


def test_encode_is_sentence_transformers(m3e: Any, bge: Any, goldens: Any) -> None:
    assert_allclose(m3e.encode(TEXTS, batch_size=3), goldens["m3e/document"], atol=2e-5)
    assert_allclose(bge.encode(TEXTS), goldens["bge-zh/document"], atol=1e-5)
    assert_allclose(bge.encode_document(TEXTS), goldens["bge-zh/document"], atol=1e-5)
    assert_allclose(bge.encode_query(TEXTS), goldens["bge-zh/query"], atol=1e-5)
    assert_allclose(bge.encode(TEXTS, prompt_name="query"), goldens["bge-zh/query"], atol=1e-5)


def test_similarity_is_the_cosine_as_a_tensor(m3e: Any) -> None:
    vectors = m3e.encode(TEXTS[:3])
    scores = m3e.similarity(vectors, vectors)
    assert isinstance(scores, torch.Tensor)
    assert scores.shape == (3, 3)
    assert_allclose(scores.diagonal(), 1, atol=1e-6)
    assert_allclose(m3e.similarity_pairwise(vectors, vectors), 1, atol=1e-6)
    assert_allclose(util.cos_sim(vectors[0], vectors[1]), scores[:1, 1:2], atol=1e-6)


def test_normalize_embeddings_makes_the_length_one(m3e: Any) -> None:
    plain, unit = m3e.encode(TEXTS), m3e.encode(TEXTS, normalize_embeddings=True)
    assert np.abs(np.linalg.norm(plain, axis=1) - 1).max() > 0.1
    assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


def test_results_are_arrays_tensors_or_lists_of_tensors(m3e: Any) -> None:
    array = m3e.encode(TEXTS[:2])
    assert_array_equal(m3e.encode(TEXTS[0]).shape, (32,))
    tensor = m3e.encode(TEXTS[:2], convert_to_tensor=True)
    assert_allclose(tensor, array)
    listed = m3e.encode(TEXTS[:2], convert_to_numpy=False)
    assert isinstance(listed, list)
    assert_allclose(listed[1], array[1])
    assert_allclose(util.cos_sim(listed, tensor), util.cos_sim(array, array.tolist()), atol=1e-6)


def test_prompts_are_those_of_the_folder_and_of_the_user(bge: Any, folders: dict[str, Path]) -> None:
    mine = SentenceTransformer(folders["bge-zh"], prompts={"诗": "诗："}, default_prompt_name="诗")
    by_hand = bge.encode("诗：明月")
    for found in (mine.encode("明月"), bge.encode("明月", prompt="诗：")):
        assert_allclose(found, by_hand, atol=1e-6)
    assert bge.prompts["query"].startswith("为这个句子")
    with pytest.raises(UnknownName, match=r"There is no prompt 'querry'\. Did you mean 'query'"):
        bge.encode("明月", prompt_name="querry")


def test_max_seq_length_cuts_and_says_so(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    model = SentenceTransformer(folders["m3e"])
    assert model.max_seq_length == 512
    model.max_seq_length = 8192      # as the card of gte-Qwen2 does; there are positions for 512
    assert model.max_seq_length == 512
    model.max_seq_length = 5
    with caplog.at_level(logging.WARNING, "qianru"):
        cut = model.encode("床前明月光")
    assert_allclose(cut, model.encode("床前明"), atol=1e-6)
    assert "longer than 5 tokens" in caplog.text


def test_truncated_vectors_are_those_of_the_first_dimensions(bge: Any, folders: dict[str, Path]) -> None:
    short = SentenceTransformer(folders["bge-zh"], truncate_dim=8)
    assert short.get_embedding_dimension() == short.get_sentence_embedding_dimension() == 8
    sliced = bge.encode(TEXTS)[:, :8]
    sliced /= np.linalg.norm(sliced, axis=1, keepdims=True)
    assert_allclose(short.encode(TEXTS), sliced, atol=1e-6)
    assert_allclose(bge.encode(TEXTS, truncate_dim=8), sliced, atol=1e-6)


def test_semantic_search_finds_the_text_itself_first(m3e: Any) -> None:
    vectors = m3e.encode(TEXTS, convert_to_tensor=True)
    hits = util.semantic_search(vectors[2:3], vectors, top_k=2)
    assert hits[0][0]["corpus_id"] == 2
    assert hits[0][0]["score"] == pytest.approx(1, abs=1e-6)
    assert len(hits[0]) == 2


def test_other_similarities_by_name(folders: dict[str, Path]) -> None:
    model = SentenceTransformer(folders["m3e"], similarity_fn_name="euclidean")
    assert float(model.similarity([[0.0, 0.0]], [[3.0, 4.0]])) == -5
    with pytest.raises(UnknownName, match="There is no similarity 'manhatan'"):
        SentenceTransformer(folders["m3e"], similarity_fn_name="manhatan")


def test_what_cannot_be_obeyed_is_an_error(m3e: Any, folders: dict[str, Path]) -> None:
    with pytest.raises(TypeError, match="normalise_embeddings"):
        m3e.encode(TEXTS, normalise_embeddings=True)
    with pytest.raises(BadInput, match="output_value is 'sentence_embedding' here"):
        m3e.encode(TEXTS, output_value="token_embeddings")
    with pytest.raises(BadInput, match="it would round the finished vectors"):
        m3e.encode(TEXTS, precision="binary")
    with pytest.raises(BadInput, match="There is no device 'tpu' here"):
        SentenceTransformer(folders["m3e"], device="tpu")
    with pytest.raises(BadInput, match="'bm25'"):
        SentenceTransformer("bm25")


def test_a_progress_bar_goes_to_stderr_only(m3e: Any, capfd: pytest.CaptureFixture[str]) -> None:
    m3e.encode(TEXTS, show_progress_bar=True)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["gte-qwen2", "qwen3", "stella", "e5-mistral"])
def test_decoders_give_the_vectors_of_sentence_transformers(name: str, data: Path, tmp_path: Path) -> None:
    from decoder_checkpoints import INSTRUCT, build

    goldens = np.load(Path(__file__).parent.parent / "goldens" / "decoders.npz")
    model = SentenceTransformer(build(name, tmp_path / name, data))
    assert_allclose(model.encode(TEXTS), goldens[f"{name}/document"], atol=1e-5)
    asked = model.encode_query(TEXTS) if model.prompts["query"] else model.encode(TEXTS, prompt=INSTRUCT)
    assert_allclose(asked, goldens[f"{name}/query"], atol=1e-5)
    assert model.similarity(asked, asked).shape == (len(TEXTS), len(TEXTS))
    assert model.max_seq_length == 512
