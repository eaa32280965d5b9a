"""A classifier learnt from labelled texts, judged by cross-validation on texts that it did not learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch, require
from qianru.models.base import Model, as_texts
from qianru.types import FloatArray, IntArray, Progress
from qianru.use.calibrate import check_precision, threshold_for
from qianru.use.classify.calibration import calibration_error, fit_calibration
from qianru.use.classify.classifier import Classifier
from qianru.use.classify.features import features, own_model, own_scale
from qianru.use.classify.head import Head, learnt
from qianru.use.duplicates import find_duplicates

N_FOLDS = 5
MISSING = ("nan", "NaN", "<NA>")      # what pandas makes of a label that is not there, as a text


@dataclass(frozen=True, slots=True, eq=False)
class Judgment:
    """What cross-validation says: each text was labelled by a head that had not learnt from it.

    labels: (k,);  truth, predicted: (n,) numbers of labels;  confidence: (n,) calibrated on the other folds
    accuracy, macro_f1: of all texts, abstaining from none;  calibration_error: of the confidences (15 bins)
    per_label: label -> (precision, recall, f1, texts)
    covered: share of texts on which the classifier does not abstain;  precision: of these the share that is right
    """

    labels: Sequence[str]
    truth: IntArray
    predicted: IntArray
    confidence: FloatArray
    accuracy: float
    macro_f1: float
    calibration_error: float
    per_label: dict[str, tuple[float, float, float, int]]
    covered: float
    precision: float

    @property
    def confusion(self) -> IntArray:
        """(k, k) how many texts of the row's label were given the column's."""
        k = len(self.labels)
        return np.bincount(self.truth * k + self.predicted, minlength=k * k).reshape(k, k)

    @property
    def precision_range(self) -> tuple[float, float]:
        """Between which the precision lies in 19 of 20 cases, for so many texts (Wilson 1927)."""
        stats = require("scipy.stats", "evaluate", "The range of a precision")
        n_told = round(self.covered * len(self.truth))
        found = stats.binomtest(round(self.precision * n_told), n_told).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def fit_classifier(
    texts: Sequence[str],
    labels: Sequence[str],
    model: Model | None = None,
    *,
    precision: float | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Classifier, Judgment]:
    """A classifier that has learnt from all texts, and what it is worth.

    labels: (n,) of the texts; each stands for at least two of them
    model: any that makes dense or sparse vectors; by default words and meaning: TF-IDF over words and characters,
        fitted on these texts, and the model that comes with the package, which counts half
    precision: abstain where needed so that of all labels told at least this share is right; None to tell every label
    name: what the model was loaded by, see Classifier;  progress: counts heads that are learnt
    Calibrated on what 5 folds say of texts that they did not learn from; near-duplicates share a fold.
    Raises BadInput for labels that cannot be learnt or a precision that cannot be reached.
    """
    if precision is not None:
        check_precision(precision)
    texts, names = as_texts(texts), checked_labels(texts, labels)
    numbers = {label: number for number, label in enumerate(names)}
    truth = np.array([numbers[label] for label in labels])
    folds = folds_of(texts, truth, seed)
    n_heads, done = int(folds.max()) + 2, 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, n_heads)

    logits = _held_out(texts, truth, folds, len(names), model, step)
    ready, head = _learnt(texts, truth, len(names), model)
    step()
    calibration = fit_calibration(logits, truth)
    judgment, cut = _judged(logits, truth, folds, names, precision)
    return Classifier(ready, names, head, calibration, min_confidence=cut, name=name), judgment


def checked_labels(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The labels, sorted; BadInput where they cannot be learnt."""
    if len(texts) != len(labels):
        raise ShapeMismatch(f"{len(labels)} labels do not fit {len(texts)} texts one to one.")
    for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if not isinstance(label, str) or not label.strip() or label in MISSING:
            raise BadInput(f"The label of text {i} (counting from 0) is {label!r:.40}. Every text needs a label that "
                           "is a text: leave out those that have none, and write numbers as str(label).")
        if not text.strip():
            raise BadInput(f"Text {i} (counting from 0), labelled '{label}', is empty. Leave it out.")
    counts = Counter(labels)
    if len(counts) < 2:
        raise BadInput(f"A classifier needs texts of at least two labels; all {len(texts)} have "
                       f"'{next(iter(counts))}'." if counts else "A classifier needs labelled texts; there are none.")
    lonely = sorted(label for label, n in counts.items() if n < 2)
    if lonely:
        some = ", ".join(f"'{label:.30}'" for label in lonely[:5]) + ", …" * (len(lonely) > 5)
        raise BadInput(f"A label needs at least two texts, one to learn from and one to judge by; one only has "
                       f"{some}. Add examples, or leave these labels out.")
    return sorted(counts)


def folds_of(texts: Sequence[str], truth: IntArray, seed: int, most: int = N_FOLDS) -> IntArray:
    """(n,) a fold for each text, every label spread evenly over them, so that none stands in one fold alone.

    Near-duplicates share a fold: a text is no test where its copy was learnt from.
    """
    n_folds = min(most, len(truth))
    leaders = find_duplicates(texts).leaders
    order = np.random.default_rng(seed).permutation(len(truth))
    order = order[np.argsort(truth[order], kind="stable")]
    first = order[leaders[order] == order]
    fold_of = np.empty(len(truth), np.int64)
    fold_of[first] = np.arange(len(first)) % n_folds
    folds = fold_of[leaders]
    for label in np.unique(truth).tolist():
        mine = np.flatnonzero(truth == label)
        if (folds[mine] == folds[mine[0]]).all():        # nothing but copies: some must be learnt from
            folds[mine] = (np.arange(len(mine)) + label) % n_folds
    return folds


def _held_out(
    texts: Sequence[str], truth: IntArray, folds: IntArray, k: int, model: Model | None, step: Callable[[], None]
) -> FloatArray:
    """(n, k) the logits of each text by a head that learnt from the other folds."""
    every: Any = None if model is None else features(model, texts)
    logits = np.empty((len(texts), k))
    for fold in range(int(folds.max()) + 1):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if every is None:        # words are learnt from these texts alone, as they will be when it is used
            own, head = _learnt([texts[i] for i in train.tolist()], truth[train], k, None)
            logits[test] = head.logits(features(own, [texts[i] for i in test.tolist()]))
        else:
            logits[test] = learnt(every[train], truth[train], k).logits(every[test])
        step()
    return logits


def _learnt(texts: Sequence[str], truth: IntArray, k: int, model: Model | None) -> tuple[Model, Head]:
    """The model, by default our own for these texts, and a head on what it makes of them."""
    if model is not None:
        return model, learnt(features(model, texts), truth, k)
    own = own_model(texts)
    vectors = features(own, texts)
    return own, learnt(vectors, truth, k, own_scale(own, vectors.shape[1]))


def _judged(
    logits: FloatArray, truth: IntArray, folds: IntArray, names: Sequence[str], precision: float | None
) -> tuple[Judgment, float]:
    """What the logits say, and the confidence from which on the wanted precision is reached."""
    probabilities = np.empty_like(logits)
    for fold in range(int(folds.max()) + 1):          # each fold by the calibration of the others
        mine = folds == fold
        probabilities[mine] = fit_calibration(logits[~mine], truth[~mine]).probabilities(logits[mine])
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(truth)), predicted]
    right: NDArray[np.bool_] = predicted == truth
    cut = 0.0
    if precision is not None:
        if not right.any():
            raise BadInput("Not one held-out text was labelled right, so no precision can be reached.")
        cut = threshold_for(confidence, right.tolist(), precision).min_score
    told = confidence >= cut
    per_label = _per_label(truth, predicted, names)
    return Judgment(
        names, truth, predicted, confidence, float(right.mean()), float(np.mean([f1 for _, _, f1, _ in
                                                                                 per_label.values()])),
        calibration_error(confidence, right), per_label, float(told.mean()), float(right[told].mean()),
    ), cut


def _per_label(
    truth: IntArray, predicted: IntArray, names: Sequence[str]
) -> dict[str, tuple[float, float, float, int]]:
    k = len(names)
    right = np.bincount(truth[truth == predicted], minlength=k)
    of, given = np.bincount(truth, minlength=k), np.bincount(predicted, minlength=k)
    found: dict[str, tuple[float, float, float, int]] = {}
    for i, name in enumerate(names):
        precision, recall = right[i] / max(given[i], 1), right[i] / max(of[i], 1)
        found[name] = (float(precision), float(recall), float(2 * right[i] / max(of[i] + given[i], 1)), int(of[i]))
    return found
