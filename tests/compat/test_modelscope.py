"""ModelScope's example with the import line changed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TEXTS
from numpy.testing import assert_allclose

from qianru.compat import Tasks, pipeline
from qianru.errors import BadInput, UnknownName


def test_the_example_of_the_card(folders: dict[str, Path], goldens: Any) -> None:
    pipeline_se = pipeline(Tasks.sentence_embedding, model=str(folders["gte"]), sequence_length=512)
    result = pipeline_se(input={"source_sentence": TEXTS[:1], "sentences_to_compare": TEXTS[1:]})
    expected = goldens["gte/document"]
    assert_allclose(result["text_embedding"], expected, atol=2e-5)
    assert_allclose(result["scores"], expected[1:] @ expected[0], rtol=1e-4)
    assert isinstance(result["scores"], list)
    assert list(result) == ["text_embedding", "scores"]


def test_without_comparisons_there_are_no_scores(folders: dict[str, Path]) -> None:
    result = pipeline(Tasks.sentence_embedding, model=folders["gte"])(input={"source_sentence": TEXTS})
    assert result["scores"] == []
    assert result["text_embedding"].shape == (len(TEXTS), 32)


def test_only_the_first_source_is_compared(folders: dict[str, Path]) -> None:
    ask = pipeline(Tasks.sentence_embedding, model=folders["gte"])
    one = ask({"source_sentence": TEXTS[:1], "sentences_to_compare": TEXTS[2:4]})
    two = ask({"source_sentence": TEXTS[:2], "sentences_to_compare": TEXTS[2:4]})
    assert two["text_embedding"].shape == (4, 32)
    assert_allclose(one["scores"], two["scores"], rtol=1e-5)


def test_texts_are_cut_at_128_tokens_unless_told_otherwise(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "qianru"):
        pipeline(Tasks.sentence_embedding, model=folders["gte"])({"source_sentence": ["明月" * 100]})
    assert "1 of 1 texts were longer than 128 tokens and were cut." in caplog.text


def test_the_vector_of_a_cut_text_is_that_of_its_first_tokens(folders: dict[str, Path]) -> None:
    ask = pipeline(Tasks.sentence_embedding, model=folders["gte"])       # 126 tokens between [CLS] and [SEP]
    result = ask({"source_sentence": ["明月" * 100], "sentences_to_compare": ["明月" * 63, "明月" * 62]})
    whole, cut, shorter = result["text_embedding"]
    assert_allclose(whole, cut, atol=1e-6)
    assert np.abs(whole - shorter).max() > 1e-3
    assert_allclose(result["scores"], [whole @ cut, whole @ shorter], rtol=1e-5)


def test_what_cannot_be_obeyed_is_an_error(folders: dict[str, Path]) -> None:
    with pytest.raises(UnknownName, match=r"There is no task 'sentence-embeding'\. Did you mean 'sentence-embedding'"):
        pipeline("sentence-embeding", model=folders["gte"])
    ask = pipeline(Tasks.sentence_embedding, model=folders["gte"])
    with pytest.raises(BadInput, match="source_sentence"):
        ask(TEXTS)
    with pytest.raises(UnknownName, match=r"There is no input 'sentence_to_compare'\. Did you mean"):
        ask({"source_sentence": TEXTS, "sentence_to_compare": TEXTS})
    with pytest.raises(BadInput, match="no source_sentence to compare"):
        ask({"source_sentence": [], "sentences_to_compare": TEXTS})
