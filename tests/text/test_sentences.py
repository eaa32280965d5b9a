"""Where sentences end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from qianru.text.sentences import sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def test_chinese_stops_end_a_sentence() -> None:
    assert cut("你好！你是谁？我走了。好；再见") == ["你好！", "你是谁？", "我走了。", "好；", "再见"]


def test_a_closing_quote_stays_with_its_sentence() -> None:
    assert cut("他说：“走吧。”然后走了。") == ["他说：“走吧。”", "然后走了。"]
    assert cut("「真的嗎？」她問。（见第三章。）完") == ["「真的嗎？」", "她問。", "（见第三章。）", "完"]


def test_stops_in_a_row_are_one_end() -> None:
    assert cut("什么？！不……不可能。。。") == ["什么？！", "不……", "不可能。。。"]


def test_a_straight_quote_closes_if_one_is_open_in_the_line() -> None:
    assert cut('他说："走吧。"然后走了。"来！"她喊。') == ['他说："走吧。"', '然后走了。', '"来！"', "她喊。"]
    assert cut('一"\n他说："走吧。"然后') == ['一"', '他说："走吧。"', "然后"]


def test_the_full_width_dot_of_older_files_ends_a_sentence_but_no_number() -> None:
    assert cut("此开卷第一回也．作者自云３．１４．") == ["此开卷第一回也．", "作者自云３．１４．"]


def test_lines_end_sentences() -> None:
    assert cut("床前明月光\n\n  疑是地上霜\r\n") == ["床前明月光", "疑是地上霜"]


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith met Mr. J. K. Lee at 3.15 p.m. on the 4th.",
        "See e.g. Fig. 3 or No. 5 of Smith et al. 2019 at www.qianru.org/a.html?q=1.",
        "1. Introduction to text embeddings.",
        "Version 1.0.2 of file.txt costs $3.50!",
    ],
)
def test_numbers_addresses_abbreviations_and_initials_do_not_end_a_sentence(text: str) -> None:
    assert cut(text) == [text]


def test_english_sentences_end_before_a_capital() -> None:
    assert cut('It works. "Really?" Yes! In 2020. So did I. The end') == [
        "It works.", '"Really?"', "Yes!", "In 2020.", "So did I.", "The end",
    ]      # fmt: skip


def test_english_stops_end_a_sentence_before_chinese_too() -> None:
    assert cut("I love NLP.我也是!真的?真的") == ["I love NLP.", "我也是!", "真的?", "真的"]
    assert cut("1.总则") == ["1.总则"]


def test_a_text_without_words_has_no_sentences() -> None:
    assert cut("") == cut(" \n　\t") == []


@given(st.text(alphabet="我a1 .。!?！”\"'“\n　(）…．Dr", max_size=60))
def test_sentences_cover_all_that_is_not_space_once_and_in_order(text: str) -> None:
    spans = sentences(text)
    assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert all(text[s:e] and text[s:e] == text[s:e].strip() for s, e in spans)


@pytest.mark.parametrize("unit", [".", "。", "。”", '。"', "?'", "a. ", "．", " ", "\n", "no. 5 "])
def test_the_time_grows_with_the_length_not_its_square(unit: str) -> None:
    sentences(unit * (200_000 // len(unit)) + "a")      # a square would take minutes
