"""The longer or the shorter of two answers."""

from collections.abc import Sequence
from typing import ClassVar

from inkstone.data.examples.records import Preference, Turn
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.metrics.preference import Margin


class Longer:
    """Prefers the answer with more characters."""

    name: ClassVar[str] = "longer"
    kind: ClassVar[Kind] = "margins"
    title: ClassVar[str] = "the longer answer"
    needs_training: ClassVar[bool] = False
    sign: ClassVar[int] = 1

    def predict(self, train: Sequence[Preference], test: Sequence[Preference]) -> Sequence[Margin]:
        """The difference of their lengths, whichever way it is to be measured."""
        margins = [float(self.sign * (_length(each.chosen) - _length(each.rejected))) for each in test]
        return [Margin(margin, margin, margin) for margin in margins]


class Shorter(Longer):
    """Prefers the answer with fewer characters."""

    name: ClassVar[str] = "shorter"
    kind: ClassVar[Kind] = "margins"
    title: ClassVar[str] = "the shorter answer"
    sign: ClassVar[int] = -1


def _length(answer: Sequence[Turn] | str) -> int:
    if isinstance(answer, str):
        return len(answer)
    return sum(len(str(turn.get("content") or "")) for turn in answer)
