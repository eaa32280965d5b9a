"""BM25 is bm25s' number for number, and never remembers a document that is gone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from corpora import CORPORA
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qianru.errors import BadFile, BadInput, UnknownName
from qianru.models.bm25 import BM25, VARIANTS, MemoryStatistics
from qianru.models.files import Stored, write_folder
from qianru.text.analyze import Analyzer


@pytest.fixture(scope="module", params=CORPORA)
def corpus(request: pytest.FixtureRequest, data: Path) -> list[str]:
    return CORPORA[request.param](data)[:500]


def scores(model: BM25, queries: list[str], texts: list[str]) -> np.ndarray:
    """(queries, texts) by the plain dot product."""
    left, right = model.encode(queries, role="query").sparse, model.encode(texts).sparse
    assert left is not None
    assert right is not None
    return left.to_dense().astype(np.float64) @ right.to_dense().T


@cache
def words(text: str) -> list[str]:
    """What bm25s is given: the same for all variants."""
    return Analyzer().tokens(text)


def bm25s_scores(variant: Any, queries: list[str], texts: list[str]) -> np.ndarray:
    """What bm25s gives for our tokens.

    For BM25+ it adds delta * idf for a query's term to every document, with the term or without: a constant for each
    query, by which delta changes no ranking. Lv & Zhai sum over the shared terms, as we do; the constant's share of the
    missing terms is taken out here.
    """
    tokens = [words(text) for text in texts]
    sets = [set(text) for text in tokens]
    theirs = bm25s.BM25(method=variant, k1=1.5, b=0.75, delta=1.0, dtype="float64")
    theirs.index(tokens, show_progress=False)
    found = []
    for query in queries:
        terms = words(query)
        row = theirs.get_scores(terms)
        if theirs.nonoccurrence_array is not None:
            for term in terms:
                if term in theirs.vocab_dict:
                    absent = np.array([term not in text for text in sets])
                    row = row - absent * theirs.nonoccurrence_array[theirs.vocab_dict[term]]
        found.append(row)
    return np.array(found)


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_equal_bm25s(corpus: list[str], variant: Any) -> None:
    queries = [*corpus[::60], "没有这样的词龘", corpus[0] * 2]   # a term twice in the query counts twice, as in bm25s
    assert_allclose(scores(BM25(variant=variant).fit(corpus), queries, corpus), bm25s_scores(variant, queries, corpus),
                    rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_equal_bm25s_after_adds_and_removes(corpus: list[str], variant: Any) -> None:
    model = BM25(variant=variant)
    model.add(corpus[:300]).remove(corpus[100:250]).add(corpus[300:]).add(corpus[150:200]).remove(corpus[:50])
    left = corpus[50:100] + corpus[250:] + corpus[150:200]
    assert_allclose(scores(model, corpus[::60], left), bm25s_scores(variant, corpus[::60], left), rtol=0, atol=1e-6)


def test_a_score_worked_by_hand() -> None:
    model = BM25(k1=1.5, b=0.75).fit(["天 天 地", "人"])
    # idf(天) = ln(1 + (2 - 1 + 0.5) / (1 + 0.5)) = ln 2; tf 2, length 3, mean 2: 2 / (2 + 1.5 * (0.25 + 0.75 * 1.5))
    assert_allclose(scores(model, ["天"], ["天 天 地"]), [[np.log(2) * 2 / (2 + 1.5 * 1.375)]])


def test_b_0_takes_no_notice_of_the_length() -> None:
    model = BM25(b=0).fit(["天 地 人", "天"])
    assert scores(model, ["天"], ["天 地 人"])[0, 0] == scores(model, ["天"], ["天"])[0, 0]


def test_robertson_gives_nothing_for_a_term_in_more_than_half_of_the_documents() -> None:
    assert scores(BM25(variant="robertson").fit(["天 地", "天 人", "和"]), ["天"], ["天 地"])[0, 0] == 0


def test_bm25_plus_adds_delta_only_where_the_term_stands() -> None:
    assert_array_equal(scores(BM25(variant="bm25+").fit(["天 地", "人"]), ["天"], ["人"]), [[0]])


@given(st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("天地人和月 "), max_size=6)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_adds_and_removes_equals_a_fresh_fit(steps: list[tuple[bool, list[str]]]) -> None:
    model, there = BM25(), []
    for adding, letters in steps:
        text = " ".join(letters)
        if adding or not there:
            model.add([text])
            there.append(text)
        else:
            model.remove([there.pop(len(letters) % len(there))])
    fresh = BM25().fit(there)
    assert (model.statistics.n_documents, model.statistics.n_tokens) == (len(there), fresh.statistics.n_tokens)
    assert model.mean_length == fresh.mean_length
    texts = [*there, "天 地 人", "月"]
    assert_allclose(scores(model, texts, texts), scores(fresh, texts, texts), rtol=0, atol=1e-12)


def test_a_term_of_documents_that_are_gone_gives_nothing() -> None:
    model = BM25().add(["明月", "清泉"]).remove(["明月"])
    query = model.encode(["明月"], role="query").sparse
    assert query is not None
    assert len(query.terms) == 0


@pytest.mark.parametrize("stranger", ["清泉", "明月 明月 明月 青天 今夕", "明月 青天"])
def test_removing_what_was_never_added_is_refused_and_changes_nothing(stranger: str) -> None:
    model = BM25().add(["明月", "青天 今夕 何年"]).remove(["青天 今夕 何年"])
    before = model.stored()
    with pytest.raises(BadInput, match="Remove only what was added"):
        model.remove([stranger])
    after = model.stored()
    assert_array_equal(after.arrays["frequencies"], before.arrays["frequencies"])
    assert_array_equal(after.arrays["totals"], before.arrays["totals"])
    assert after.words == before.words


def test_an_empty_model_finds_nothing_and_grows() -> None:
    model = BM25()
    assert model.mean_length == 0
    assert model.encode(["明月"]).n_tokens.tolist() == [1]
    assert scores(model.add(["明月", "清泉"]), ["明月"], ["明月"])[0, 0] > 0


def test_fit_forgets_what_was_there() -> None:
    model = BM25().add(["明月"]).fit(["清泉"])
    assert model.statistics.n_documents == 1
    assert model.columns(["明月", "清泉"]).tolist() == [-1, 0]


def test_counts_kept_elsewhere_weigh_as_if_encoded_now() -> None:
    model = BM25().add(["明月 松间 照", "清泉"])
    counts, lengths = model.count(["明月 明月 龘"], grow=False)
    assert counts.weights.tolist() == [2]
    assert lengths.tolist() == [3]
    model.add(["石上 流 石上 流"])
    again = model.encode(["明月 明月 龘"]).sparse
    assert again is not None
    assert_array_equal(model.weigh(counts, lengths).weights, again.weights)
    assert (model.weigh(counts, lengths, mean_length=9.0).weights > again.weights).all()   # short beside longer ones


def test_learn_and_forget_are_each_other_s_reverse() -> None:
    model = BM25().add(["明月 松间"])
    counted = model.count(["明月", "清泉 石上"], grow=True)
    model.learn(*counted)
    assert model.statistics.frequencies(model.columns(["明月", "清泉"])).tolist() == [2, 1]
    model.forget(*counted)
    assert model.statistics.frequencies(model.columns(["明月", "清泉"])).tolist() == [1, 0]
    assert (model.statistics.n_documents, model.statistics.n_tokens) == (1, 2)


def test_few_texts_in_a_large_vocabulary_are_learnt_alike() -> None:
    model = BM25().add([" ".join(f"w{i}" for i in range(1000))])
    model.add(["w1 w1 w999", "w1"])
    assert model.statistics.frequencies(model.columns(["w0", "w1", "w999"])).tolist() == [1, 3, 2]


def test_statistics_may_be_kept_elsewhere() -> None:
    kept = MemoryStatistics()
    BM25(statistics=kept).add(["明月 清泉"])
    assert (kept.n_documents, kept.n_tokens, kept.width) == (1, 2, 2)
    assert BM25(statistics=kept).columns(["清泉"]).tolist() == [1]


def test_the_fingerprint_is_that_of_analyzer_and_parameters_not_of_the_documents() -> None:
    model = BM25()
    before = model.spec.fingerprint
    assert model.add(["明月"]).spec.fingerprint == before
    others = [BM25(k1=1.2), BM25(b=0.5), BM25(variant="robertson"), BM25(Analyzer(unit="char"))]
    assert len({before, *(other.spec.fingerprint for other in others)}) == 5


def test_the_contributions_add_up_to_the_score() -> None:
    model = BM25().fit(["明月 松间 照", "清泉 石上 流", "明月 明月 青天"])
    query, text = "明月 青天 龘", "明月 明月 青天"
    found = model.contributions(query, text)
    assert {word for word, _ in found} == {"明月", "青天"}
    assert found[0][1] >= found[1][1]
    assert_allclose(sum(part for _, part in found), scores(model, [query], [text])[0, 0])


@pytest.mark.parametrize("options", [{"k1": -1}, {"b": 1.5}, {"b": float("nan")}, {"delta": float("inf")}], ids=str)
def test_impossible_parameters_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(options))} must lie between"):
        BM25(**options)   # type: ignore[arg-type]


def test_a_misspelt_variant_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'lucene'"):
        BM25(variant="lucence")   # type: ignore[arg-type]


@pytest.mark.parametrize(("frequencies", "totals"), [([-1], [1, 1]), ([3], [2, 9]), ([2], [2, 1])])
def test_impossible_statistics_are_refused(tmp_path: Path, frequencies: list[int], totals: list[int]) -> None:
    stored = BM25().add(["明月"]).stored()
    arrays = {"frequencies": np.array(frequencies), "totals": np.array(totals)}
    write_folder(tmp_path / "m", Stored(stored.family, stored.settings, arrays, stored.words))
    with pytest.raises(BadFile, match="documents"):
        BM25.load(tmp_path / "m")


def test_phrases_across_left_out_words_are_explained_too() -> None:
    """Without 的 the query holds the phrase 苹果 香蕉, which its own words one by one do not."""
    model = BM25(Analyzer(ngrams=(1, 2)), query_stop_lists=("zh",)).fit(["苹果香蕉", "苹果和香蕉", "葡萄"])
    parts = model.contributions("苹果的香蕉", "苹果香蕉")
    assert {word for word, _ in parts} == {"苹果", "香蕉", "苹果 香蕉"}
    assert_allclose(sum(weight for _, weight in parts), scores(model, ["苹果的香蕉"], ["苹果香蕉"])[0, 0], rtol=1e-12)


def test_words_left_out_of_queries_count_in_documents(tmp_path: Path) -> None:
    model = BM25(query_stop_lists=("zh",)).fit(["明月的光", "明月"])
    model.save(tmp_path / "m")
    for same in (model, BM25.load(tmp_path / "m")):
        assert_array_equal(scores(same, ["明月的"], ["明月的光"]), scores(same, ["明月"], ["明月的光"]))
        assert scores(same, ["的"], ["明月的光"])[0, 0] > 0      # a query of nothing else means it
    assert model.mean_length == 2                                # 明月 的 光, 明月
