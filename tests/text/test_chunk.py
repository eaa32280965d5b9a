"""Texts to passages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from qianru.errors import BadInput
from qianru.text.chunk import chunk
from qianru.text.read import Heading, Source, read_file


def test_sentences_are_packed_up_to_the_limit_and_the_last_is_repeated() -> None:
    source = Source("诗.txt", "一二三。四五六。七八九。十。")
    pieces = [piece.text for piece in chunk(source, max_chars=8)]
    assert pieces == ["一二三。四五六。", "四五六。七八九。", "七八九。十。"]
    assert [piece.text for piece in chunk(source, max_chars=8, overlap=0)] == ["一二三。四五六。", "七八九。十。"]


def test_what_is_repeated_takes_at_most_half_of_a_passage() -> None:
    pieces = chunk(Source("文.txt", "一二三四五六七。八。九。"), max_chars=9)
    assert [piece.text for piece in pieces] == ["一二三四五六七。", "八。九。"]


def test_a_long_sentence_is_cut_at_a_comma_or_else_anywhere() -> None:
    assert [p.text for p in chunk(Source("文.txt", "春眠不觉晓，处处闻啼鸟夜来风雨声"), max_chars=8)] == [
        "春眠不觉晓，", "处处闻啼鸟夜来风", "雨声",
    ]      # fmt: skip


def test_passages_do_not_cross_headings_and_know_their_path() -> None:
    text = "序。\n# 物权\n## 通则\n物权法。\n## 所有权\n所有权人。"
    headings = (Heading(3, 1, "物权"), Heading(8, 2, "通则"), Heading(19, 2, "所有权"))
    pieces = chunk(Source("法.md", text, headings=headings))
    assert [(p.heading, p.line) for p in pieces] == [("", 1), ("物权 > 通则", 2), ("物权 > 所有权", 5)]
    assert pieces[1].text == "# 物权\n## 通则\n物权法。"      # a heading alone goes with what follows


def test_passages_know_the_line_of_the_file() -> None:
    pieces = chunk(Source("诗.txt", "一。\n二。\n\n三。", line=10), max_chars=2, overlap=0)
    assert [piece.line for piece in pieces] == [10, 11, 13]
    pieces = chunk(Source("页.html", "一。\n二。\n三。", lines=(4, 9, 30)), max_chars=2, overlap=0)
    assert [piece.line for piece in pieces] == [4, 9, 30]


def test_a_text_without_words_has_no_passages() -> None:
    assert chunk(Source("空.txt", " \n\n　")) == []


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(BadInput, match="max_chars must be at least 1"):
        chunk(Source("a", "b"), max_chars=0)


@given(
    st.text(alphabet="我他，。\n a1.”\"　", max_size=120),
    st.integers(1, 30),
    st.integers(0, 3),
    st.lists(st.integers(0, 120), max_size=4),
)
def test_nothing_of_a_text_is_lost(text: str, max_chars: int, overlap: int, places: list[int]) -> None:
    headings = tuple(Heading(place, 1 + place % 3, str(place)) for place in sorted(set(places)) if place < len(text))
    pieces = chunk(Source("a", text, headings=headings), max_chars=max_chars, overlap=overlap)
    covered: set[int] = set()
    for piece in pieces:
        assert piece.text == text[piece.start : piece.end]
        assert 0 < len(piece.text) <= max_chars
        assert piece.line == text.count("\n", 0, piece.start) + 1
        covered.update(range(piece.start, piece.end))
    assert all(text[i].isspace() for i in range(len(text)) if i not in covered)
    assert [p.start for p in pieces] == sorted(p.start for p in pieces)


def test_passages_of_the_civil_code_know_their_lines_and_chapters(data: Path) -> None:
    (source,) = read_file(data / "articles" / "民法典" / "物权编.md")
    assert isinstance(source, Source)
    pieces = chunk(source)
    piece = next(p for p in pieces if "第二百四十条" in p.text)
    assert piece.heading == "物权编 > 第二分编 所有权 > 第四章 一般规定"
    lines = (data / "articles" / "民法典" / "物权编.md").read_text(encoding="utf-8").split("\n")
    assert all(p.text.split("\n")[0] in lines[p.line - 1] for p in pieces)
