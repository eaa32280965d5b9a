"""The analyzer: options in, tokens and spans out; the known figures."""

from __future__ import annotations

import csv
import json
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from qianru.errors import BadInput, UnknownName
from qianru.text.analyze import ENGLISH, Analyzer
from qianru.text.normalize import fold
from qianru.text.stopwords import stop_words

VEGETABLES = ("我不爱吃蔬菜,我喜欢吃肉", "我不爱吃肉,我爱吃蔬菜")
ANALYZERS = (
    Analyzer(),
    Analyzer(mode="search", fold_script=True, stop_lists=("zh", "en")),
    Analyzer(hmm=False, lowercase=False, fold_width=False),
    Analyzer(unit="char"),
    Analyzer(pattern=r"\w(\w)", drop="[的.]", split=",，"),
    Analyzer(drop=r"\W", user_words=("不爱 3 v",)),
    ENGLISH,
)
STRANGE = st.text("我不爱電腦的ＡBGE-M3.5éİΣk, ，\ud800\0😀𠀀\n ", max_size=60)
ANY_TEXT = st.text(st.characters(codec=None), max_size=60) | STRANGE


def cosine(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    def dot(a: Mapping[str, int], b: Mapping[str, int]) -> int:
        return sum(count * b.get(token, 0) for token, count in a.items())

    return dot(one, other) / (dot(one, one) * dot(other, other)) ** 0.5


def test_words_of_two_sentences_have_the_known_counts() -> None:
    one, other = (Analyzer(user_words=("不爱",)).tokens(text) for text in VEGETABLES)
    assert one == ["我", "不爱", "吃", "蔬菜", "我", "喜欢", "吃", "肉"]
    assert other == ["我", "不爱", "吃", "肉", "我", "爱", "吃", "蔬菜"]
    assert cosine(Counter(one), Counter(other)) == pytest.approx(11 / 12)


def test_without_the_user_word_bu_ai_counts_as_two() -> None:
    one, other = (Counter(Analyzer().tokens(text)) for text in VEGETABLES)
    assert [other[word] for word in ("我", "不", "爱", "吃", "蔬菜", "肉", "喜欢")] == [2, 1, 2, 2, 1, 1, 0]
    assert cosine(one, other) == pytest.approx(13 / (13 * 15) ** 0.5)
    without = {word: count for word, count in one.items() if word != "爱"}      # the published figure: one 爱 uncounted
    assert cosine(without, other) == pytest.approx(0.8199, abs=5e-5)


def test_character_n_grams_of_two_sentences() -> None:
    one, other = (set(Analyzer(unit="char", ngrams=(1, 3)).tokens(text)) for text in VEGETABLES)
    assert len(one & other) / len(one | other) == 0.5      # 19 of 38
    one, other = (set(Analyzer(unit="char", ngrams=(3, 3), drop=",").tokens(text)) for text in VEGETABLES)
    assert len(one & other) / min(len(one), len(other)) == 0.5      # 4 of 8
    threes = [Counter(Analyzer(unit="char", ngrams=(3, 3)).tokens(text)) for text in VEGETABLES]
    assert cosine(*threes) == pytest.approx(4 / (10 * 9) ** 0.5)      # 0.4216, as scikit-learn


def test_hotel_descriptions_give_the_tokens_of_the_scikit_learn_recipe(data: Path) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    analyze = text.TfidfVectorizer(ngram_range=(1, 3)).build_analyzer()

    def recipe(description: str) -> list[str]:
        lower = re.sub(r"[/(){}\[\]\|@,;]", " ", description.lower())
        words = re.sub("[^0-9a-z #+_]", "", lower).split()
        return list(analyze(" ".join(word for word in words if word not in stop_words("en"))))

    with (data / "articles/Seattle_Hotels.csv").open(encoding="latin-1", newline="") as file:
        descriptions = [row["desc"] for row in csv.DictReader(file)]
    ours = [replace(ENGLISH, ngrams=(1, 3)).tokens(description) for description in descriptions]
    assert ours == [recipe(description) for description in descriptions]
    documents = Counter(token for tokens in ours for token in set(tokens))
    assert sum(count >= 0.01 * 152 for count in documents.values()) == 3347


@pytest.mark.parametrize("ngrams", [(1, 1), (1, 3), (2, 3), (4, 4)])
@pytest.mark.parametrize("unit", ["word", "char"])
def test_n_grams_come_in_scikit_learns_order(unit: Any, ngrams: tuple[int, int]) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    options = {"pattern": r"(?u)\b\w\w+\b"} if unit == "word" else {}
    reference = text.CountVectorizer(analyzer=unit, ngram_range=ngrams).build_analyzer()
    for sample in ("The  quick\n\nbrown Fox, it jumps", "中文 也\t\t可以", "ab", ""):
        assert Analyzer(unit=unit, ngrams=ngrams, **options).tokens(sample) == reference(sample)


def test_case_width_and_script_are_folded_in_tokens_but_not_in_offsets() -> None:
    analyzer = Analyzer(fold_script=True)
    assert analyzer.spans("ＢＧＥ電腦T恤") == [("bge", 0, 3), ("电脑", 3, 5), ("t恤", 5, 7)]
    assert Analyzer(lowercase=False, fold_width=False).tokens("T恤Ａ") == ["T恤", "Ａ"]


def test_words_of_other_alphabets_stay_whole() -> None:
    assert Analyzer().tokens("Café和Привет, Müller! İzmir") == ["café", "和", "привет", "müller", "izmir"]


def test_stop_words_are_lists_words_or_both() -> None:
    assert Analyzer(stop_lists=("zh",)).tokens("我的蔬菜和水果") == ["蔬菜", "水果"]
    assert Analyzer(stop_words=("水果",)).tokens("我的蔬菜和水果") == ["我", "的", "蔬菜", "和"]
    assert Analyzer(stop_lists=("en", "zh"), stop_words=("ＣＡＴ",)).tokens("The cat和dog") == ["dog"]


def test_n_grams_are_made_of_the_words_that_remain() -> None:
    assert Analyzer(stop_lists=("zh",), ngrams=(2, 2)).tokens("蔬菜和水果") == ["蔬菜 水果"]


def test_user_words_are_folded_like_the_text() -> None:
    assert Analyzer(user_words=("雲計算機房",), fold_script=True).tokens("云计算机房在哪") == ["云计算机房", "在", "哪"]


def test_split_and_drop_keep_the_offsets_of_the_text() -> None:
    text = "King-size (beds), Wi-Fi"
    spans = ENGLISH.spans(text)
    assert [(word, text[start:end]) for word, start, end in spans] == [
        ("kingsize", "King-size"), ("beds", "beds"), ("wifi", "Wi-Fi"),
    ]      # fmt: skip


def test_a_pattern_may_name_the_word_by_its_group() -> None:
    assert Analyzer(pattern=r"#(\w+)").spans("看#中文 #AI") == [("中文", 2, 4), ("ai", 6, 8)]
    assert Analyzer(pattern=r"#(\w+)").tokens("看#中文 #AI") == ["中文", "ai"]


@pytest.mark.parametrize("analyzer", ANALYZERS)
@given(text=ANY_TEXT)
@settings(max_examples=60, deadline=None)
def test_any_text_gives_tokens_and_the_same_spans_that_slice_back(analyzer: Analyzer, text: str) -> None:
    spans = analyzer.spans(text)
    assert [token for token, _, _ in spans] == analyzer.tokens(text)
    assert all(0 <= start < end <= len(text) for _, start, end in spans)
    if analyzer.drop is None:
        for token, start, end in spans:
            there = fold(text[start:end], width=analyzer.fold_width, script=analyzer.fold_script)
            there = there.replace("İ", "I").lower() if analyzer.lowercase else there
            assert token.replace("ς", "σ") == there.replace("ς", "σ") or (token == " " and there.isspace())


@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_options_survive_json_and_another_process(analyzer: Analyzer) -> None:
    assert Analyzer.from_json(json.loads(json.dumps(analyzer.to_json()))) == analyzer
    analyzer.tokens("先用一次")
    assert pickle.loads(pickle.dumps(analyzer)).tokens("我爱吃肉") == analyzer.tokens("我爱吃肉")


def test_an_unknown_option_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"no option of an analyzer 'ngram'\. Did you mean 'ngrams'"):
        Analyzer.from_json({"ngram": [1, 2]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "words"}, "Did you mean 'word'"),
        ({"mode": "serach"}, "Did you mean 'search'"),
        ({"stop_lists": ("ch",)}, "no list of stop words 'ch'"),
        ({"stop_lists": "zh"}, "stop_lists must be a tuple, not 'zh'"),
        ({"lowercase": "no"}, "lowercase must be a bool"),
        ({"ngrams": (2, 1)}, "not 2 to 1"),
        ({"ngrams": (0, 1)}, "not 0 to 1"),
        ({"ngrams": (1,)}, "two whole numbers"),
        ({"pattern": "("}, "no regular expression"),
        ({"drop": "["}, "no regular expression"),
        ({"pattern": 3}, "pattern must be a str"),
        ({"pattern": "(a)(b)"}, "several groups"),
        ({"pattern": "a", "mode": "search"}, "mode means nothing beside a pattern"),
        ({"unit": "char", "stop_lists": ("zh",)}, "stop_lists means nothing beside unit='char'"),
        ({"user_words": ("云 计算 5",)}, "no line of a user dictionary"),
        ({"stop_words": (1,)}, "stop_words must hold str"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((BadInput, UnknownName), match=re.escape(message)):
        Analyzer(**options)


def test_characters_are_tokens_beside_the_words_they_stand_in() -> None:
    analyzer = Analyzer(mode="search", characters=True)
    assert sorted(analyzer.tokens("更上一层楼，AI")) == sorted(
        ["更上一层楼", "一层楼", "一层", "层楼", "更", "上", "一", "层", "楼", "ai"])
    assert analyzer.tokens("花") == ["花"]
    assert analyzer.spans("处处花") == [("处处", 0, 2), ("处", 0, 1), ("处", 1, 2), ("花", 2, 3)]


def test_characters_of_stop_words_go_with_them() -> None:
    analyzer = Analyzer(mode="search", characters=True, stop_lists=("zh",))
    assert analyzer.tokens("为什么搜不到中文") == ["不到", "中文", "搜", "文"]


def test_characters_and_spans_agree(data: Path) -> None:
    analyzer = Analyzer(mode="search", characters=True, fold_script=True)
    for line in (data / "articles/西游记.txt").read_text(encoding="utf-8").splitlines()[:200]:
        assert sorted(analyzer.tokens(line)) == sorted(token for token, _, _ in analyzer.spans(line))
