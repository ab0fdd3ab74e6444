"""What a task is, as the stage `benchmark` sees it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from inkstone.data.examples.records import Example
from inkstone.evaluate.benchmark_config import BenchmarkConfig
from inkstone.evaluate.metrics.base import Kind
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer

X = TypeVar("X", bound=Example)


def warn_of_cut(num_cut: int, num_all: int, length: int) -> None:
    """Say how many examples do not count whole; the stage keeps it in its report."""
    if num_cut:
        warnings.warn(f"{num_cut:,} of {num_all:,} sequences were cut to {length:,} tokens", stacklevel=3)


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    model: Model
    tokenizer: Tokenizer
    config: BenchmarkConfig

    @property
    def context(self) -> int:
        """Longest sequence that the model reads, in tokens."""
        return self.model.context


class BenchmarkTask(Generic[X]):
    """A job of a model, with what is wanted of it."""

    name: ClassVar[str]
    kind: ClassVar[Kind]
    """Of the predictions: says which metrics and baselines fit."""
    formats: ClassVar[tuple[str, ...]]
    """Formats of the examples."""
    baselines: ClassVar[tuple[str, ...]] = ()
    decoding: ClassVar[tuple[str, ...]] = ()
    """Settings that decide how answers are written."""

    def takes(self, model: Model) -> bool:
        """Whether the model is made for it."""
        raise NotImplementedError

    def predict(self, subject: Subject, examples: Sequence[X]) -> list[Any]:
        """What the model makes of each example: what the metrics read.

        Raises:
            InputError: an example is too long, and `truncate` is not set.
        """
        raise NotImplementedError

    def metrics(self, examples: Sequence[X]) -> tuple[str, ...]:
        """Metrics for such examples, the main one first."""
        raise NotImplementedError

    def reference(self, example: X) -> Any:
        """What the metrics compare with."""
        raise NotImplementedError

    def shown_input(self, example: X) -> Any:
        """What the model was given, as JSON."""
        raise NotImplementedError

    def shown_reference(self, example: X) -> Any:
        """What was wanted, as JSON."""
        return self.reference(example)

    def shown_prediction(self, prediction: Any) -> Any:
        """What the model made of it, as JSON."""
        return prediction

    def of_baseline(self, config: BenchmarkConfig, examples: Sequence[X], predictions: Sequence[Any]) -> Sequence[Any]:
        """What the metrics read, made of what a baseline predicts."""
        return predictions

    def beside(self, predictions: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
        """The predictions, knowing those of the model to compare with."""
        return predictions

    def metrics_of_comparison(self) -> tuple[str, ...]:
        """Metrics that only mean something beside another model."""
        return ()

    def details(self, references: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """More for the report that has no interval."""
        return {}
