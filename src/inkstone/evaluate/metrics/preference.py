"""How often the better one of two answers is preferred."""

from typing import Any, ClassVar, NamedTuple

from inkstone.evaluate.metrics.base import Kind, Mean


class Margin(NamedTuple):
    """By how much the chosen answer is preferred to the rejected one; below 0 where it is not."""

    total: float
    """Difference of log-probabilities, of rewards or of whatever the judge goes by."""
    per_token: float
    """The same of means over tokens, so that length does not count."""
    over_reference: float | None = None
    """How far `total` is above the reference model's: DPO's implicit reward, without beta."""


class _Preferred(Mean):
    def margin(self, judgment: Margin) -> float:
        """What the judge goes by."""
        raise NotImplementedError

    def score(self, reference: Any, prediction: Margin) -> float:
        """1 for the chosen one, 0 for the rejected one, ½ for neither."""
        margin = self.margin(prediction)
        return 0.5 if margin == 0 else float(margin > 0)


class PreferenceAccuracy(_Preferred):
    """Share of pairs in which the chosen answer is likelier, or has the higher reward."""

    name: ClassVar[str] = "preference_accuracy"
    kind: ClassVar[Kind] = "margins"

    def margin(self, judgment: Margin) -> float:
        """In total."""
        return judgment.total


class NormalizedPreferenceAccuracy(_Preferred):
    """The same by the mean over tokens."""

    name: ClassVar[str] = "preference_accuracy_per_token"
    kind: ClassVar[Kind] = "margins"

    def margin(self, judgment: Margin) -> float:
        """For a token."""
        return judgment.per_token


class ImplicitRewardAccuracy(_Preferred):
    """Share of pairs in which the chosen answer gained more probability over the reference model than the rejected one.

    Rafailov et al. 2023, arXiv:2305.18290: the accuracy of DPO's implicit reward.
    """

    name: ClassVar[str] = "implicit_reward_accuracy"
    kind: ClassVar[Kind] = "margins"

    def margin(self, judgment: Margin) -> float:
        """Over the reference; 0 where there is none."""
        return judgment.over_reference or 0.0
