"""The user's own words, from the command line to the score: words to keep whole, words to leave out, one script."""

from __future__ import annotations

from pathlib import Path

import pytest

from qianru.models import load

from .conftest import Qianru

VEGETABLES = ("我不爱吃蔬菜，我喜欢吃肉", "我不爱吃肉，我爱吃蔬菜")


@pytest.fixture
def user_words(notes: Path) -> Path:
    file = notes.parent / "words.txt"
    file.write_text("不爱\n退回原来\n七天内 5 n\n", encoding="utf-8")
    return file


def test_the_known_figure_of_meat_and_vegetables(user_words: Path, qianru: Qianru) -> None:
    # 我2 不爱1 吃2 蔬菜1 喜欢1 肉1 against 我2 不爱1 吃2 肉1 爱1 蔬菜1: 11 / 12
    assert qianru("similarity", *VEGETABLES, "--user-words", user_words).out == "0.9167\n"


def test_a_user_word_belongs_to_the_collection_that_was_made_with_it(user_words: Path, qianru: Qianru) -> None:
    assert qianru("index", "notes", "--user-words", "words.txt").code == 0
    terms = qianru("search", "退回原来", "--explain", "--json").json()["hits"][0]["explanation"]["terms"]
    assert "退回原来" in dict(terms)
    for options in [], ["--user-words", "words.txt"]:
        assert qianru("index", "notes", *options, "--json").json()["n_files_unchanged"] == 3
    refused = qianru("index", "notes", "--model", "bm25")
    assert (refused.code, "made with" in refused.err) == (1, True)


def test_a_fitted_bm25_with_own_words_serves_a_collection(user_words: Path, qianru: Qianru) -> None:
    fitted = ["fit", "bm25", "notes", "-o", "model", "--user-words", "words.txt", "--stop-words", "zh"]
    assert qianru(*fitted).code == 0
    assert qianru("index", "notes", "--model", "model").code == 0
    hit = qianru("search", "退回原来", "--explain", "--json").json()["hits"][0]
    assert hit["fields"]["path"] == "notes/退款.md"
    assert "退回原来" in dict(hit["explanation"]["terms"])


def test_a_fitted_bm25_cuts_words_as_the_one_of_collections(notes: Path, qianru: Qianru) -> None:
    assert qianru("fit", "bm25", "notes", "-o", "model").code == 0
    assert load("model").spec.fingerprint == load("bm25").spec.fingerprint


def test_stop_words_are_lists_and_files(notes: Path, qianru: Qianru) -> None:
    (notes.parent / "own.txt").write_text("# 店里的词\n退款\n发票\n", encoding="utf-8")
    qianru("fit", "counts", "notes", "-o", "model", "--stop-words", "zh,en,own.txt")
    features = load("model").features      # type: ignore[attr-defined]
    assert not {"退款", "发票", "可以", "the", "of"} & set(features)
    assert {"运费", "parcels"} <= set(features)


@pytest.mark.parametrize("family", ["counts", "tfidf"])
def test_traditional_and_simplified_are_one_if_asked(family: str, notes: Path, qianru: Qianru) -> None:
    (notes / "繁體.txt").write_text("電子發票\n", encoding="utf-8")
    for options, known in [([], True), (["--fold-script"], False)]:
        qianru("fit", family, "notes", "-o", "model", *options)
        assert ("電子" in load("model").features) is known      # type: ignore[attr-defined]


def test_a_recommendation_takes_own_words(notes: Path, qianru: Qianru) -> None:
    rows = ["名称,描述", "甲,好吃的红烧肉盖饭", "乙,好吃的红烧牛肉面", "丙,红烧肉盖饭加卤蛋"]
    (notes / "菜.csv").write_text("\n".join(rows), encoding="utf-8")
    (notes.parent / "own.txt").write_text("红烧肉盖饭\n", encoding="utf-8")
    (notes.parent / "stop.txt").write_text("好吃\n", encoding="utf-8")
    asked = ["similar", "notes/菜.csv", "--text", "描述", "--item", "甲", "--json"]
    assert {hit["name"] for hit in qianru(*asked).json()["similar"]} == {"乙", "丙"}
    result = qianru(*asked, "--user-words", "own.txt", "--stop-words", "zh,stop.txt")
    assert [hit["name"] for hit in result.json()["similar"]] == ["丙"]      # 红烧肉盖饭 is all that is left of it
    assert "without stop words (zh, en, your own)" in result.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["index", "notes", "--user-words", "none.txt"], "none.txt cannot be read"),
        (["index", "notes", "--user-words", "bad.txt"], "bad.txt, line 2"),
        (["index", "notes", "--model", "model", "--user-words", "words.txt"], "qianru fit"),
        (["fit", "tfidf", "notes", "-o", "m", "--stop-words", "zh,fr"], "There is no list of stop words 'fr'"),
        (["fit", "tfidf", "notes", "-o", "m", "--stop-words", "my.txt"], "my.txt cannot be read"),
        (["fit", "counts", "notes", "-o", "m", "--char", "--user-words", "words.txt"], "means nothing beside"),
        (["similarity", "甲", "乙", "-m", "model", "--stop-words", "zh"], "a model from a folder has its own"),
        (["fit", "word2vec", "notes", "-o", "m", "--pooling", "men"], "Did you mean 'mean'?"),
    ],
)
def test_words_that_cannot_be_used_are_one_line(
    arguments: list[str], says: str, user_words: Path, qianru: Qianru
) -> None:
    (user_words.parent / "bad.txt").write_text("好词 3\n云 计 算 5\n", encoding="utf-8")
    result = qianru(*arguments)
    assert result.code == 1
    assert says in result.err
    assert len(result.err.splitlines()) == 1
