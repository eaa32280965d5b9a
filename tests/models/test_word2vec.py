"""word2vec from plain texts, and texts as means of word vectors."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qianru.errors import BadInput, MissingExtra, NotFitted, SpecMismatch, UnknownName
from qianru.models.pooling import Pooling, common_direction, sif_weights, weighted_sums
from qianru.models.vector_files import read_npz
from qianru.models.vectors import WordVectors
from qianru.models.word2vec import Word2Vec
from qianru.models.word_vector_model import WordVectorModel
from qianru.scores import cosine, top_k
from qianru.text.analyze import Analyzer
from qianru.types import SparseRows

SENTENCES = ["我爱吃蔬菜", "我不爱吃肉", "我喜欢吃蔬菜和肉", "蔬菜好吃"] * 5
WORDS = Analyzer(pattern=r"\S+")   # words as they stand between spaces
TABLE = WordVectors(["春", "夏", "秋天", "冬"], np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [2, 2, 2]]))


@pytest.fixture(scope="module")
def lines(data: Path) -> list[str]:
    return (data / "articles" / "西游记.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def journey(lines: list[str]) -> Word2Vec:
    return Word2Vec(sg=False, window=5, epochs=10).fit(lines)   # quicker than the defaults


def test_the_journey_knows_who_sun_wukong_is(journey: Word2Vec) -> None:
    vectors = journey.vectors
    assert len(vectors) > 8000
    assert "齐天大圣" in dict(vectors.most_similar("孙悟空", k=3))
    assert dict(vectors.most_similar("八戒", k=4)).keys() >= {"行者", "呆子"}
    assert vectors.similarity("唐僧", "三藏") > 0.4 > vectors.similarity("唐僧", "金箍棒")


@pytest.mark.slow
def test_the_whole_journey_takes_less_than_two_minutes(lines: list[str]) -> None:
    start = perf_counter()
    vectors = Word2Vec().fit(lines).vectors
    assert perf_counter() - start < 120
    assert "齐天大圣" in dict(vectors.most_similar("孙悟空", k=10))
    assert "行者" in dict(vectors.most_similar("八戒", k=10))


@pytest.mark.slow
def test_a_title_finds_its_abstract(data: Path) -> None:
    table = gzip.decompress((data / "retrieval/csl_title/dev.tsv.gz").read_bytes()).decode()
    rows = [line.split("\t") for line in table.split("\n") if line]
    model = Word2Vec().fit([abstract for _, abstract, _ in rows])
    documents, queries = (model.encode([row[column] for row in rows]).dense for column in (1, 2))
    assert documents is not None
    assert queries is not None
    ids, _ = top_k(cosine(queries, documents), 10)
    places = [np.flatnonzero(row == i) for i, row in enumerate(ids)]
    assert np.mean([1 / (place[0] + 1) if len(place) else 0 for place in places]) > 0.8   # gensim's defaults: 0.20


def test_the_journey_answers_as_gensim_does(journey: Word2Vec) -> None:
    vectors = journey.vectors
    gensims = KeyedVectors(vectors.dim)
    gensims.add_vectors(vectors.words, vectors.matrix)
    assert_allclose(vectors.similarity("孙悟空", "猪八戒"), gensims.similarity("孙悟空", "猪八戒"), atol=1e-6)
    ours = vectors.most_similar(["孙悟空", "唐僧"], ["孙行者"])
    others = gensims.most_similar(["孙悟空", "唐僧"], ["孙行者"])
    assert [word for word, _ in ours] == [word for word, _ in others]
    assert_allclose([score for _, score in ours], [score for _, score in others], atol=1e-6)
    four = ["八戒", "沙僧", "行者", "芭蕉扇"]
    assert vectors.doesnt_match(four) == gensims.doesnt_match(four) == "芭蕉扇"


def test_words_stand_by_frequency_and_then_by_first_appearance() -> None:
    model = Word2Vec(4, min_count=5, epochs=1).fit(SENTENCES)
    assert model.vectors.words == ["我", "吃", "蔬菜", "爱", "肉", "不", "喜欢", "和", "好吃"]
    assert model.vectors.counts is not None
    assert model.vectors.counts.tolist() == [15, 15, 15, 10, 10, 5, 5, 5, 5]
    assert "喜欢" not in Word2Vec(4, min_count=6, epochs=1).fit(SENTENCES).vectors


@pytest.mark.parametrize("sg", [False, True])
def test_one_thread_and_one_seed_give_one_result(sg: bool) -> None:
    first, again, other = (Word2Vec(8, min_count=1, epochs=3, sg=sg, seed=seed).fit(SENTENCES) for seed in (1, 1, 2))
    assert_array_equal(first.vectors.matrix, again.vectors.matrix)
    assert first.spec.fingerprint == again.spec.fingerprint != other.spec.fingerprint


def test_the_hash_seed_plays_no_part() -> None:
    code = ("from qianru.models.word2vec import Word2Vec; import sys;"
            "m = Word2Vec(8, min_count=1, epochs=2).fit(sys.argv[1:]); print(m.spec.fingerprint)")
    prints = {
        subprocess.run([sys.executable, "-c", code, *SENTENCES], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("0", "12345")
    }
    assert len(prints) == 1


def test_a_text_of_more_words_than_gensim_reads_at_once_is_read_whole() -> None:
    # gensim takes 10,000 words of a text; the word at the end would never be seen in context
    model = Word2Vec(4, WORDS, min_count=1, epochs=1).fit(["山 " * 25_000 + "水"])
    fresh = Word2Vec(4, WORDS, min_count=1, epochs=1).fit(["山 " * 25_000, "水"])
    assert model.vectors.words == ["山", "水"]
    assert model.vectors.counts is not None
    assert model.vectors.counts.tolist() == [25_000, 1]
    assert (model.vectors["水"] != fresh.vectors["水"]).any()   # alone in its text a word learns nothing


def test_progress_counts_segmentation_and_every_epoch() -> None:
    seen: list[tuple[int, int | None]] = []
    Word2Vec(4, min_count=1, epochs=3).fit(SENTENCES, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (80, 80)   # 20 texts, 1 + 3 times
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_ctrl_c_in_training_comes_through() -> None:
    def stop(done: int, total: int | None) -> None:
        if done > 20:
            raise KeyboardInterrupt

    model = Word2Vec(4, min_count=1, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(SENTENCES, progress=stop)
    with pytest.raises(NotFitted):
        model.encode(["春"])


def test_training_without_gensim_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim", None)
    with pytest.raises(MissingExtra, match=r"pip install 'qianru\[classic\]'"):
        Word2Vec().fit(SENTENCES)


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(BadInput, match="No word stands 5 times in the 1 texts"):
        Word2Vec().fit(["春眠不觉晓"])
    with pytest.raises(BadInput, match="No word stands 5 times in the 0 texts"):
        Word2Vec().fit([])
    with pytest.raises(BadInput, match="epochs of at least 1, not 0"):
        Word2Vec(epochs=0)
    with pytest.raises(BadInput, match="seed is a whole number"):
        Word2Vec(seed=-1)
    with pytest.raises(BadInput, match=r"n-grams \(1, 2\) have none"):
        Word2Vec(analyzer=Analyzer(ngrams=(1, 2)))
    with pytest.raises(NotFitted, match="Call fit"):
        Word2Vec().encode(["春"])
    with pytest.raises(NotFitted, match="Call fit"):
        _ = Word2Vec().vectors


def test_a_saved_word2vec_can_be_fitted_anew_with_its_options(tmp_path: Path) -> None:
    model = Word2Vec(6, WORDS, Pooling("sif"), window=2, min_count=1, sg=True, epochs=2, seed=9)
    model.save(tmp_path / "unfitted")
    model.fit(["春 夏 秋 冬", "春 夏"]).save(tmp_path / "fitted")
    for name in ("unfitted", "fitted"):
        loaded = Word2Vec.load(tmp_path / name)
        assert isinstance(loaded, Word2Vec)
        assert loaded.training == model.training
        assert loaded.fit(["春 夏 秋 冬", "春 夏"]).spec == model.spec


def test_word_vectors_of_another_origin_stay_what_they_are(tmp_path: Path) -> None:
    WordVectorModel(TABLE).save(tmp_path / "model")
    assert type(Word2Vec.load(tmp_path / "model")) is WordVectorModel


def test_vectors_of_another_dimension_than_promised_are_refused(tmp_path: Path) -> None:
    Word2Vec(6, min_count=1, epochs=1).fit(SENTENCES).save(tmp_path / "model")
    card = tmp_path / "model" / "qianru.json"
    card.write_text(card.read_text("utf-8").replace('"dim": 6', '"dim": 7'), "utf-8")
    with pytest.raises(SpecMismatch, match="promises 7 dimensions and holds vectors of 6"):
        Word2Vec.load(tmp_path / "model")


def test_a_text_is_the_mean_of_its_words() -> None:
    model = WordVectorModel(TABLE, WORDS)
    embeddings = model.encode(["春 夏 夏 无名 春", "冬", "无名", ""])
    assert embeddings.dense is not None
    assert embeddings.dense.tolist() == [[0.5, 0.5, 0], [2, 2, 2], [0, 0, 0], [0, 0, 0]]
    assert embeddings.n_tokens.tolist() == [5, 1, 1, 0]   # unknown words are words


def test_a_word_that_the_table_lacks_is_read_by_its_characters() -> None:
    texts = ["春夏 秋天", "abc春", "秋"]
    dense = WordVectorModel(TABLE, WORDS).encode(texts).dense
    assert dense is not None
    assert_allclose(dense, [[1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [0, 0, 0]])
    plain = WordVectorModel(TABLE, WORDS, Pooling(characters=False)).encode(texts).dense
    assert plain is not None
    assert_allclose(plain, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_letters_do_not_stand_for_words() -> None:
    table = WordVectors(["a", "b"], np.eye(2))
    dense = WordVectorModel(table, WORDS).encode(["ab a"]).dense
    assert dense is not None
    assert dense.tolist() == [[1, 0]]


def test_sif_gives_frequent_words_little_weight() -> None:
    model = WordVectorModel(TABLE, WORDS, Pooling("sif", a=0.25)).fit(["春 春 春", "夏"])
    dense = model.encode(["春 夏", "冬"]).dense
    assert dense is not None
    # a / (a + p): 春 .25 / (.25 + .75), 夏 .25 / (.25 + .25), 冬 .25 / .25
    assert_allclose(dense, [[0.25 / 2, 0.5 / 2, 0], [2, 2, 2]], rtol=1e-6)


def test_what_all_texts_share_is_taken_out() -> None:
    texts = ["春 冬", "夏 冬", "秋天 冬", "冬"]
    model = WordVectorModel(TABLE, WORDS, Pooling(remove_common=True)).fit(texts)
    plain = WordVectorModel(TABLE, WORDS).encode(texts).dense
    dense = model.encode(texts).dense
    assert plain is not None
    assert dense is not None
    direction = np.linalg.svd(plain.astype(np.float64))[2][0]
    assert_allclose(dense, plain - np.outer(plain @ direction, direction), atol=1e-6)


def test_pooling_that_needs_a_corpus_asks_for_one() -> None:
    with pytest.raises(NotFitted, match="how frequent they are"):
        WordVectorModel(TABLE, pooling=Pooling("sif")).encode(["春"])
    with pytest.raises(NotFitted, match="remove_common is learnt from a corpus"):
        WordVectorModel(TABLE, pooling=Pooling(remove_common=True)).encode(["春"])
    with pytest.raises(UnknownName, match="Did you mean 'mean'"):
        Pooling("meen")   # type: ignore[arg-type]
    with pytest.raises(BadInput, match="between 0 and 1"):
        Pooling(a=0)


def test_the_fingerprint_changes_with_what_changes_vectors_only() -> None:
    plain = WordVectorModel(TABLE, WORDS)
    before = plain.spec.fingerprint
    assert plain.fit(["春 春", "夏"]).spec.fingerprint == before
    weighted = WordVectorModel(TABLE, WORDS, Pooling("sif")).fit(["春 春", "夏"]).spec.fingerprint
    assert weighted not in (before, WordVectorModel(TABLE, WORDS, Pooling("sif")).fit(["春"]).spec.fingerprint)
    assert WordVectorModel(TABLE).spec.fingerprint != before


def test_real_characters_read_real_questions(data: Path) -> None:
    model = WordVectorModel(read_npz(data / "vectors" / "tencent_char_4762x200.npz"))
    dense = model.encode(["怎样学习弹钢琴", "学钢琴的方法", "今天股市大跌"]).dense
    assert dense is not None
    unit = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.1


rows_of_counts = st.lists(st.dictionaries(st.integers(0, 19), st.integers(1, 50), max_size=20), max_size=8)


@given(rows=rows_of_counts, block=st.sampled_from([1, 30, 1 << 22]), dim=st.sampled_from([1, 3, 8]))
@settings(max_examples=60, deadline=None)
def test_a_sum_does_not_depend_on_its_neighbours_by_a_single_bit(
    rows: list[dict[int, float]], block: int, dim: int
) -> None:
    table = np.random.default_rng(2).standard_normal((20, dim)).astype(np.float32)
    counts = SparseRows.from_rows(rows, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qianru.models.pooling.BLOCK", block)
        sums = weighted_sums(counts, table)
    assert_allclose(sums, counts.to_dense().astype(np.float64) @ table, atol=1e-3)
    for i in range(len(rows)):
        assert_array_equal(weighted_sums(counts.take([i]), table)[0], sums[i])


def test_sif_and_the_common_direction_of_nothing_are_harmless() -> None:
    assert sif_weights(np.zeros(2, np.int64), 0.001).tolist() == [1, 1]
    assert common_direction([]).shape == (0,)
    assert common_direction([np.zeros((2, 3), np.float32)]).tolist() == [0, 0, 0]
