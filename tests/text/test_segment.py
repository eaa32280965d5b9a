"""Segmentation: jieba's words, with offsets, user words and texts of any size."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st

from qianru.errors import BadFile, BadInput
from qianru.text import segment
from qianru.text.segment import Segmenter, read_user_words, segmenter

STRANGE = st.text("我爱吃中国科学院BGE-M3.5%_+é\ud800\0😀𠀀 \r\n，。", max_size=60)
ANY_TEXT = st.text(st.characters(codec=None), max_size=60) | STRANGE


def words_by_jieba(text: str, search: bool) -> list[str]:
    jieba = pytest.importorskip("jieba")
    jieba.setLogLevel(logging.ERROR)
    cut = jieba.lcut_for_search if search else jieba.lcut
    return [word for word in cut(text) if any(sign.isalnum() for sign in word)]


def test_punctuation_and_spaces_are_left_out_and_single_characters_kept() -> None:
    assert segmenter().words("我 爱吃，蔬菜！——“肉”…") == ["我", "爱", "吃", "蔬菜", "肉"]


def test_bu_ai_is_one_word_only_as_a_user_word() -> None:
    text = "我不爱吃蔬菜,我喜欢吃肉"
    assert segmenter().words(text) == ["我", "不", "爱", "吃", "蔬菜", "我", "喜欢", "吃", "肉"]
    assert segmenter(("不爱",)).words(text) == ["我", "不爱", "吃", "蔬菜", "我", "喜欢", "吃", "肉"]


def test_search_mode_also_gives_the_words_inside_a_word() -> None:
    assert segmenter().words("中国科学院", search=True) == ["中国", "科学", "学院", "科学院", "中国科学院"]


def test_unknown_words_are_guessed_unless_hmm_is_off() -> None:
    assert segmenter().words("他来到了网易杭研大厦") == ["他", "来到", "了", "网易", "杭研", "大厦"]
    assert segmenter().words("他来到了网易杭研大厦", hmm=False) == ["他", "来到", "了", "网易", "杭", "研", "大厦"]


@pytest.mark.parametrize(
    ("text", "plain", "search"),
    [
        ("BGE-M3", ["BGE", "M3"], ["BGE", "M3", "BGE-M3"]),
        ("R.Kelly", ["R", "Kelly"], ["R", "Kelly", "R.Kelly"]),
        ("1960-1969", ["1960", "1969"], ["1960", "1969", "1960-1969"]),
        ("foo_bar", ["foo", "bar"], ["foo", "bar", "foo_bar"]),
        ("3.5mm", ["3.5", "mm"], ["3.5", "mm", "3.5mm"]),
        ("3.14%", ["3.14%"], ["3.14%"]),
        ("C++", ["C++"], ["C++"]),
        ("AT&T", ["AT&T"], ["AT&T"]),
        ("iPhone15", ["iPhone15"], ["iPhone15"]),
    ],
)
def test_latin_compounds_are_cut_as_jieba_cuts_them_and_kept_whole_beside_in_search_mode(
    text: str, plain: list[str], search: list[str]
) -> None:
    assert segmenter().words(f"用{text}吧") == ["用", *plain, "吧"]
    assert segmenter().words(f"用{text}吧", search=True) == ["用", *search, "吧"]
    assert plain == words_by_jieba(text, search=False)


def test_rare_characters_are_words_of_their_own_as_in_jieba() -> None:
    assert segmenter().words("𠀀𠀁.𠀂字㐀㐁", search=True) == ["𠀀", "𠀁", "𠀂", "字", "㐀", "㐁"]


def test_offsets_count_characters_also_beyond_the_basic_plane() -> None:
    text = "😀𠀀𠀁中国👨‍👩‍👧科学院"
    for word, start, end in segmenter().spans(text, search=True):
        assert text[start:end] == word
    assert ("中国", 3, 5) in segmenter().spans(text)


@given(ANY_TEXT, st.booleans(), st.booleans())
@example("a.b\ud800c-d", True, True)
@settings(max_examples=200, deadline=None)
def test_any_text_is_cut_and_spans_are_the_words(text: str, search: bool, hmm: bool) -> None:
    spans = segmenter().spans(text, search=search, hmm=hmm)
    assert [word for word, _, _ in spans] == segmenter().words(text, search=search, hmm=hmm)
    assert all(text[start:end].replace("\ud800", "\ufffd") == word for word, start, end in spans)


def test_a_long_text_is_cut_at_punctuation_into_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "中国科学院计算所，我们喜欢BGE-M3。小明硕士毕业于北京；后来去了日本！" * 20
    whole = segmenter().spans(text, search=True)
    monkeypatch.setattr(segment, "LONGEST", 50)
    assert segmenter().spans(text, search=True) == whole
    assert segmenter().words(text, search=True) == [word for word, _, _ in whole]


def test_a_long_text_without_breaks_is_cut_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "LONGEST", 50)
    assert "".join(segmenter().words("中国科学院" * 100)) == "中国科学院" * 100


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize(("file", "unlike"), [("articles/民法典/合同编.md", 0), ("articles/民法典/物权编.md", 0)])
def test_the_civil_code_is_cut_exactly_as_by_jieba(data: Path, file: str, unlike: int, search: bool) -> None:
    lines = (data / file).read_text(encoding="utf-8").splitlines()
    assert sum(segmenter().words(line, search=search) != words_by_jieba(line, search) for line in lines) == unlike


def test_titles_are_cut_as_by_jieba_but_for_one_in_ten_thousand(data: Path) -> None:
    lines = (data / "classification/fewclue_tnews/test_public.json").read_text(encoding="utf-8").splitlines()
    titles = [json.loads(line)["sentence"] for line in lines]
    assert sum(segmenter().words(title) != words_by_jieba(title, search=False) for title in titles) <= 1


def test_user_words_belong_to_their_segmenter_alone() -> None:
    assert "石墨烯电池" in segmenter(("石墨烯电池",)).words("新的石墨烯电池")
    assert "石墨烯电池" not in segmenter().words("新的石墨烯电池")


def test_a_user_word_with_a_hyphen_stays_whole() -> None:
    assert segmenter(("BGE-M3",)).words("用BGE-M3吧") == ["用", "BGE-M3", "吧"]


def test_a_user_word_with_a_sign_between_han_stays_whole() -> None:
    assert segmenter(("我.书",)).words("看我.书了") == ["看", "我.书", "了"]


def test_user_words_are_read_in_jiebas_format(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\ufeff云计算 5\n\n李小福 2 nr\r\n创新办 3 i\neasy_install eng\n台中\n", encoding="utf-8")
    found = read_user_words(file)
    assert found == ("云计算 5", "李小福 2 nr", "创新办 3 i", "easy_install eng", "台中")
    assert Segmenter(found).words("李小福是创新办主任也是云计算方面的专家")[:3] == ["李小福", "是", "创新办"]


@pytest.mark.parametrize("line", ["云计算 五", "云 计算 5", "a b c d", "云计算 99999999999999999999"])
def test_a_wrong_line_of_a_user_dictionary_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "words.txt"
    file.write_text(f"好词 3\n{line}\n", encoding="utf-8")
    with pytest.raises(BadFile, match=r"words\.txt, line 2: .*"):
        read_user_words(file)
    with pytest.raises(BadInput):
        Segmenter((line,))


def test_a_user_dictionary_that_is_not_utf8_or_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes("好词\n".encode() + "云计算".encode("gb18030"))
    with pytest.raises(BadFile, match="line 2: the user dictionary is not UTF-8"):
        read_user_words(file)
    with pytest.raises(BadFile, match=r"none\.txt cannot be read"):
        read_user_words(tmp_path / "none.txt")
