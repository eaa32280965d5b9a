"""LSA is scikit-learn's truncated SVD of the same TF-IDF, with signs that never turn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpora import CORPORA
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from qianru.errors import BadInput, NotFitted, SpecMismatch
from qianru.models.files import Stored, write_folder
from qianru.models.lsa import LSA
from qianru.text.analyze import Analyzer


@pytest.mark.parametrize("corpus", ["csl abstracts", "banking77"])
def test_vectors_equal_scikit_learn(data: Path, corpus: str) -> None:
    texts = CORPORA[corpus](data)[:500]
    model = LSA(20, min_df=2).fit(texts)
    tfidf = TfidfVectorizer(analyzer=Analyzer().tokens, min_df=2)
    svd = TruncatedSVD(20, algorithm="arpack", random_state=0)
    expected = svd.fit_transform(tfidf.fit_transform(texts))
    assert_allclose(np.abs(model.encode(texts).dense), np.abs(expected), atol=2e-5)
    assert_allclose(model.explained_variance_ratio, svd.explained_variance_ratio_, atol=1e-9)


def test_the_same_corpus_gives_the_same_vectors_with_any_seed(data: Path) -> None:
    texts = CORPORA["csl abstracts"](data)[:200]
    one, other, third = (LSA(8, seed=seed).fit(texts).encode(texts).dense for seed in (0, 0, 7))
    assert_array_equal(one, other)
    assert_allclose(one, third, atol=1e-5)   # signs too


def test_words_met_together_come_close() -> None:
    texts = ["猫 鱼", "猫 鱼 吃", "狗 骨头", "狗 骨头 吃", "鱼 海", "骨头 肉"]
    cat, fish, dog = LSA(2).fit(texts).encode(["猫", "鱼", "狗"]).dense
    assert cat @ fish / np.linalg.norm(cat) / np.linalg.norm(fish) > 0.9
    assert cat @ dog / np.linalg.norm(cat) / np.linalg.norm(dog) < 0.5


def test_more_dimensions_than_texts_are_refused_and_the_old_fit_stays() -> None:
    model = LSA(2).fit(["猫 鱼", "狗 骨头", "鱼 海"])
    before = model.spec
    with pytest.raises(BadInput, match="there are 2 and 2"):
        model.fit(["猫", "狗"])
    assert model.spec == before
    with pytest.raises(BadInput, match="at least 1"):
        LSA(0)


def test_encoding_before_fitting_says_so() -> None:
    with pytest.raises(NotFitted):
        LSA().encode(["明月"])


def test_a_folder_with_axes_of_another_size_is_refused(tmp_path: Path) -> None:
    stored = LSA(2).fit(["猫 鱼", "狗 骨头", "鱼 海"]).stored()
    write_folder(tmp_path / "m", Stored("lsa", {**stored.settings, "dim": 3}, stored.arrays, stored.words))
    with pytest.raises(SpecMismatch, match="'axes'"):
        LSA.load(tmp_path / "m")


def test_encoding_needs_no_scipy(tmp_path: Path) -> None:
    LSA(2).fit(["猫 鱼", "狗 骨头", "鱼 海"]).save(tmp_path / "m")
    code = ("import sys; sys.modules['scipy'] = None\n"
            "from pathlib import Path; from qianru.models.lsa import LSA\n"
            f"print(LSA.load(Path({str(tmp_path / 'm')!r})).encode(['猫']).dense.shape)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 2)"
