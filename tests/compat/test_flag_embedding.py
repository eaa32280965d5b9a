"""FlagEmbedding's examples with the import line changed, against what FlagEmbedding recorded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TEXTS
from numpy.testing import assert_allclose

from qianru.compat import BGEM3FlagModel, FlagAutoModel, FlagModel
from qianru.errors import BadInput, SpecMismatch

PAIRS = [(TEXTS[7], TEXTS[3]), (TEXTS[0], TEXTS[6]), (TEXTS[2], TEXTS[2])]      # as tools/record_goldens.py has them
INSTRUCTION = "为这个句子生成表示以用于检索相关文章："


@pytest.fixture(scope="module")
def m3(folders: dict[str, Path]) -> Any:
    return BGEM3FlagModel(folders["bge-m3"], use_fp16=False)


def test_dense_vectors_as_the_readme_asks_for_them(m3: Any, goldens: Any) -> None:
    dense = m3.encode(TEXTS, batch_size=12, max_length=8192)["dense_vecs"]
    assert_allclose(dense, goldens["bge-m3/document"], atol=1e-5)
    output = m3.encode(TEXTS)
    assert output["lexical_weights"] is None
    assert output["colbert_vecs"] is None


def test_lexical_weights_as_the_readme_asks_for_them(m3: Any, goldens: Any) -> None:
    output = m3.encode(TEXTS, return_dense=True, return_sparse=True, return_colbert_vecs=False)
    for i, weights in enumerate(output["lexical_weights"]):
        assert sorted(map(int, weights)) == goldens[f"bge-m3/terms{i}"].tolist()
        assert_allclose([weights[str(term)] for term in goldens[f"bge-m3/terms{i}"]], goldens[f"bge-m3/weights{i}"],
                        atol=1e-5)
    told = m3.convert_id_to_token(output["lexical_weights"])
    assert {"What", "is", "?"} <= set(told[7])
    assert isinstance(m3.convert_id_to_token(output["lexical_weights"][7]), dict)
    one, other = output["lexical_weights"][7], output["lexical_weights"][3]
    score = m3.compute_lexical_matching_score(one, other)
    assert score == pytest.approx(float(goldens["bge-m3/score/sparse"][0]), rel=1e-5)
    assert_allclose(m3.compute_lexical_matching_score([one], [other, one])[0, 0], score)
    with pytest.raises(BadInput, match="not one with the other"):
        m3.compute_lexical_matching_score(one, [other])


def test_colbert_vectors_as_the_readme_asks_for_them(m3: Any, goldens: Any) -> None:
    output = m3.encode(TEXTS, return_dense=True, return_sparse=True, return_colbert_vecs=True)
    for i, vectors in enumerate(output["colbert_vecs"]):
        assert_allclose(vectors, goldens[f"bge-m3/multi{i}"], atol=1e-5)
    score = m3.colbert_score(output["colbert_vecs"][7], output["colbert_vecs"][3])
    assert float(score) == pytest.approx(float(goldens["bge-m3/score/colbert"][0]), rel=1e-5)


def test_compute_score_is_flag_embeddings_in_every_part(m3: Any, goldens: Any) -> None:
    scores = m3.compute_score(PAIRS, max_passage_length=512, weights_for_different_modes=[0.4, 0.2, 0.4])
    assert list(scores) == ["colbert", "sparse", "dense", "sparse+dense", "colbert+sparse+dense"]
    for name, values in scores.items():
        assert isinstance(values, list)
        assert_allclose(values, goldens[f"bge-m3/score/{name}"], rtol=1e-5)


def test_one_pair_has_single_scores_and_equal_weights(m3: Any) -> None:
    scores = m3.compute_score(PAIRS[0])
    assert scores["sparse+dense"] == pytest.approx((scores["dense"] + scores["sparse"]) / 2)
    parts = scores["dense"] + scores["sparse"] + scores["colbert"]
    assert scores["colbert+sparse+dense"] == pytest.approx(parts / 3)


def test_one_text_has_single_vectors(m3: Any) -> None:
    output = m3.encode("What is BGE M3?", return_sparse=True, return_colbert_vecs=True)
    assert output["dense_vecs"].shape == (32,)
    assert isinstance(output["lexical_weights"], dict)
    assert output["colbert_vecs"].ndim == 2


def test_max_length_cuts_and_says_so(m3: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "qianru"):
        cut = m3.encode(TEXTS[7:], max_length=4, return_colbert_vecs=True)
    assert len(cut["colbert_vecs"][0]) == 3
    assert "1 of 1 texts were longer than 4 tokens and were cut." in caplog.text


def test_queries_come_after_the_instruction_and_passages_do_not(folders: dict[str, Path], goldens: Any) -> None:
    model = FlagModel(str(folders["bge-zh"]), query_instruction_for_retrieval=INSTRUCTION, use_fp16=False)
    assert_allclose(model.encode_queries(TEXTS), goldens["bge-zh/query"], atol=1e-5)
    assert_allclose(model.encode_corpus(TEXTS), goldens["bge-zh/document"], atol=1e-5)
    assert_allclose(model.encode(TEXTS[0]), goldens["bge-zh/document"][0], atol=1e-5)
    scores = model.encode_queries(["床前明月光", "你好"]) @ model.encode(["疑是地上霜", "我爱吃蔬菜"]).T
    assert scores.shape == (2, 2)


def test_an_instruction_is_put_as_its_format_says(folders: dict[str, Path]) -> None:
    model = FlagModel(folders["bge-zh"], query_instruction_for_retrieval="检索", use_fp16=False,
                      query_instruction_format="<i>{}\\n<q>{}")
    by_hand = model.encode("<i>检索\n<q>明月")
    assert_allclose(model.encode_queries("明月"), by_hand, atol=1e-6)
    with pytest.raises(BadInput, match="for the instruction and"):
        FlagModel(folders["bge-zh"], query_instruction_for_retrieval="检索", query_instruction_format="{}")


def test_the_auto_model_is_the_one_that_fits_the_folder(folders: dict[str, Path]) -> None:
    assert isinstance(FlagAutoModel.from_finetuned(folders["bge-zh"], use_fp16=False), FlagModel)
    found = FlagAutoModel.from_finetuned(folders["bge-m3"], use_fp16=False)
    assert set(found.encode(["明月"])) == {"dense_vecs", "lexical_weights", "colbert_vecs"}


def test_what_cannot_be_obeyed_is_an_error(folders: dict[str, Path], m3: Any) -> None:
    with pytest.raises(TypeError, match="use_fp61"):
        BGEM3FlagModel(folders["bge-m3"], use_fp61=True)    # type: ignore[call-arg]
    with pytest.raises(TypeError, match="return_sparce"):
        m3.encode(["明月"], return_sparce=True)
    with pytest.raises(SpecMismatch, match="pools by mean, not by cls"):
        FlagModel(folders["m3e"], pooling_method="cls")
    with pytest.raises(SpecMismatch, match=r"makes dense vectors only: it is no BGE-M3\. Use FlagModel"):
        BGEM3FlagModel(folders["m3e"], use_fp16=False)
    with pytest.raises(BadInput, match="One device is used"):
        BGEM3FlagModel(folders["bge-m3"], devices=["cuda:0", "cuda:1"])
    with pytest.raises(BadInput, match="one weight each for dense, sparse and colbert, not 2"):
        m3.compute_score(PAIRS, weights_for_different_modes=[1, 2])
    with pytest.raises(BadInput, match="A pair is a query and a document"):
        m3.compute_score([("a", "b", "c")])


def test_half_precision_is_close(folders: dict[str, Path], goldens: Any) -> None:
    dense = BGEM3FlagModel(folders["bge-m3"], use_bf16=True).encode(TEXTS)["dense_vecs"]
    assert (dense * goldens["bge-m3/document"]).sum(1).min() > 0.999
    assert dense.dtype == np.float32
