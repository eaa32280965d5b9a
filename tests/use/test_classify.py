"""Labels: learnt from few examples, calibrated, saved without loss; wrong labels are refused with their reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from qianru.errors import BadFile, BadInput, ModelMismatch, ShapeMismatch, SpecMismatch
from qianru.models.base import Model, ModelSpec
from qianru.models.joined import JoinedModel
from qianru.models.lexical import TfIdf
from qianru.models.lsa import LSA
from qianru.types import Embeddings
from qianru.use.classify import Classifier, Judgment, fit_classifier, zero_shot
from qianru.use.classify.calibration import Calibration, calibration_error, fit_calibration
from qianru.use.classify.fitting import folds_of
from qianru.use.classify.head import learnt
from qianru.use.classify.pictures import draw_confusion
from qianru.use.material import word_model

pytest.importorskip("sklearn")
sparse = pytest.importorskip("scipy.sparse")


@pytest.fixture(scope="module")
def reviews(data: Path) -> tuple[list[str], list[str]]:
    """Four hundred reviews of meals, good (1) and bad (0)."""
    import csv
    import gzip

    with gzip.open(data / "classification/waimai_10k.csv.gz", "rt", encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["review"].strip()]
    chosen = np.random.default_rng(0).permutation(len(rows))[:400]
    return [rows[i]["review"] for i in chosen], [rows[i]["label"] for i in chosen]


@pytest.fixture(scope="module")
def judged(reviews: tuple[list[str], list[str]]) -> tuple[Classifier, Judgment]:
    """What 250 of them teach, and what cross-validation says of it."""
    return fit_classifier(reviews[0][:250], reviews[1][:250])


@pytest.fixture
def fitted(judged: tuple[Classifier, Judgment]) -> Classifier:
    return judged[0]


class Fixed:
    """A model that makes the vectors that it was given for each text."""

    def __init__(self, vectors: dict[str, list[float]], fingerprint: str = "a" * 64) -> None:
        self._vectors = vectors
        self.spec = ModelSpec("fixed", "fixed", ("dense",), fingerprint)

    def encode(self, texts, **_: object) -> Embeddings:      # type: ignore[no-untyped-def]
        rows = np.array([self._vectors[text] for text in texts], np.float32).reshape(len(texts), -1)
        return Embeddings("fixed", np.ones(len(rows), np.int64), dense=rows)


def test_words_that_no_example_has_are_labelled_by_their_meaning() -> None:
    texts = ["足球比赛在今晚举行", "球队赢了篮球联赛", "教练换下受伤的球员", "运动员打破世界纪录", "网球公开赛落幕",
             "银行降低贷款利率", "股票价格再次上涨", "公司公布季度利润", "基金经理看好债券", "央行发行国债"]
    labels = ["体育"] * 5 + ["财经"] * 5
    asked = ["乒乓健将退役", "排坛女将", "证券市场投资", "通货膨胀"]
    by_words, _ = fit_classifier(texts, labels, word_model().fit(texts))
    assert len(set(by_words.predict(asked).labels)) == 1
    by_both, _ = fit_classifier(texts, labels)
    assert by_both.predict(asked).labels == ["体育", "体育", "财经", "财经"]


def test_what_numbers_count_in_learning_stands_in_the_head() -> None:
    rng = np.random.default_rng(0)
    vectors = sparse.csr_matrix(rng.normal(size=(40, 6)).astype(np.float32))
    labels, scale = rng.integers(0, 3, 40), np.array([1, 1, 1, 0.5, 0.5, 2], np.float32)
    scaled = vectors.multiply(scale[None]).tocsr()
    told = learnt(vectors, labels, 3, scale).logits(vectors)
    assert_allclose(told, learnt(scaled, labels, 3).logits(scaled), atol=1e-4)


def test_labels_of_new_texts_are_right_more_often_than_the_commoner_one(
    reviews: tuple[list[str], list[str]], fitted: Classifier
) -> None:
    texts, labels = reviews
    found = fitted.predict(texts[250:])
    commoner = max(np.mean(np.array(labels[250:]) == label) for label in "01")
    assert np.mean([one == other for one, other in zip(found.labels, labels[250:], strict=True)]) > commoner + 0.08
    assert_allclose(found.probabilities.sum(axis=1), 1)
    assert_array_equal(found.probabilities.max(axis=1), found.confidence)


def test_cross_validation_foretells_accuracy_and_calibration(
    reviews: tuple[list[str], list[str]], judged: tuple[Classifier, Judgment]
) -> None:
    classifier, told = judged
    found = classifier.predict(reviews[0][250:])
    right = np.array(found.labels) == np.array(reviews[1][250:])
    assert abs(told.accuracy - right.mean()) < 0.1
    assert calibration_error(found.confidence, right, 5) < 0.1
    assert told.confusion.sum() == 250
    assert np.trace(told.confusion) / 250 == told.accuracy


def test_a_text_is_labelled_alike_alone_and_in_a_batch(
    reviews: tuple[list[str], list[str]], fitted: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = fitted.predict(reviews[0][250:260]).probabilities
    monkeypatch.setattr("qianru.use.classify.classifier.AT_ONCE", 3)
    assert_allclose(fitted.predict(reviews[0][250:260]).probabilities, together, atol=1e-6)
    assert_allclose(fitted.predict([reviews[0][250]]).probabilities[0], together[0], atol=1e-6)
    assert fitted.predict([]).labels == []


def test_eight_examples_a_label_are_enough_to_begin_with() -> None:
    words = {"菜": ["红烧肉", "油菜", "番茄", "鸡蛋", "香菇", "豆腐", "米饭", "面条", "饺子", "白菜"],
             "球": ["足球", "篮球", "球队", "教练", "比赛", "球员", "进球", "联赛", "裁判", "冠军"],
             "钱": ["银行", "存款", "贷款", "利率", "股票", "基金", "央行", "债券", "汇率", "投资"]}
    drawn = np.random.default_rng(2)
    texts, labels = [], []
    for label, own in words.items():
        for _ in range(16):
            texts.append("，".join(drawn.choice(own, 4, replace=False)))
            labels.append(label)
    known = [i for i in range(48) if i % 16 < 8]
    classifier, judged = fit_classifier([texts[i] for i in known], [labels[i] for i in known])
    others = [i for i in range(48) if i % 16 >= 8]
    assert classifier.predict([texts[i] for i in others]).labels == [labels[i] for i in others]
    assert judged.labels == sorted(words)


@pytest.mark.parametrize("views", ["dense", "both"])
def test_any_model_does_also_two_at_once(views: str, reviews: tuple[list[str], list[str]], tmp_path: Path) -> None:
    texts, labels = reviews[0][:120], reviews[1][:120]
    dense = LSA(20).fit(texts)
    model: Model = dense if views == "dense" else JoinedModel([dense, TfIdf().fit(texts)])
    classifier, judged = fit_classifier(texts, labels, model)
    assert judged.accuracy > 0.6
    classifier.save(tmp_path / "kept")
    again = Classifier.load(tmp_path / "kept").predict(texts[:20])
    assert_array_equal(again.probabilities, classifier.predict(texts[:20]).probabilities)


def test_an_abstaining_classifier_reaches_the_wanted_precision(reviews: tuple[list[str], list[str]]) -> None:
    texts, labels = reviews
    classifier, judged = fit_classifier(texts, labels, precision=0.95)
    assert judged.precision >= 0.95
    low, high = judged.precision_range
    assert 0.9 < low < judged.precision < high < 1
    assert 0.05 < judged.covered < 1
    found = classifier.predict(texts)
    sure = [label is not None for label in found.labels]
    assert_array_equal(sure, found.confidence >= classifier.min_confidence)
    with pytest.raises(BadInput, match="A precision lies"):
        fit_classifier(texts, labels, precision=1.5)


def test_near_duplicates_share_a_fold() -> None:
    texts = [f"第{i}个文本说的是完全不同的第{i * 37 % 101}件事情" for i in range(20)]
    texts += [text + "！" for text in texts]
    truth = np.arange(40) % 2
    folds = folds_of(texts, truth, 0)
    assert_array_equal(folds[:20], folds[20:])
    assert len(set(folds.tolist())) == 5


def test_no_label_stands_in_one_fold_alone_even_if_all_its_texts_are_copies() -> None:
    texts = ["好评好评好评"] * 4 + [f"第{i}个不同的文本" * 2 for i in range(6)]
    folds = folds_of(texts, np.array([0] * 4 + [1] * 6), 0)
    assert len(set(folds[:4].tolist())) > 1


def test_a_calibration_learns_how_far_logits_exaggerate() -> None:
    drawn = np.random.default_rng(0)
    logits = drawn.normal(0, 1.5, (4000, 4))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([drawn.choice(4, p=row) for row in shares])
    found = fit_calibration(logits * 3, labels)
    assert found.temperature == pytest.approx(3, rel=0.1)
    told = found.probabilities(logits * 3)
    assert calibration_error(told.max(axis=1), told.argmax(axis=1) == labels) < 0.03
    raw = Calibration().probabilities(logits * 3)
    assert calibration_error(raw.max(axis=1), raw.argmax(axis=1) == labels) > 0.1


def test_ten_right_labels_are_no_certainty() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 4.0]] * 5)
    told = fit_calibration(logits, np.array([0, 1] * 5)).probabilities(logits)
    assert_allclose(told.max(axis=1), 11 / 12, atol=0.02)


def test_a_calibration_keeps_the_order_and_the_sum() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (200, 6))
    told = Calibration(0.7, 0.5, -1.0).probabilities(logits)
    assert_allclose(told.sum(axis=1), 1)
    assert_array_equal(np.argsort(told, axis=1), np.argsort(logits, axis=1))
    assert_allclose(Calibration().probabilities(np.array([[0.0, np.log(3)]])), [[0.25, 0.75]], atol=1e-6)
    assert_allclose(Calibration(1, 1, 2).probabilities(np.zeros((1, 4))), np.full((1, 4), 0.25))


def test_heads_of_wide_sparse_rows_are_those_of_dense_rows() -> None:
    from scipy.sparse import csr_matrix

    drawn = np.random.default_rng(3)
    rows = drawn.normal(size=(30, 80)) * (drawn.random((30, 80)) < 0.2)
    labels = np.arange(30) % 3
    dense, sparse = learnt(rows, labels, 3), learnt(csr_matrix(rows), labels, 3)
    assert_allclose(dense.logits(rows), sparse.logits(csr_matrix(rows)), atol=0.01)


def test_a_classifier_refuses_another_model_than_its_own(tmp_path: Path, fitted: Classifier) -> None:
    fitted.save(tmp_path / "kept")
    with pytest.raises(ModelMismatch, match="fingerprint"):
        Classifier.load(tmp_path / "kept", TfIdf().fit(["另一个 模型"]))
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]
    (tmp_path / "kept" / "labels.json").write_text('["0", "2"]', "utf-8")
    with pytest.raises(BadFile, match="hash differs"):
        Classifier.load(tmp_path / "kept")
    TfIdf().fit(["甲"]).save(tmp_path / "other")
    with pytest.raises(SpecMismatch, match="not classifier"):
        Classifier.load(tmp_path / "other")


def test_a_model_that_can_neither_be_saved_nor_named_is_told(tmp_path: Path) -> None:
    model = Fixed({"甲一": [1, 0], "甲二": [0.9, 0.1], "乙一": [0, 1], "乙二": [0.1, 0.9]})
    classifier, _ = fit_classifier(["甲一", "甲二", "乙一", "乙二"], ["甲", "甲", "乙", "乙"], model)
    with pytest.raises(BadInput, match="cannot be saved"):
        classifier.save(tmp_path / "kept")


@pytest.mark.parametrize(("texts", "labels", "said"), [
    (["甲", "乙"], ["同", "同"], "at least two labels; all 2 have '同'"),
    (["甲", "乙", "丙"], ["一", "一", "二"], "one only has '二'"),
    (["甲", " "], ["一", "二"], "Text 1 .*empty"),
    (["甲", "乙"], ["一", ""], "label of text 1"),
    (["甲", "乙"], ["一", float("nan")], r"label of text 1 .* is nan\. .* leave out"),
    (["甲", "乙"], ["nan", "一"], "label of text 0 .* is 'nan'"),
    (["甲", "乙"], [1, 0], r"label of text 0 .* is 1\. .* str\(label\)"),
    ([], [], "there are none"),
    ("甲乙", ["一", "二"], "list of texts"),
])
def test_labels_that_cannot_be_learnt_are_refused(texts: list[str], labels: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        fit_classifier(texts, labels)


def test_vectors_that_are_not_finite_and_too_few_labels_are_refused() -> None:
    vectors = {"甲": [1.0, 0.0], "乙": [np.nan, 0.0], "丙": [0.0, 1.0], "丁": [0.0, 0.5]}
    with pytest.raises(BadInput, match=r"text 1 .*not finite"):
        fit_classifier(list(vectors), ["一", "一", "二", "二"], Fixed(vectors))
    with pytest.raises(ShapeMismatch, match="1 labels do not fit 2 texts"):
        fit_classifier(["甲", "乙"], ["一"])


def test_without_examples_the_name_most_like_a_text_is_its_label() -> None:
    vectors = {"进球了": [1.0, 0.1], "降息了": [0.1, 1.0], "体育": [1.0, 0.0], "财经": [0.0, 1.0]}
    found = zero_shot(["进球了", "降息了"], ["体育", "财经"], Fixed(vectors), templates=["{}"])
    assert found.labels == ["体育", "财经"]
    with pytest.raises(KeyError, match="内容"):          # the Chinese templates are taken for Chinese labels
        zero_shot(["进球了"], ["体育", "财经"], Fixed(vectors))


def test_what_is_like_no_label_gets_none_and_a_label_without_meaning_is_refused() -> None:
    vectors = {"进球了": [1.0, 0.1], "": [0.0, 0.0], "体育": [1.0, 0.0], "财经": [0.0, 1.0], "玄学": [0.0, 0.0]}
    assert zero_shot(["进球了", ""], ["体育", "财经"], Fixed(vectors), templates=["{}"]).labels == ["体育", None]
    with pytest.raises(BadInput, match="fixed knows no word of the label '玄学'"):
        zero_shot(["没有人读"], ["体育", "玄学"], Fixed(vectors), templates=["{}"])


@pytest.mark.parametrize(("labels", "templates", "said"), [
    (["体育"], None, "at least two labels"), (["体育", "体育"], None, "twice"),
    (["体育", "财经"], ["关于新闻"], "one place"), (["体育", "财经"], [], "at least one template"),
])
def test_zero_shot_refuses(labels: list[str], templates: list[str] | None, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        zero_shot(["文"], labels, Fixed({}), templates=templates)


def test_what_is_confused_is_drawn(reviews: tuple[list[str], list[str]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = {"0": "差评<b>", "1": "好评"}
    _, judged = fit_classifier(reviews[0][:100], [names[label] for label in reviews[1][:100]])
    draw_confusion(judged, tmp_path / "confusion.png")
    draw_confusion(judged, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "差评&lt;b&gt;" in page
    assert "<b>" not in page
    assert json.dumps(judged.confusion.tolist())
