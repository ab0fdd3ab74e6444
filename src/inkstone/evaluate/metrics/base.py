"""What a metric is: counts of every example, and one number made of the counts of any sample of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inkstone.core.registry import lookup

Values = NDArray[np.float64]
Kind = Literal["classes", "numbers", "spans", "answers", "texts", "likelihoods", "margins", "attempts"]
"""What predictions are: labels, numbers, `Span`s, answers in a context, texts, `Likelihood`s, `Margin`s, `Attempts`."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a metric counted in n examples."""

    counts: Values
    """(n, k)."""
    labels: tuple[str, ...] = ()
    """Classes or types that the columns are about, for a metric that has a number for each."""


class Metric(Protocol):
    """A number that says how good predictions are. A plug-in of the entry point group `inkstone.metrics`.

    Each passes `tests/evaluate/metrics/test_contract.py`.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    """Of the predictions that it reads."""
    higher_is_better: ClassVar[bool]
    best: ClassVar[float]
    """Of perfect predictions."""

    def count(self, references: Sequence[Any], predictions: Sequence[Any]) -> Statistics:
        """What there is to know of each example; `references[i]` and `predictions[i]` belong together.

        Raises:
            ConfigError: a package that the metric needs is not installed.
        """
        ...

    def values(self, statistics: Statistics, draws: NDArray[Any]) -> Values:
        """The metric of each of R samples, (R,).

        Args:
            statistics: of n examples.
            draws: (R, n), how often each example is in each sample; a row of ones is all of them.
        """
        ...

    def example_values(self, statistics: Statistics) -> Values | None:
        """The metric of each example alone, (n,); None where it means nothing for one example."""
        ...

    def signature(self, references: Sequence[Any]) -> str | None:
        """What a reader must know to compute the same number elsewhere, where that is not in the name."""
        ...


@runtime_checkable
class LabeledMetric(Metric, Protocol):
    """A metric that has a value for each class or type, too."""

    def label_values(self, statistics: Statistics, draws: NDArray[Any]) -> Values:
        """(R, number of labels), in the order of `statistics.labels`; NaN where a sample has none of a label."""
        ...


class Additive:
    """A metric made of the sums of its counts over a sample."""

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float] = 1.0

    def value(self, sums: Values) -> Values:
        """Sums (R, k) → (R,)."""
        raise NotImplementedError

    def values(self, statistics: Statistics, draws: NDArray[Any]) -> Values:
        """The metric of each of R samples, (R,)."""
        return self.value(draws @ statistics.counts)

    def example_values(self, statistics: Statistics) -> Values | None:
        """The metric of each example alone, (n,)."""
        return self.value(statistics.counts)

    def signature(self, references: Sequence[Any]) -> str | None:
        """Nothing to add."""
        return None


class Mean(Additive):
    """The mean of a score of each example."""

    def score(self, reference: Any, prediction: Any) -> float:
        """Of one example."""
        raise NotImplementedError

    def count(self, references: Sequence[Any], predictions: Sequence[Any]) -> Statistics:
        """The score and 1, (n, 2)."""
        scores = [self.score(*pair) for pair in zip(references, predictions, strict=True)]
        return Statistics(np.stack([np.array(scores, np.float64), np.ones(len(scores))], axis=1))

    def value(self, sums: Values) -> Values:
        """Sums (R, 2) → (R,)."""
        return ratio(sums[:, 0], sums[:, 1])


def ratio(numerators: Values, denominators: Values, *, otherwise: float = 0.0) -> Values:
    """Elementwise quotient, `otherwise` where the denominator is 0."""
    return np.divide(numerators, denominators, out=np.full(np.shape(numerators), otherwise), where=denominators != 0)


def metric_named(name: str) -> Metric:
    """The metric registered as `name`.

    Raises:
        ConfigError: there is none.
    """
    metric: Metric = lookup("metrics", name)()
    return metric
