"""How well a model predicts what an assistant says, or any text."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from inkstone.evaluate.likelihood import perplexity_of
from inkstone.evaluate.metrics.base import Additive, Kind, Statistics, Values, ratio


class Likelihood(NamedTuple):
    """What a model thinks of the tokens of one example that it should have written."""

    nats: float
    """Negative natural-log probability, summed."""
    num_tokens: int


class Loss(Additive):
    """Mean negative log-probability of a token, in nats."""

    name: ClassVar[str] = "loss"
    kind: ClassVar[Kind] = "likelihoods"
    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float] = 0.0

    def count(self, references: Sequence[Any], predictions: Sequence[Likelihood]) -> Statistics:
        """Nats and tokens, (n, 2)."""
        return Statistics(np.array([[each.nats, each.num_tokens] for each in predictions], np.float64))

    def value(self, sums: Values) -> Values:
        """Sums (R, 2) → (R,)."""
        return ratio(sums[:, 0], sums[:, 1], otherwise=math.nan)


class Perplexity(Loss):
    """e to the loss."""

    name: ClassVar[str] = "perplexity"
    kind: ClassVar[Kind] = "likelihoods"
    best: ClassVar[float] = 1.0

    def value(self, sums: Values) -> Values:
        """Sums (R, 2) → (R,)."""
        return perplexity_of(super().value(sums))
