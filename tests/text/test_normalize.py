"""Folding: one character for one, so that offsets hold."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from qianru.text.normalize import clean, fold, simplified, spelled_in_ascii

STRANGE = st.text("ＡＢＣ１ｶﾞ髮發⼀café\ud800\0😀𠀀，. -", max_size=60)
ANY_TEXT = st.text(st.characters(codec=None), max_size=40) | STRANGE


def test_full_width_letters_and_digits_become_plain() -> None:
    assert fold("ＡＢＣ１２３，％　～") == "ABC123,% ~"


def test_half_width_katakana_becomes_full_width_mark_by_mark() -> None:
    assert fold("ｱｲｶﾞ") == "アイカ\u3099"


def test_a_radical_from_a_pdf_becomes_the_character() -> None:
    radical = "⼀⼈"                    # U+2F00 U+2F08
    assert radical != "一人"
    assert fold(radical) == "一人"


def test_a_compatibility_ideograph_becomes_the_usual_one() -> None:
    assert fold("\uf900\U0002f800") == "豈丽"


def test_signs_whose_plain_form_is_longer_stay() -> None:
    assert fold("℃㎡…￣") == "℃㎡…￣"


def test_width_can_be_left_alone() -> None:
    assert fold("ＡＩ", width=False) == "ＡＩ"


def test_traditional_becomes_simplified() -> None:
    assert fold("電腦裡的檔案", script=True) == "电脑里的档案"
    assert fold("電腦") == "電腦"


def test_simplified_text_stays() -> None:
    text = "我们的电脑里有很多档案,著名的皇帝也没有"
    assert fold(text, script=True) == text


def test_a_compatibility_ideograph_is_simplified_too() -> None:
    assert fold("\uf902", script=True) == "车"      # 車 by its second code point


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert fold("a\ud800中", width=False) == "a\ufffd中"


def test_cleaning_mends_broken_halves_only() -> None:
    assert clean("a\ud800中\udfff") == "a\ufffd中\ufffd"
    text = "Ａ電\0😀"
    assert clean(text) is text


@given(ANY_TEXT, st.booleans(), st.booleans())
@settings(deadline=None)
def test_folding_keeps_the_length_and_makes_text_that_files_can_hold(text: str, width: bool, script: bool) -> None:
    folded = fold(text, width=width, script=script)
    assert len(folded) == len(text)
    folded.encode()


@given(ANY_TEXT)
@settings(deadline=None)
def test_folding_width_twice_is_folding_it_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_letters_of_other_alphabets_are_masked_only_inside_words() -> None:
    assert spelled_in_ascii("Café和Привет，e\u0301") == "Cafq和qqqqqq，eq"
    for text in ("γ射线", "中文English", "ひらがな", "한국어"):
        assert spelled_in_ascii(text) is text


def test_the_script_table_holds_single_characters() -> None:
    table = simplified()
    assert len(table) > 4000
    assert all(len(old) == len(new) == 1 and old != new for old, new in table.items())
    assert {table[old] for old in "萬與醜專業"} == set("万与丑专业")
    assert all(unicodedata.category(old) == "Lo" for old in table)


def test_character_folding_is_close_to_opencc_on_drcd(data: Path) -> None:
    opencc = pytest.importorskip("opencc")
    articles = json.loads(gzip.decompress((data / "retrieval/drcd/DRCD_dev.json.gz").read_bytes()))["data"]
    texts = [part["context"] for article in articles for part in article["paragraphs"]]
    text = "".join(texts)
    expected = opencc.OpenCC("t2s").convert(text)
    ours = fold(text, width=False, script=True)
    assert len(ours) == len(expected)
    unlike = sum(a != b for a, b in zip(ours, expected, strict=True))
    assert unlike / len(text) < 0.0004      # 画 for 划 and the like, which need the phrase
