"""Encodings recognised."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from qianru.errors import BadFile, UnknownName
from qianru.text.decode import Decoded, decode

POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n"
TRADITIONAL = "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。這裡說的電腦與資料庫，關於學習。\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030", "gbk"])
def test_a_chinese_text_is_read_alike_in_every_encoding(encoding: str) -> None:
    decoded = decode(POEM.encode(encoding))
    assert decoded.text == POEM
    assert not decoded.warnings


def test_big5_is_told_from_gb18030() -> None:
    assert decode(TRADITIONAL.encode("big5")) == Decoded(TRADITIONAL, "big5")
    assert decode(TRADITIONAL.encode("gb18030")).encoding == "gb18030"


@pytest.mark.parametrize("text", ["你好", "中文abc", "价格：100元"])
def test_a_few_characters_are_enough_for_gb18030(text: str) -> None:
    assert decode(text.encode("gb18030")).text == text


@pytest.mark.parametrize("text", ["Condé Nast", "L'été, où étiez-vous? À la façade du café", "Zürich, Málaga, Tromsø"])
def test_latin_1_is_not_taken_for_chinese(text: str) -> None:
    decoded = decode(text.encode("latin-1"))
    assert (decoded.text, decoded.encoding) == (text, "windows-1252")


def test_windows_1252_holds_curly_quotes_and_every_byte() -> None:
    assert decode(b"You\x92ll \x81 caf\xe9").text == "You’ll \x81 café"


def test_a_novel_in_gb18030_and_hotels_in_latin_1_are_recognised(data: Path) -> None:
    novel = (data / "articles" / "西游记.txt").read_text(encoding="utf-8")
    decoded = decode(novel.encode("gb18030"))
    assert (decoded.text, decoded.encoding) == (novel, "gb18030")
    hotels = (data / "articles" / "Seattle_Hotels.csv").read_bytes()
    decoded = decode(hotels)
    assert decoded.encoding == "windows-1252"
    assert "Condé Nast" in decoded.text
    assert not decoded.warnings


def test_an_encoding_that_is_named_wins() -> None:
    assert decode("café".encode("latin-1"), "latin-1").text == "café"
    assert decode("你好".encode("gb18030"), "big5").text != "你好"


def test_bytes_that_the_named_encoding_lacks_are_replaced_and_told() -> None:
    decoded = decode("一\n二".encode() + b"\xff", "utf-8")
    assert decoded.warnings[0][0] == 2
    assert "U+FFFD" in decoded.warnings[0][1]


def test_a_wrong_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'gb18030'"):
        decode(b"", "gb18031")
    with pytest.raises(UnknownName):
        decode(b"aGk=", "base64")


def test_a_page_that_names_its_encoding_is_believed_unless_it_is_utf_8() -> None:
    assert decode("龘".encode("gb18030"), hint="gb2312").text == "龘"
    assert decode("あ".encode("shift_jis"), hint="Shift_JIS").text == "あ"
    assert decode("é".encode(), hint="iso-8859-1").text == "é"
    assert decode(b"abc", hint="nonsense").text == "abc"


def test_lines_of_two_encodings_are_each_read_in_theirs_and_told() -> None:
    data = "第一行是对的\n".encode() + "第二行不同\n".encode("gb18030") + "第三行也对".encode()
    decoded = decode(data)
    assert decoded.text == "第一行是对的\n第二行不同\n第三行也对"
    assert decoded.encoding == "utf-8"
    ((line, reason),) = decoded.warnings
    assert line == 2
    assert "1 lines from this one on are not utf-8: 1 were read in another encoding" in reason


def test_a_damaged_byte_costs_one_character_and_is_told() -> None:
    decoded = decode("床前明月光\n疑是".encode() + b"\xff" + "地上霜".encode())
    assert decoded.text == "床前明月光\n疑是\ufffd地上霜"
    assert decoded.warnings[0][0] == 2


def test_line_ends_become_one_kind() -> None:
    assert decode(b"a\r\nb\rc\nd").text == "a\nb\nc\nd"


def test_bytes_that_are_no_text_are_refused() -> None:
    for data in (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x7fELF\x02\x01\x01" + bytes(50), bytes(range(256)) * 10):
        with pytest.raises(BadFile, match="no text"):
            decode(data)


def test_a_stray_nul_in_a_text_becomes_a_space_and_is_told() -> None:
    decoded = decode(("床前明月光，" * 10 + "\n疑\0是").encode())
    assert decoded.text.endswith("\n疑 是")
    assert decoded.warnings == ((2, "1 NUL characters from this line on became spaces."),)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_text_or_refused(data: bytes) -> None:
    try:
        decoded = decode(data)
    except BadFile:
        return
    assert "\0" not in decoded.text
    assert "\r" not in decoded.text
    decoded.text.encode()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff", exclude_categories=["Cc"]), min_size=1))
def test_utf_8_comes_back_as_it_was(text: str) -> None:
    assert decode(text.encode()).text == text
