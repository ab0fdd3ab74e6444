import numpy as np
import pytest

from inkstone.evaluate import confidence
from inkstone.evaluate.confidence import bootstrap_ratio


def test_value_is_the_ratio_of_sums_and_lies_inside() -> None:
    interval = bootstrap_ratio([1.0, 2.0, 9.0], [2.0, 1.0, 3.0])
    assert interval.value == 2.0
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < 2.0 < interval.high


def test_coverage_on_a_known_distribution() -> None:
    """Documents of random length with 2 bits per byte on average: the true ratio is inside about 95 times in 100."""
    random = np.random.default_rng(0)
    inside, trials = 0, 400
    for trial in range(trials):
        size = random.lognormal(7, 0.7, 80)
        bits = size * random.gamma(16, 2 / 16, 80)
        interval = bootstrap_ratio(bits, size, num_resamples=400, seed=trial)
        inside += interval.low <= 2.0 <= interval.high  # type: ignore[operator]
    assert 0.90 <= inside / trials <= 0.98


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(5, 2, 1000)
    interval = bootstrap_ratio(values, np.ones(1000), level=0.9)
    half = 1.645 * values.std() / np.sqrt(1000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_seed_decides_and_pieces_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random(50)
    first = bootstrap_ratio(values, np.ones(50), seed=7)
    assert bootstrap_ratio(values, np.ones(50), seed=8) != first
    monkeypatch.setattr(confidence, "_DRAWS_AT_ONCE", 500)
    assert bootstrap_ratio(values, np.ones(50), seed=7) == first


def test_one_unit_has_no_interval() -> None:
    interval = bootstrap_ratio([3.0], [2.0])
    assert (interval.value, interval.low, interval.high) == (1.5, None, None)


def test_equal_units_have_an_interval_of_no_width() -> None:
    interval = bootstrap_ratio(np.full(10, 3.0), np.full(10, 2.0))
    assert interval.low == interval.high == interval.value == 1.5
