"""Confidence intervals by the bootstrap: what the number could have been with other documents of the same kind."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its confidence interval, which are None when there is only one unit to resample."""

    value: float
    low: float | None
    high: float | None


def bootstrap_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap (Efron 1979) of ``sum(numerators) / sum(denominators)`` over units, such as documents.

    Units are drawn with replacement, numerator and denominator together. With the same seed and number of units the
    same units are drawn, so that intervals of differences are paired.

    Args:
        numerators: (n,) for example bits of each document.
        denominators: (n,) for example bytes of each document; ones for a plain mean.
        num_resamples: how many times the n units are drawn.
        level: share of the bootstrap distribution between the two ends.
        seed: of the draws.
    """
    pairs = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)], axis=1)  # (n, 2)
    num_units = len(pairs)
    total = pairs.sum(axis=0)
    value = float(total[0] / total[1])
    if num_units < 2:
        return Interval(value, None, None)
    sums = np.concatenate([draws @ pairs for draws in draw_units(num_units, num_resamples, seed)])  # (resamples, 2)
    ratios = sums[:, 0] / sums[:, 1]
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def draw_units(num_units: int, num_resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each unit is drawn in each resample, some resamples at a time: (resamples, num_units).

    The same seed and number of units give the same draws.
    """
    random = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // num_units)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        yield random.multinomial(num_units, np.full(num_units, 1 / num_units), size=size)
