"""scikit-learn's own checks, and a transformer that does in pipelines what the model does alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

from qianru.compat.sklearn import QianruEmbedder, texts_of
from qianru.errors import BadInput
from qianru.models.lexical import Counts, TfIdf
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import Analyzer

GOOD = ["房间干净，服务热情", "早餐丰富，位置方便", "床很舒服，服务周到", "位置好，房间宽敞", "干净又安静"]
BAD = ["房间又脏又吵", "服务态度差", "空调坏了，没人来修", "早餐难吃，位置偏僻", "隔音太差，很吵"]
CHARACTERS = Analyzer(unit="char")

OF_NUMBERS = WordVectorModel(
    WordVectors(list("0123456789.-e+n"), np.random.default_rng(1).standard_normal((15, 6))), CHARACTERS)


class EmbedderOfNumbers(QianruEmbedder):
    """scikit-learn's checks feed numbers; here each row is written down, and so becomes a text."""

    def fit(self, X: Any, y: Any = None) -> EmbedderOfNumbers:
        super().fit(self._written(X, reset=True), y)
        return self

    def transform(self, X: Any) -> Any:
        return super().transform(self._written(X, reset=False))

    def _written(self, X: Any, reset: bool) -> list[str]:
        rows = validate_data(self, X, reset=reset, dtype=None, skip_check_array=False)
        return [" ".join(str(float(value))[:8] for value in row) for row in rows]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, True
        return tags


def test_check_estimator_has_no_texts_to_feed_and_passes_the_rest() -> None:
    with pytest.warns(SkipTestWarning, match="Can't test estimator QianruEmbedder which requires input"):
        told = check_estimator(QianruEmbedder(OF_NUMBERS))
    assert {check["status"] for check in told} == {"passed"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("options", [{}, {"normalize": True}], ids=str)
def test_check_estimator_passes_where_numbers_are_written_down(options: dict[str, Any]) -> None:
    """The one check that does not apply: arrays of other libraries than NumPy hold no texts."""
    told = check_estimator(EmbedderOfNumbers(OF_NUMBERS, **options), on_fail=None)
    other = {check["check_name"]: str(check["exception"]) for check in told if check["status"] != "passed"}
    assert set(other) <= {"check_array_api_input"}, other
    assert len(told) > 40


def test_words_are_scikit_learns_own_where_both_cut_alike() -> None:
    texts = ["the cat sat", "the dog sat down", "a cat and a dog"]
    ours = QianruEmbedder(TfIdf(Analyzer(pattern=r"\b\w\w+\b"))).fit_transform(texts)
    theirs = TfidfVectorizer().fit_transform(texts)
    assert_allclose(np.sort(ours.toarray(), 1), np.sort(theirs.toarray(), 1), atol=1e-6)


def test_a_pipeline_learns_and_a_grid_chooses() -> None:
    texts, labels = GOOD + BAD, [1] * len(GOOD) + [0] * len(BAD)
    pipe = make_pipeline(QianruEmbedder(TfIdf(CHARACTERS)), LogisticRegression())
    grid = GridSearchCV(pipe, {"qianruembedder__model": [Counts(CHARACTERS), TfIdf(CHARACTERS)],
                               "logisticregression__C": [1.0, 10.0]}, cv=2).fit(texts, labels)
    assert grid.predict(["服务热情，房间干净", "又脏又吵"]).tolist() == [1, 0]


def test_a_clone_shares_a_model_that_has_learnt_and_copies_one_that_must() -> None:
    ready, blank = QianruEmbedder(OF_NUMBERS), QianruEmbedder(TfIdf(CHARACTERS))
    assert clone(ready).fit(["1"]).model_ is OF_NUMBERS
    fitted = clone(blank).fit(GOOD)
    assert fitted.model_ is not blank.model
    with pytest.raises(NotFittedError):
        blank.transform(GOOD)


def test_every_column_of_texts_is_taken() -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    embedder = QianruEmbedder(TfIdf(CHARACTERS)).fit(GOOD)
    expected = embedder.transform(GOOD).toarray()
    columns = [tuple(GOOD), np.array(GOOD), np.array(GOOD, object)[:, None], pd.Series(GOOD), pd.DataFrame({"t": GOOD}),
               pl.Series(GOOD), pl.DataFrame({"t": GOOD}), pa.array(GOOD), pa.chunked_array([GOOD[:2], GOOD[2:]])]
    for column in columns:
        assert_allclose(embedder.transform(column).toarray(), expected)


def test_a_column_transformer_hands_over_one_column_and_pandas_gets_names() -> None:
    import pandas as pd

    table = pd.DataFrame({"said": GOOD, "stars": range(5)})
    embedder = QianruEmbedder(OF_NUMBERS)
    both = ColumnTransformer([("said", embedder, "said"), ("rest", "passthrough", ["stars"])])
    assert both.fit_transform(table).shape == (5, 7)
    named = clone(embedder).set_output(transform="pandas").fit(["1", "2"]).transform(["12", "3"])
    assert list(named.columns)[:2] == ["qianruembedder0", "qianruembedder1"]


def test_normalized_rows_have_length_one_dense_and_sparse() -> None:
    for model in (OF_NUMBERS, Counts(CHARACTERS)):
        made = QianruEmbedder(model, normalize=True).fit_transform(["1 2", "333", "4-5"])
        dense = made if isinstance(made, np.ndarray) else made.toarray()
        assert_allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-6)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(BadInput, match="one text"):
        texts_of("春眠不觉晓")
    with pytest.raises(BadInput, match=r"Text 1 .* is float"):
        texts_of(["一", float("nan")])
    with pytest.raises(BadInput, match="this table has 2"):
        texts_of(np.array([["a", "b"]]))
    with pytest.raises(BadInput, match="not sparse"):
        QianruEmbedder(OF_NUMBERS, kind="sparse").fit(["1"])
    with pytest.raises(BadInput, match="A model is needed"):
        QianruEmbedder(7).fit(["1"])
