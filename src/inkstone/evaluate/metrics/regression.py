"""How close predicted numbers are to the true ones, and whether they rise and fall together."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inkstone.evaluate.metrics.base import Additive, Kind, Mean, Statistics, Values, ratio

_ROUNDING = 1e-12
"""A spread below so much of the squares is that of a constant."""


class MeanAbsoluteError(Mean):
    """Mean distance from the true number."""

    name: ClassVar[str] = "mae"
    kind: ClassVar[Kind] = "numbers"
    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float] = 0.0

    def score(self, reference: float, prediction: float) -> float:
        """Their distance."""
        return abs(reference - prediction)


class Pearson(Additive):
    """Pearson's correlation; 0 where either side is constant, for a constant explains nothing."""

    name: ClassVar[str] = "pearson"
    kind: ClassVar[Kind] = "numbers"

    def count(self, references: Sequence[float], predictions: Sequence[float]) -> Statistics:
        """Moments, (n, 6)."""
        return Statistics(_moments(_centered(references), _centered(predictions)))

    def value(self, sums: Values) -> Values:
        """Sums (R, 6) → (R,)."""
        return _correlation(sums)

    def example_values(self, statistics: Statistics) -> Values | None:
        """None: one pair has no correlation."""
        return None


class Spearman(Pearson):
    """Spearman's correlation: Pearson's of the ranks, equal numbers sharing their mean rank."""

    name: ClassVar[str] = "spearman"
    kind: ClassVar[Kind] = "numbers"

    def count(self, references: Sequence[float], predictions: Sequence[float]) -> Statistics:
        """The numbers, (n, 2): ranks are those within a sample."""
        return Statistics(np.stack([np.asarray(side, np.float64) for side in (references, predictions)], axis=1))

    def values(self, statistics: Statistics, draws: NDArray[Any]) -> Values:
        """The correlation of each of R samples, (R,)."""
        first, second = (_ranks(column, draws) for column in statistics.counts.T)
        sums = [np.sum(draws * part, axis=1) for part in _moments(first, second).transpose(2, 0, 1)]
        return _correlation(np.stack(sums, axis=1))


def _centered(numbers: Sequence[float]) -> Values:
    """Around 0, so that squares do not swallow differences; a correlation does not notice."""
    values = np.asarray(numbers, np.float64)
    return values - values.mean()


def _moments(first: Values, second: Values) -> Values:
    """1, x, y, xy, x², y² along a new last axis."""
    return np.stack([np.ones_like(first), first, second, first * second, first**2, second**2], axis=-1)


def _correlation(sums: Values) -> Values:
    total, first, second, product, first_square, second_square = sums.T
    covariance = total * product - first * second
    spreads = (total * first_square - first**2, total * second_square - second**2)
    varies = (spreads[0] > _ROUNDING * total * first_square) & (spreads[1] > _ROUNDING * total * second_square)
    return ratio(covariance, np.sqrt(np.where(varies, spreads[0] * spreads[1], 0.0)))


def _ranks(numbers: Values, draws: NDArray[Any]) -> Values:
    """The mean rank of each number in each sample, (R, n), less the middle rank of the sample."""
    distinct, group = np.unique(numbers, return_inverse=True)
    size = np.zeros((len(draws), len(distinct)))
    for column, index in enumerate(group):
        size[:, index] += draws[:, column]
    below = np.cumsum(size, axis=1) - size
    middle = draws.sum(axis=1, keepdims=True) / 2
    return (below + size / 2 - middle)[:, group]
