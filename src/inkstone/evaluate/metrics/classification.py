"""How well classes are told apart: texts with one class each, or with any number of classes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inkstone.evaluate.metrics.base import Additive, Kind, Mean, Statistics, Values, ratio

Classes = str | Sequence[str]
"""The class of a text, or all classes that apply to it."""


class Accuracy(Mean):
    """Share of texts whose class, or whose whole set of classes, is right."""

    name: ClassVar[str] = "accuracy"
    kind: ClassVar[Kind] = "classes"

    def score(self, reference: Classes, prediction: Classes) -> float:
        """1 or 0."""
        return float(as_set(reference) == as_set(prediction))


class _ByClass(Additive):
    """Counts of each class: hits, texts predicted to be of it, texts that are of it."""

    def count(self, references: Sequence[Classes], predictions: Sequence[Classes]) -> Statistics:
        """(n, 3 · classes): the hits of all classes, then what was predicted, then what is."""
        truth, guess = [*map(as_set, references)], [*map(as_set, predictions)]
        labels = tuple(sorted({label for each in (*truth, *guess) for label in each}))
        present, predicted = (
            np.array([[label in each for label in labels] for each in side], dtype=np.float64).reshape(len(side), -1)
            for side in (truth, guess)
        )
        return Statistics(np.concatenate([present * predicted, predicted, present], axis=1), labels)

    def example_values(self, statistics: Statistics) -> Values | None:
        """None: one text says nothing about a class."""
        return None


class MacroF1(_ByClass):
    """Mean over classes of F1; a class that is neither predicted nor there does not count (as in scikit-learn)."""

    name: ClassVar[str] = "macro_f1"
    kind: ClassVar[Kind] = "classes"

    def value(self, sums: Values) -> Values:
        """Sums (R, 3 · classes) → (R,)."""
        by_class = _f1(sums)
        counted = ~np.isnan(by_class)
        return ratio(np.where(counted, by_class, 0.0).sum(axis=1), counted.sum(axis=1))

    def label_values(self, statistics: Statistics, draws: NDArray[Any]) -> Values:
        """F1 of each class, (R, classes)."""
        return _f1(draws @ statistics.counts)


class MicroF1(_ByClass):
    """F1 of all decisions together; with one class for each text it is the accuracy."""

    name: ClassVar[str] = "micro_f1"
    kind: ClassVar[Kind] = "classes"

    def value(self, sums: Values) -> Values:
        """Sums (R, 3 · classes) → (R,)."""
        hits, predicted, present = _thirds(sums)
        return ratio(2 * hits.sum(axis=1), predicted.sum(axis=1) + present.sum(axis=1))


class MatthewsCorrelation(_ByClass):
    """Matthews' correlation coefficient for several classes: R_K of Gorodkin 2004.

    doi:10.1016/j.compbiolchem.2004.09.006. Between −1 and 1; 0 for a guess that does not look at the text, however
    uneven the classes are.
    """

    name: ClassVar[str] = "mcc"
    kind: ClassVar[Kind] = "classes"

    def value(self, sums: Values) -> Values:
        """Sums (R, 3 · classes) → (R,); 0 where all texts are, or are said to be, of one class."""
        hits, predicted, present = _thirds(sums)
        total = present.sum(axis=1)
        covariance = hits.sum(axis=1) * total - (predicted * present).sum(axis=1)
        spread = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (present**2).sum(axis=1))
        return ratio(covariance, np.sqrt(np.maximum(spread, 0.0)))


def confusion(references: Sequence[str], predictions: Sequence[str]) -> dict[str, Any]:
    """How often each class (row) is said to be each class (column)."""
    labels = sorted({*references, *predictions})
    number = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for reference, prediction in zip(references, predictions, strict=True):
        counts[number[reference], number[prediction]] += 1
    return {"labels": labels, "counts": counts.tolist()}


def as_set(classes: Classes) -> frozenset[str]:
    """One class or several, as a set."""
    return frozenset({classes} if isinstance(classes, str) else classes)


def _thirds(sums: Values) -> tuple[Values, Values, Values]:
    hits, predicted, present = np.split(sums, 3, axis=1)
    return hits, predicted, present


def _f1(sums: Values) -> Values:
    """Sums (R, 3 · labels) → (R, labels), NaN where a label is neither predicted nor there."""
    hits, predicted, present = _thirds(sums)
    return ratio(2 * hits, predicted + present, otherwise=np.nan)
