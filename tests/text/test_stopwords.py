"""Stop words: lists as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from qianru.errors import BadFile, UnknownName
from qianru.text.stopwords import FOLDER, read_stop_words, stop_lists, stop_words


def test_there_is_a_chinese_and_an_english_list() -> None:
    assert stop_lists() == ("en", "zh")


@pytest.mark.parametrize("name", stop_lists())
def test_a_list_is_sorted_and_says_nothing_twice(name: str) -> None:
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    words = [line for line in lines if not line.startswith("#")]
    assert words == sorted(set(words))
    assert all(word == word.strip() and word for word in words)


def test_the_english_list_has_nltks_179_words() -> None:
    assert len(stop_words("en")) == 179
    assert {"i", "wouldn't", "y", "don"} < stop_words("en")


def test_the_chinese_list_holds_function_words_only() -> None:
    assert {"的", "了", "和", "虽然", "我们", "因为"} < stop_words("zh")
    assert not {"时间", "今天", "学习", "问题", "中国", "吃", "好"} & stop_words("zh")


def test_an_unknown_list_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'zh'"):
        stop_words("zhs")


def test_a_list_of_ones_own_has_a_word_a_line_and_remarks(tmp_path: Path) -> None:
    file = tmp_path / "stop.txt"
    file.write_text("\ufeff# 店名\n酒店\r\n\n  客房 \n", encoding="utf-8")
    assert read_stop_words(file) == ("酒店", "客房")


def test_a_list_of_ones_own_that_is_not_utf8_or_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "stop.txt"
    file.write_bytes("酒店\n".encode() + "客房".encode("gb18030"))
    with pytest.raises(BadFile, match=r"stop\.txt, line 2: the list of stop words is not UTF-8"):
        read_stop_words(file)
    with pytest.raises(BadFile, match=r"none\.txt cannot be read"):
        read_stop_words(tmp_path / "none.txt")
