"""Counts and TF-IDF are scikit-learn's, number for number, on the same tokens."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import CORPORA
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from qianru.errors import BadFile, BadInput, NotFitted, SpecMismatch, UnknownName
from qianru.models.files import Stored, write_folder
from qianru.models.lexical import Counts, TfIdf
from qianru.scores import cosine, jaccard
from qianru.text.analyze import ENGLISH, Analyzer
from qianru.types import SparseRows


@pytest.fixture(scope="module", params=CORPORA)
def corpus(request: pytest.FixtureRequest, data: Path) -> list[str]:
    return CORPORA[request.param](data)


def as_csr(rows: SparseRows) -> Any:
    return csr_matrix((rows.weights, rows.terms, rows.offsets), (len(rows), rows.width))


def assert_same(ours: Any, texts: list[str], theirs: Any) -> None:
    """Same columns, same sparsity, weights to 1e-12; at fit and for texts never seen."""
    expected = theirs.fit_transform(texts)
    ours.fit(texts)
    assert ours.features == theirs.get_feature_names_out().tolist()
    for got, want in [
        (ours.encode(texts).sparse, expected),
        (ours.encode(UNSEEN, role="query").sparse, theirs.transform(UNSEEN)),
    ]:
        want.sort_indices()
        assert_array_equal(got.offsets, want.indptr)
        assert_array_equal(got.terms, want.indices)
        assert_allclose(got.weights, want.data, rtol=0, atol=1e-12)


UNSEEN = ["味道不错，就是送餐太慢", "合同的当事人应当按照约定履行义务", "my card has not arrived", "", "龘龘龘"]


@pytest.mark.parametrize("options", [{}, {"binary": True}, {"min_df": 3, "max_df": 0.2}], ids=str)
def test_counts_equal_scikit_learn(corpus: list[str], options: dict[str, Any]) -> None:
    analyzer = Analyzer()
    assert_same(Counts(analyzer, **options), corpus, CountVectorizer(analyzer=analyzer.tokens, **options))


@pytest.mark.parametrize(
    "options",
    [{}, {"sublinear_tf": True, "min_df": 2}, {"norm": "l1", "smooth_idf": False, "max_df": 0.5},
     {"norm": None, "use_idf": False, "binary": True, "min_df": 0.01}],
    ids=str,
)
def test_tfidf_equals_scikit_learn(corpus: list[str], options: dict[str, Any]) -> None:
    analyzer = Analyzer()
    assert_same(TfIdf(analyzer, **options), corpus, TfidfVectorizer(analyzer=analyzer.tokens, **options))


@pytest.mark.parametrize("unit", ["word", "char"])
def test_n_grams_equal_scikit_learn(data: Path, unit: Any) -> None:
    analyzer = Analyzer(unit=unit, ngrams=(1, 3))
    texts = CORPORA["waimai reviews"](data)[:300]
    assert_same(TfIdf(analyzer, min_df=2), texts, TfidfVectorizer(analyzer=analyzer.tokens, min_df=2))


def test_max_features_takes_the_most_frequent_and_of_equals_the_first_by_alphabet() -> None:
    model = Counts(max_features=2).fit(["b b a", "c d"])
    assert model.features == ["a", "b"]


def test_max_features_equals_scikit_learn_where_the_cut_is_clear(data: Path) -> None:
    texts = CORPORA["banking77"](data)
    analyzer = Analyzer()
    totals = np.asarray(CountVectorizer(analyzer=analyzer.tokens).fit_transform(texts).sum(axis=0)).ravel()
    counts = np.sort(totals)[::-1]
    clear = int(np.flatnonzero(np.diff(counts[:200]))[-1]) + 1   # the last place where the next is rarer
    ours, theirs = TfIdf(analyzer, max_features=clear), TfidfVectorizer(analyzer=analyzer.tokens, max_features=clear)
    assert_same(ours, texts, theirs)


def test_a_whole_number_counts_documents_and_a_float_is_a_share() -> None:
    texts = ["天 地", "天 人", "天 和", "和 气"]
    assert Counts(min_df=2).fit(texts).features == ["和", "天"]
    assert Counts(min_df=0.75).fit(texts).features == ["天"]
    assert Counts(max_df=1).fit(texts).features == ["人", "地", "气"]
    assert "天" not in Counts(max_df=0.5).fit(texts).features


def test_known_figure_word_counts_of_vegetables_and_meat() -> None:
    one, other = "我/不爱/吃/蔬菜/我/喜欢/吃/肉", "我/不爱/吃/肉/我/爱/吃/蔬菜"
    model = Counts(Analyzer(pattern=r"[^/]+")).fit([one, other])
    order = model.columns(["我", "不爱", "爱", "吃", "蔬菜", "肉", "喜欢"])
    assert sorted(order) == list(range(len(model.features)))
    counts = model.encode([one, other]).sparse.to_dense()[:, order]
    assert counts.tolist() == [[2, 1, 0, 2, 1, 1, 1], [2, 1, 1, 2, 1, 1, 0]]
    assert round(cosine(counts[:1], counts[1:]).item(), 4) == 0.9167
    # the article counts 爱 twice in the second, where it stands once; its vectors give its figure
    assert round(cosine(counts[:1], np.array([[2.0, 1, 2, 2, 1, 1, 0]])).item(), 4) == 0.8199


def test_known_figure_character_3_grams() -> None:
    texts = ["我不爱吃蔬菜,我喜欢吃肉", "我不爱吃肉,我爱吃蔬菜"]

    def rows(*ngrams: int) -> SparseRows:
        return Counts(Analyzer(unit="char", ngrams=ngrams)).fit(texts).encode(texts).sparse

    assert round(jaccard(rows(1, 3), rows(1, 3))[0, 1], 4) == 0.5      # up to three characters, as sets and as counts
    assert round(cosine(rows(3, 3), rows(3, 3))[0, 1], 4) == 0.4216    # 4 shared of 10 and of 9


def test_known_figure_the_hotels_of_seattle_equal_scikit_learn(data: Path) -> None:
    with (data / "articles/Seattle_Hotels.csv").open(encoding="latin-1", newline="") as file:
        texts = [row["desc"] for row in csv.DictReader(file)]
    analyzer = replace(ENGLISH, ngrams=(1, 3))
    model = TfIdf(analyzer, min_df=0.01)
    assert_same(model, texts, TfidfVectorizer(analyzer=analyzer.tokens, min_df=0.01))
    assert (len(texts), len(model.features)) == (152, 3347)


def test_the_contributions_add_up_to_the_score() -> None:
    texts = ["明月松间照", "清泉石上流", "明月几时有，明月"]
    model = TfIdf().fit(texts)
    rows = model.encode([texts[0], texts[2]]).sparse
    assert rows is not None
    found = model.contributions(texts[0], texts[2])
    assert [word for word, _ in found] == ["明月"]
    assert_allclose(sum(part for _, part in found), rows.to_dense()[0] @ rows.to_dense()[1])
    assert model.contributions("不相干", texts[0]) == []


def test_contributions_stand_largest_first() -> None:
    model = Counts().fit(["天 天 地 人"])
    assert model.contributions("地 天", "天 天 地") == [("天", 2.0), ("地", 1.0)]


def test_encoding_before_fitting_says_so() -> None:
    for model in (Counts(), TfIdf()):
        with pytest.raises(NotFitted, match=r"Call fit\(texts\) first"):
            model.encode(["明月"])


def test_fitting_again_forgets_the_old_words() -> None:
    model = TfIdf().fit(["明月"])
    before = model.spec.fingerprint
    model.fit(["清泉"])
    assert model.features == ["清泉"]
    assert model.spec.fingerprint != before


@pytest.mark.parametrize("texts", [[], [""], ["。，！"]])
def test_a_corpus_without_words_is_refused(texts: list[str]) -> None:
    with pytest.raises(BadInput, match="the analyzer finds no word"):
        Counts().fit(texts)


def test_settings_that_leave_no_word_are_refused() -> None:
    with pytest.raises(BadInput, match=r"min_df=2 and max_df=1\.0 leave no word of 2 texts"):
        TfIdf(min_df=2).fit(["明月", "清泉"])
    with pytest.raises(BadInput, match=r"max_df=1 asks for words in at most 1 of the 2 documents, min_df=2"):
        TfIdf(min_df=2, max_df=1).fit(["明月", "清泉"])


@pytest.mark.parametrize("option", [{"min_df": -1}, {"min_df": 0}, {"max_df": 1.5}, {"max_df": float("nan")},
                                    {"min_df": True}, {"max_features": 0}], ids=str)
def test_impossible_settings_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(option))):
        TfIdf(**option)


def test_a_misspelt_norm_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'l2'"):
        TfIdf(norm="L2")   # type: ignore[arg-type]


def test_the_fingerprint_changes_with_the_analyzer_and_with_the_settings() -> None:
    texts = ["明月 abc", "清泉 abc"]
    models = [TfIdf(), TfIdf(norm="l1"), TfIdf(Analyzer(unit="char")), TfIdf(binary=True)]
    assert len({model.fit(texts).spec.fingerprint for model in models}) == len(models)


def test_a_folder_whose_parts_disagree_is_refused(tmp_path: Path) -> None:
    stored = TfIdf().fit(["明月", "清泉"]).stored()
    for arrays in ({}, {"idf": np.ones(3)}, {"idf": np.ones(2, np.int64)}, {"idf": np.ones((2, 1))}):
        write_folder(tmp_path / "m", Stored(stored.family, stored.settings, arrays, stored.words))
        with pytest.raises(SpecMismatch, match="'idf'"):
            TfIdf.load(tmp_path / "m")
    write_folder(tmp_path / "m", Stored(stored.family, stored.settings, {"idf": np.array([1, np.nan])}, stored.words))
    with pytest.raises(BadFile, match="not finite"):
        TfIdf.load(tmp_path / "m")
    with pytest.raises(SpecMismatch, match="family 'tfidf', not counts"):
        Counts.load(tmp_path / "m")
