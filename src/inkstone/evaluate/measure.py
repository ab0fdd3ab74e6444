"""Metrics of several systems on the same examples: estimates with intervals, and paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkstone.evaluate.confidence import Interval, draw_units
from inkstone.evaluate.metrics.base import LabeledMetric, Metric, Statistics, Values

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """A metric of one system less that of another, on the same examples."""

    p_value: float | None
    """Two-sided: how often the difference would be as large if the systems were equally good; None with one example, or
    where one of them has no value.

    From the bootstrap, shifted to a mean of 0 (Koehn 2004, "Statistical significance tests for machine translation
    evaluation"), as sacreBLEU computes it.
    """


@dataclass(frozen=True)
class Measurement:
    """One metric of one system."""

    estimate: Interval
    by_label: Mapping[str, Interval]
    """Empty where the metric has no labels."""
    example_values: Values | None
    """(n,)."""
    resampled: Values = field(repr=False)
    """(R,): its values in the resamples, the same ones for all systems."""


Measurements = Mapping[str, Measurement]
"""By the name of the metric."""


def measure(
    metrics: Sequence[Metric],
    references: Sequence[Any],
    systems: Mapping[str, Sequence[Any]],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Measurements]:
    """Every metric of every system, each with the interval that holds 95 % of the bootstrap over examples.

    Args:
        metrics: what to compute.
        references: of n examples.
        systems: the predictions of each, n as well.
        num_resamples: how often n examples are drawn; the draws are those of `seed` for all systems and metrics.
        seed: of the draws.

    Raises:
        ConfigError: a package that a metric needs is not installed.
    """
    counted = {
        (system, metric.name): metric.count(references, predictions)
        for system, predictions in systems.items()
        for metric in metrics
    }
    num_examples = len(references)
    parts: dict[tuple[str, str], list[Values]] = {key: [] for key in counted}
    for draws in draw_units(num_examples, num_resamples, seed) if num_examples > 1 else ():
        weights = draws.astype(np.float64)
        for system in systems:
            for metric in metrics:
                key = (system, metric.name)
                parts[key].append(_all_values(metric, counted[key], weights))
    everything = np.ones((1, num_examples))
    return {
        system: {
            metric.name: _measurement(metric, counted[key], everything, parts[key])
            for metric in metrics
            for key in [(system, metric.name)]
        }
        for system in systems
    }


def difference(first: Measurement, second: Measurement) -> Difference:
    """`first` less `second`, measured in the same call of `measure`."""
    value = first.estimate.value - second.estimate.value
    differences = first.resampled - second.resampled
    differences = differences[~np.isnan(differences)]
    if not len(differences) or np.isnan(value):
        return Difference(value, None, None, None)
    low, high = _ends(value, differences)
    shifted = np.abs(differences - differences.mean())
    as_large = int((shifted >= abs(value) - 1e-12).sum())
    return Difference(value, low, high, (as_large + 1) / (len(differences) + 1))


def _all_values(metric: Metric, statistics: Statistics, draws: NDArray[Any]) -> Values:
    """(R, 1 + labels)."""
    values = metric.values(statistics, draws)[:, None]
    if not isinstance(metric, LabeledMetric):
        return values
    return np.concatenate([values, metric.label_values(statistics, draws)], axis=1)


def _measurement(metric: Metric, statistics: Statistics, everything: Values, parts: list[Values]) -> Measurement:
    values = _all_values(metric, statistics, everything)[0]
    resampled = np.concatenate(parts) if parts else np.empty((0, len(values)))
    estimates = [_interval(value, column) for value, column in zip(values, resampled.T, strict=True)]
    by_label = dict(zip(statistics.labels, estimates[1:], strict=True)) if len(estimates) > 1 else {}
    return Measurement(estimates[0], by_label, metric.example_values(statistics), resampled[:, 0])


def _interval(value: float, resampled: Values) -> Interval:
    return Interval(float(value), *_ends(float(value), resampled))


def _ends(value: float, resampled: Values) -> tuple[float | None, float | None]:
    """The middle 95 % of the resamples in which the metric exists; widened where a skewed one misses the estimate."""
    known = resampled[~np.isnan(resampled)]
    if not len(known) or np.isnan(value):
        return None, None
    low, high = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return min(float(low), value), max(float(high), value)
