"""How well what is named in a text is found: a span counts when both its ends and its type are right."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inkstone.data.examples.records import Span
from inkstone.evaluate.metrics.base import Additive, Kind, Statistics, Values, ratio


class _Entities(Additive):
    """Counts of each type: spans found, spans predicted, spans that are there."""

    def count(self, references: Sequence[Sequence[Span]], predictions: Sequence[Sequence[Span]]) -> Statistics:
        """(n, 3 · types): the found spans of all types, then the predicted ones, then those that are there."""
        labels = tuple(sorted({span.label for side in (references, predictions) for spans in side for span in spans}))
        number = {label: index for index, label in enumerate(labels)}
        counts = np.zeros((len(references), 3, len(labels)))
        for row, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
            present, predicted = set(reference), set(prediction)
            for part, spans in enumerate((present & predicted, predicted, present)):
                for span in spans:
                    counts[row, part, number[span.label]] += 1
        return Statistics(counts.reshape(len(references), -1), labels)

    def measure(self, found: Values, predicted: Values, present: Values) -> Values:
        """Elementwise; NaN where there is nothing to measure."""
        raise NotImplementedError

    def value(self, sums: Values) -> Values:
        """Sums (R, 3 · types) → (R,), over all types (micro); 0 where there is nothing to measure."""
        return np.nan_to_num(self.measure(*(part.sum(axis=1) for part in np.split(sums, 3, axis=1))))

    def label_values(self, statistics: Statistics, draws: NDArray[Any]) -> Values:
        """(R, types)."""
        return self.measure(*np.split(draws @ statistics.counts, 3, axis=1))

    def example_values(self, statistics: Statistics) -> Values | None:
        """(n,); NaN where nothing is there and nothing is predicted."""
        return self.measure(*(part.sum(axis=1) for part in np.split(statistics.counts, 3, axis=1)))


class EntityF1(_Entities):
    """Harmonic mean of precision and recall."""

    name: ClassVar[str] = "entity_f1"
    kind: ClassVar[Kind] = "spans"

    def measure(self, found: Values, predicted: Values, present: Values) -> Values:
        """Elementwise, `2 · found / (predicted + present)`."""
        return ratio(2 * found, predicted + present, otherwise=np.nan)


class EntityPrecision(_Entities):
    """Share of the predicted spans that are right."""

    name: ClassVar[str] = "entity_precision"
    kind: ClassVar[Kind] = "spans"

    def measure(self, found: Values, predicted: Values, present: Values) -> Values:
        """Elementwise, `found / predicted`."""
        return ratio(found, predicted, otherwise=np.nan)


class EntityRecall(_Entities):
    """Share of the spans that are found."""

    name: ClassVar[str] = "entity_recall"
    kind: ClassVar[Kind] = "spans"

    def measure(self, found: Values, predicted: Values, present: Values) -> Values:
        """Elementwise, `found / present`."""
        return ratio(found, present, otherwise=np.nan)
