"""Text fit for a terminal: widths in columns, no control characters, excerpts where the matches are."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st

from qianru.cli.layout import NEVER_FIRST, columns, excerpt, one_line, wrap


def lines(text: str, width: int) -> list[str]:
    places = [0, *wrap(text, width), len(text)]
    return [text[a:b] for a, b in pairwise(places)]


def test_a_line_breaks_beside_chinese_characters_and_at_spaces() -> None:
    assert lines("用BM25检索中文文档", 10) == ["用BM25检索", "中文文档"]
    assert lines("full text search", 10) == ["full text ", "search"]


def test_a_line_does_not_begin_with_a_comma_nor_end_with_an_opening_mark() -> None:
    assert lines("床前明月光，疑是地上霜", 10) == ["床前明月", "光，疑是地", "上霜"]
    assert lines("他说道：“好！”走了", 10) == ["他说道：", "“好！”走了"]


def test_a_word_wider_than_the_line_is_cut() -> None:
    assert lines("abcdefghij", 4) == ["abcd", "efgh", "ij"]


@given(st.text(max_size=200), st.integers(2, 40))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    text = one_line(text)
    wrapped = lines(text, width)
    assert "".join(wrapped) == text
    assert all(columns(line.rstrip(" ")) <= width for line in wrapped)


def test_line_breaks_vanish_between_chinese_characters_only() -> None:
    assert one_line("向量\n检索\n\nof many\n  texts") == "向量检索 of many texts"


def test_control_characters_cannot_drive_the_terminal() -> None:
    assert one_line("红\x1b]0;title\x07色\x00\u009b31m\ud800") == "红�]0;title�色��31m�"


def test_an_excerpt_is_taken_where_the_matches_are_and_its_spans_move_along() -> None:
    text = "无关" * 100 + "退款流程和退款期限" + "无关" * 100
    spans = [(200, 202), (205, 207)]
    short, moved = excerpt(text, spans, 40)
    assert len(short) <= 42
    assert [short[a:b] for a, b in moved] == ["退款", "退款"]
    assert short.startswith("…")
    assert short.endswith("…")


def test_a_short_text_is_its_own_excerpt() -> None:
    assert excerpt("退款", [(0, 2)], 10) == ("退款", [(0, 2)])


def test_no_punctuation_is_both_kinds() -> None:
    from qianru.cli.layout import NEVER_LAST

    assert not NEVER_FIRST & NEVER_LAST
