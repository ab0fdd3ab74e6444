"""The same for everything: the most frequent class or answer, the mean number."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from statistics import fmean
from typing import ClassVar, TypeVar

from inkstone.core.errors import located
from inkstone.data.examples.classes import number
from inkstone.data.examples.records import LabeledText, Problem
from inkstone.evaluate.metrics.base import Kind
from inkstone.train.rl.numbers import answer_of

H = TypeVar("H", bound=Hashable)


class MajorityClass:
    """The most frequent class, or set of classes."""

    name: ClassVar[str] = "majority"
    kind: ClassVar[Kind] = "classes"
    title: ClassVar[str] = "most frequent class"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[LabeledText], test: Sequence[LabeledText]) -> Sequence[str | tuple[str, ...]]:
        """It, for each text."""
        return [most_frequent(classes_of(example) for example in train)] * len(test)


class MeanNumber:
    """The mean."""

    name: ClassVar[str] = "mean"
    kind: ClassVar[Kind] = "numbers"
    title: ClassVar[str] = "mean of the training examples"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[LabeledText], test: Sequence[LabeledText]) -> Sequence[float]:
        """It, for each text."""
        return [fmean(number_of(example) for example in train)] * len(test)


class MajorityAnswer:
    """The most frequent answer, without the reasoning before it."""

    name: ClassVar[str] = "majority_answer"
    kind: ClassVar[Kind] = "attempts"
    title: ClassVar[str] = "most frequent answer"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[Problem], test: Sequence[Problem]) -> Sequence[str]:
        """It, for each problem."""
        answers = [answer_of(example.answer).strip() for example in train if example.answer is not None]
        return [most_frequent(answers) if answers else ""] * len(test)


def classes_of(example: LabeledText) -> str | tuple[str, ...]:
    """The class of a text, or all that apply."""
    return example.label if isinstance(example.label, tuple) else str(example.label)


def number_of(example: LabeledText) -> float:
    """The number of a text; whole numbers in a file are read as classes.

    Raises:
        InputError: its label is none.
    """
    with located(example.where):
        return number(example.label)


def most_frequent(values: Iterable[H]) -> H:
    """The value that occurs most often; of several, the one that sorts first."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], str(value)))
