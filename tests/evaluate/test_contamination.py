"""Texts of a test that training files hold are found, in any typography, however large the files are."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

from qianru.errors import BadFile, BadInput
from qianru.evaluate.contamination import TrainText, find_contamination, find_contaminations, train_texts
from qianru.evaluate.grams import grams_of, mostly_chars, tokens_of, whole_texts

POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"
SENTENCE = "The quick brown fox jumps over the lazy dog and runs away"


def as_train(*texts: str) -> Iterator[TrainText]:
    return (TrainText(f"train.txt:{i}", text) for i, text in enumerate(texts, 1))


def slow_tokens(text: str) -> list[str]:
    """The same, a character at a time."""
    from qianru.evaluate.grams import _ALONE, _IN_WORD, _kinds
    from qianru.text.normalize import fold

    found: list[str] = []
    inside = False
    for char in fold(text, script=True).lower():
        kind = _kinds()[ord(char)]
        if kind == _IN_WORD and inside:
            found[-1] += char
        elif kind in (_ALONE, _IN_WORD):
            found.append(char)
        inside = kind == _IN_WORD
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=" ab3é，。！床前明月日本語のきABＡ\n", max_size=12), max_size=6), st.integers(1, 4))
def test_equal_hashes_are_equal_ngrams_of_one_text(texts: list[str], n: int) -> None:
    """Beside the sums of hashes stands a loop over the characters."""
    tokens = tokens_of(texts)
    words = [slow_tokens(text) for text in texts]
    assert tokens.texts.tolist() == [i for i, text in enumerate(words) for _ in text]
    grams = grams_of(tokens, n)
    slow = [(i, tuple(text[at : at + n])) for i, text in enumerate(words) for at in range(len(text) - n + 1)]
    assert grams.texts.tolist() == [i for i, _ in slow]
    number: dict[tuple[str, ...], int] = {}
    for value, (_, gram) in zip(grams.hashes.tolist(), slow, strict=True):
        assert number.setdefault(gram, value) == value
    assert len(set(number.values())) == len(number)
    hashes, lengths = whole_texts(tokens)
    assert lengths.tolist() == [len(text) for text in words]
    for one, left in zip(words, hashes.tolist(), strict=True):
        assert [left == right for right in hashes.tolist()] == [one == other for other in words]


def test_a_text_is_chinese_or_of_words_by_most_of_its_tokens() -> None:
    assert mostly_chars(tokens_of([POEM, SENTENCE, "BERT 模型的训练", "the word 词 in use"])).tolist() == [
        True, False, True, False]


def test_a_test_text_in_the_training_file_is_found_in_any_typography() -> None:
    train = ["别的一句话", "床 前 明 月 光 疑 是 地 上 霜 舉 頭 望 明 月 低 頭 思 故 鄉",
             "THE QUICK brown fox!  jumps over the lazy dog — and runs away."]
    found = find_contamination([POEM, SENTENCE, "没有见过的句子"], as_train(*train))
    assert found.exact.tolist() == [True, True, False]
    assert (found.n_texts, found.n_exact, found.n_overlapping, found.n_train) == (3, 2, 2, 3)
    assert {leak.place for leak in found.leaks} == {"train.txt:2", "train.txt:3"}


def test_a_part_of_a_text_is_told_as_its_share_of_ngrams() -> None:
    """Of 20 characters the first 16 stand in a training text: 4 of 8 grams of 13."""
    found = find_contamination([POEM], as_train("李白写道：" + POEM[:19] + "这首诗很有名"))
    assert found.exact.tolist() == [False]
    assert_allclose(found.share, [4 / 8])
    assert found.n_overlapping == 1
    (leak,) = found.leaks
    assert (leak.exact, leak.place, leak.text) == (False, "train.txt:1", POEM)


def test_words_are_counted_as_words_and_characters_as_characters() -> None:
    """Of 12 English words 9 in a row are seen: 2 of 5 grams of 8."""
    found = find_contamination([SENTENCE], as_train("A quick brown fox jumps over the lazy dog and sleeps"))
    assert_allclose(found.share, [2 / 5])


def test_a_text_shorter_than_an_ngram_counts_only_if_it_stands_there_whole() -> None:
    found = find_contamination(["花呗怎么还款", "花呗"], as_train("请问花呗怎么还款呢", "花呗怎么还款？"))
    assert found.exact.tolist() == [True, False]
    assert found.share.tolist() == [0.0, 0.0]


def test_an_ngram_does_not_reach_over_the_end_of_a_text() -> None:
    found = find_contamination([POEM], as_train(POEM[:12], POEM[12:]))
    assert found.n_overlapping == 0


def test_the_same_text_twice_in_the_test_is_found_twice() -> None:
    assert find_contamination([POEM, "x", POEM], as_train(POEM)).exact.tolist() == [True, False, True]


def test_texts_without_words_are_alike_in_nothing() -> None:
    found = find_contamination(["", "？！", POEM], as_train("", "……", "  "))
    assert found.n_overlapping == 0
    assert find_contamination([], as_train(POEM)).n_texts == 0
    assert find_contamination([POEM], as_train()).n_train == 0


def test_the_training_text_named_is_the_one_that_shares_most() -> None:
    train = [POEM[:17], POEM + "，又及", "无关的话"]
    (leak,) = find_contamination([POEM], as_train(*train[1:], train[0])).leaks
    assert leak.place == "train.txt:1"
    assert leak.train_text == POEM + "，又及"


def test_several_tests_are_looked_for_at_once_and_told_apart() -> None:
    found = find_contaminations({"诗": ["无关的话", POEM], "空": [], "句": [SENTENCE]}, as_train(POEM))
    assert {name: part.exact.tolist() for name, part in found.items()} == {"诗": [False, True], "空": [], "句": [False]}
    assert [leak.text for leak in found["诗"].leaks] == [POEM]
    assert found["句"].leaks == ()


def random_texts(n: int, seed: int, length: int = 60) -> list[str]:
    codes = np.random.default_rng(seed).integers(0x4E00, 0x9FA5, (n, length))
    return ["".join(map(chr, row)) for row in codes]


def test_with_too_many_ngrams_a_sample_of_them_gives_the_same_shares() -> None:
    """Half of each text is seen; with a thirtieth of the grams the mean share is still a half."""
    texts = random_texts(400, 0, 213)
    train = [text[:112] for text in texts]
    whole = find_contamination(texts, as_train(*train))
    sampled = find_contamination(texts, as_train(*train), max_grams=3_000)
    assert_allclose(whole.share, 100 / 201)
    assert sampled.kept <= 1 / 16
    assert sampled.share.mean() == pytest.approx(100 / 201, abs=0.03)


def test_memory_does_not_grow_with_the_training_files() -> None:
    texts = random_texts(200, 1)

    def peak(n: int) -> int:
        block = random_texts(2_000, 2)
        train = (TrainText("", text) for _ in range(n) for text in block)
        tracemalloc.start()
        try:
            find_contamination(texts, train)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)                                  # tables that are made once
    assert peak(30) < 1.3 * peak(10)


def test_training_files_of_every_kind_are_read(tmp_path: Path) -> None:
    lines = tmp_path / "pairs.txt"
    lines.write_text(f"花呗怎么还款\t{POEM}\t1\n", "utf-8")
    packed = tmp_path / "triples.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps({"query": "问", "pos": [POEM], "neg": [["否"]], "n": 3}).encode()))
    table = tmp_path / "rows.csv"
    table.write_text(f"label,text\n1,\"{POEM}\"\n", "utf-8")
    for file in (lines, packed, table):
        found = find_contamination([POEM], train_texts([file]))
        assert found.n_exact == 1
        assert str(file) in found.leaks[0].place
    assert [text.text for text in train_texts([packed])] == ["问", POEM, "否"]
    with pytest.raises(BadFile):
        list(train_texts([tmp_path / "nowhere.jsonl"]))


def test_an_ngram_of_one_word_is_refused() -> None:
    with pytest.raises(BadInput, match="two tokens or more"):
        find_contamination([POEM], as_train(POEM), n_words=1)


def test_the_finetuning_file_made_of_stsb_is_told_to_overlap_its_training_part(data: Path) -> None:
    """The data's manifest says that this file was built from the Chinese STS-B."""
    built = data / "train" / "pairs" / "text2vec_bge_finetune_data.jsonl.gz"
    pairs = (data / "sts" / "stsb_zh" / "STS-B.train.data").read_text("utf-8").splitlines()
    sentences = [sentence for line in pairs for sentence in line.split("\t")[:2]]
    found = find_contamination(sentences, train_texts([built]))
    assert found.n_exact > 1_000
