"""Correlations against scipy, in every resample too."""

import numpy as np
import pytest

from inkstone.evaluate.metrics.base import metric_named

stats = pytest.importorskip("scipy.stats")


def whole(name: str, truth: list[float], guess: list[float]) -> float:
    metric = metric_named(name)
    return float(metric.values(metric.count(truth, guess), np.ones((1, len(truth))))[0])


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_equals_scipy_with_ties_and_far_from_zero(offset: float) -> None:
    generator = np.random.default_rng(0)
    truth = (generator.integers(0, 8, 50) / 2 + offset).tolist()
    guess = [each + float(noise) for each, noise in zip(truth, generator.integers(-3, 4, 50), strict=True)]
    assert whole("pearson", truth, guess) == pytest.approx(stats.pearsonr(truth, guess).statistic, abs=1e-9)
    assert whole("spearman", truth, guess) == pytest.approx(stats.spearmanr(truth, guess).statistic, abs=1e-12)
    assert whole("mae", truth, guess) == pytest.approx(np.abs(np.subtract(truth, guess)).mean())


def test_ranks_are_those_within_a_resample() -> None:
    generator = np.random.default_rng(1)
    truth, guess = generator.normal(size=12), generator.normal(size=12)
    draws = generator.multinomial(12, [1 / 12] * 12, size=4).astype(float)
    metric = metric_named("spearman")
    for row, value in zip(draws, metric.values(metric.count(truth, guess), draws), strict=True):
        again = np.repeat(np.arange(12), row.astype(int))
        assert value == pytest.approx(stats.spearmanr(truth[again], guess[again]).statistic, abs=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_constant_explains_nothing(name: str) -> None:
    assert whole(name, [0.1, 0.2, 0.3], [0.7, 0.7, 0.7]) == 0
    assert whole(name, [0.7, 0.7], [0.1, 0.2]) == 0
