"""How many problems with a checkable answer are solved."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from inkstone.evaluate.metrics.base import Kind, Mean


class Attempts(NamedTuple):
    """Rewards of what a model answered to one problem."""

    greedy: float
    """Of the likeliest answer."""
    sampled: Sequence[float] = ()
    """Of answers drawn at a temperature."""
    text: str = ""
    """The likeliest answer."""


SOLVED = 1.0
"""A reward from which on a problem counts as solved."""


class SolvedGreedily(Mean):
    """Share of problems whose likeliest answer is right."""

    name: ClassVar[str] = "solved"
    kind: ClassVar[Kind] = "attempts"

    def score(self, reference: Any, prediction: Attempts) -> float:
        """1 or 0."""
        return float(prediction.greedy >= SOLVED)


class SolvedOnAverage(Mean):
    """Share of drawn answers that are right: pass@1."""

    name: ClassVar[str] = "solved_mean"
    kind: ClassVar[Kind] = "attempts"

    def score(self, reference: Any, prediction: Attempts) -> float:
        """Over the draws; of the likeliest answer where nothing was drawn."""
        rewards = prediction.sampled or (prediction.greedy,)
        return float(np.mean([reward >= SOLVED for reward in rewards]))


class SolvedOnce(Mean):
    """Share of problems of which some drawn answer is right: pass@k, k being the number of draws."""

    name: ClassVar[str] = "pass_at_k"
    kind: ClassVar[Kind] = "attempts"

    def score(self, reference: Any, prediction: Attempts) -> float:
        """1 or 0."""
        return float(max(prediction.sampled or (prediction.greedy,)) >= SOLVED)

    def signature(self, references: Sequence[Any]) -> str | None:
        """What k is."""
        return "k is the number of draws"
