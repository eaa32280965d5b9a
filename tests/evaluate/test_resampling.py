"""Intervals and p values that one can believe: differences that are there are found, those that are not are not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qianru.errors import BadInput
from qianru.evaluate.resampling import Statistic, estimate, holm, p_value, resample
from qianru.evaluate.statistics import (
    average_precision_of,
    best_accuracy_of,
    best_f1_of,
    mean_of,
    pearson_of,
    spearman_of,
)
from qianru.types import FloatArray

pytest.importorskip("scipy", reason="the extra evaluate is not installed")


def drawn_pairs(seed: int, n: int = 40) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scores with ties, labels, and counts of a sample."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 12, n) / 11
    gold = generator.integers(0, 4, n).astype(np.float64)
    counts = np.bincount(generator.integers(0, n, n), minlength=n).astype(np.float64)[None]
    return scores, gold, counts


def spread_out(values: FloatArray, counts: FloatArray) -> FloatArray:
    """The sample itself: item i as often as it was drawn."""
    return np.repeat(values, counts[0].astype(np.int64))


@pytest.mark.parametrize("seed", range(20))
def test_a_statistic_of_counts_is_the_score_of_the_sample_itself(seed: int) -> None:
    """Beside each fast statistic stands the library's own, on the drawn items written out."""
    stats = pytest.importorskip("scipy.stats")
    metrics = pytest.importorskip("sklearn.metrics")
    scores, gold, counts = drawn_pairs(seed)
    labels = (gold > 2).astype(np.float64)
    x, y, positive = (spread_out(part, counts) for part in (scores, gold, labels))
    assert_allclose(mean_of(scores)(counts), x.mean())
    assert_allclose(spearman_of(scores, gold)(counts), stats.spearmanr(x, y).statistic)
    assert_allclose(pearson_of(scores, gold)(counts), stats.pearsonr(x, y).statistic)
    assert_allclose(average_precision_of(scores, labels)(counts), metrics.average_precision_score(positive, x))
    cuts = np.unique(x)
    assert_allclose(best_accuracy_of(scores, labels)(counts),
                    max(metrics.accuracy_score(positive, x >= cut) for cut in cuts))
    assert_allclose(best_f1_of(scores, labels)(counts), max(metrics.f1_score(positive, x >= cut) for cut in cuts))


def test_a_correlation_with_a_constant_is_zero() -> None:
    constant, rising = np.ones(5), np.arange(5.0)
    assert spearman_of(constant, rising)(np.ones((1, 5))).tolist() == [0.0]
    assert pearson_of(constant, rising)(np.ones((1, 5))).tolist() == [0.0]


def test_the_draws_are_those_of_every_possible_sample() -> None:
    """Of three items there are 27 samples; their means are known, and so is how often each comes."""
    values = np.array([0.0, 1.0, 5.0])
    every = [np.mean(sample) for sample in itertools.product(values, repeat=3)]
    draws = resample([mean_of(values)], 3, n_resamples=20_000)[0]
    for mean in set(every):
        expected = np.isclose(every, mean).mean()
        assert np.isclose(draws, mean).mean() == pytest.approx(expected, abs=0.012)


def test_the_same_seed_gives_the_same_interval_and_another_name_another_sample() -> None:
    values = np.random.default_rng(0).random(50)
    once, again = (resample([mean_of(values)], 50, seed=3, name="古诗检索") for _ in range(2))
    assert (once == again).all()
    assert (once != resample([mean_of(values)], 50, seed=3, name="法条检索")).any()


def test_models_of_a_task_are_asked_the_same_drawn_items() -> None:
    """A constant difference stays constant in every sample: what is hard is hard for both."""
    values = np.random.default_rng(1).random(200)
    better, worse = resample([mean_of(values + 0.02), mean_of(values)], 200)
    assert_allclose(better - worse, 0.02)


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    """For many items of a plain distribution it comes to mean +- 1.96 standard errors."""
    values = np.random.default_rng(2).normal(0.5, 0.2, 2_000)
    found = estimate(values.mean(), resample([mean_of(values)], 2_000)[0], 2_000)
    error = 1.96 * values.std(ddof=1) / np.sqrt(2_000)
    assert_allclose([found.low, found.high], [values.mean() - error, values.mean() + error], atol=0.08 * error)


def test_the_interval_of_ten_draws_is_as_wide_as_student_says() -> None:
    """A plain percentile interval would be a fifth too short."""
    stats = pytest.importorskip("scipy.stats")
    values = stats.norm.ppf((np.arange(10) + 0.5) / 10)
    found = estimate(0.0, resample([mean_of(values)], 10)[0], 10)
    half = stats.t.ppf(0.975, 9) * values.std(ddof=1) / np.sqrt(10)
    assert_allclose([found.low, found.high], [-half, half], rtol=0.06)


def test_an_interval_misses_zero_just_when_p_is_below_its_level() -> None:
    generator = np.random.default_rng(3)
    for _ in range(50):
        draws = resample([mean_of(generator.normal(0.1, 1, 60))], 60, n_resamples=1_000)[0]
        found, p = estimate(0.1, draws, 60), p_value(draws, 60)
        assert (found.low > 0 or found.high < 0) == (p < 0.05) or abs(p - 0.05) < 0.005


def test_one_item_says_nothing_of_its_spread() -> None:
    draws = resample([mean_of(np.array([0.4]))], 1)[0]
    assert np.isnan(estimate(0.4, draws, 1).low)
    assert p_value(draws, 1) == 1.0


def test_a_planted_difference_of_two_points_on_a_thousand_queries_is_found() -> None:
    """nDCG of two models, one of which answers two in a hundred more queries; both know what is hard."""
    generator = np.random.default_rng(4)
    base = generator.beta(0.8, 0.5, 1_000)
    noise = generator.normal(0, 0.15, 1_000)
    planted = np.clip(base + 0.02 + noise - noise.mean(), 0, 2)
    draws = resample([mean_of(planted), mean_of(base)], 1_000)
    assert p_value(draws[0] - draws[1], 1_000) < 0.01


def test_a_plain_difference_stays_plain_among_a_thousand_tests() -> None:
    """A count of 500 draws could say no less than .004, which times a thousand shows nothing."""
    base = np.random.default_rng(8).random(500)
    better, worse = resample([mean_of(base + np.linspace(0.05, 0.15, 500)), mean_of(base)], 500, n_resamples=500)
    assert holm([p_value(better - worse, 500)] + [0.5] * 999)[0] < 1e-6


def test_few_items_show_little_however_plain_they_are() -> None:
    """Three draws of the same sign: Student's t of two degrees of freedom has long tails."""
    (draws,) = resample([mean_of(np.array([0.9, 1.0, 1.1]))], 3)
    assert 1e-3 < p_value(draws, 3) < 0.05


def scored_alike(generator: np.random.Generator, n: int) -> tuple[Statistic, Statistic]:
    """Two models of one quality: each query has a difficulty, each model its own luck with it."""
    hard = generator.normal(size=n)
    first, second = (1 / np.log2(1 + np.ceil(np.exp(hard + generator.normal(size=n)))) for _ in range(2))
    return mean_of(first), mean_of(second)


def test_two_models_of_one_quality_are_rarely_told_apart() -> None:
    """200 repeats of 1,000 queries: at most 5 % false alarms (over 1,000 repeats it was 4.8 %)."""
    generator = np.random.default_rng(11)
    alarms = 0
    for repeat in range(200):
        a, b = resample(scored_alike(generator, 1_000), 1_000, n_resamples=250, seed=repeat)
        alarms += p_value(a - b, 1_000) < 0.05
    assert alarms <= 10


def test_a_model_against_itself_is_no_difference_at_all() -> None:
    values = mean_of(np.random.default_rng(6).random(300))
    a, b = resample([values, values], 300)
    assert p_value(a - b, 300) == 1.0


def test_over_many_tasks_holm_keeps_the_false_alarms_together_below_the_level() -> None:
    """Thirty true nulls: without correction four in five tables would boast of something."""
    generator = np.random.default_rng(7)
    tables = generator.random((2_000, 30))
    assert (tables.min(1) < 0.05).mean() > 0.75
    assert np.mean([min(holm(row)) < 0.05 for row in tables]) <= 0.06


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


@pytest.mark.parametrize("level", [0.2, 1.0, float("nan")])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(BadInput, match=r"between 0\.5 and 1"):
        estimate(0.0, np.zeros(100), 10, level)
    with pytest.raises(BadInput, match="too few"):
        resample([mean_of(np.zeros(3))], 3, n_resamples=10)
