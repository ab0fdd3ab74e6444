"""Classes and numbers of texts."""

from collections.abc import Sequence
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.records import LabeledText
from inkstone.evaluate.baselines.majority import classes_of, number_of
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.metrics.classification import confusion
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Model


class _Label(BenchmarkTask[LabeledText]):
    formats: ClassVar[tuple[str, ...]] = ("labels",)

    def predict(self, subject: Subject, examples: Sequence[LabeledText]) -> list[Any]:
        """The label of each text."""
        from inkstone.tasks.classify import classify

        paired = {example.pair is not None for example in examples}
        if len(paired) > 1:
            raise InputError("some texts have a pair and some have none", where="data")
        found = classify(
            subject.model,
            subject.tokenizer,
            [example.text for example in examples],
            [example.pair or "" for example in examples] if paired == {True} else None,
            truncate=subject.config.truncate,
        )
        return [each.label for each in found]

    def shown_input(self, example: LabeledText) -> Any:
        """The text, or both."""
        return example.text if example.pair is None else [example.text, example.pair]


class Classify(_Label):
    """The class of a text, or all that apply."""

    name: ClassVar[str] = "classify"
    kind: ClassVar[Kind] = "classes"
    baselines: ClassVar[tuple[str, ...]] = ("majority", "tfidf")

    def takes(self, model: Model) -> bool:
        """With a sequence head of classes."""
        return (
            isinstance(model, HeadedModel)
            and model.head_config.kind == "sequence"
            and model.head_config.problem != "regression"
        )

    def metrics(self, examples: Sequence[LabeledText]) -> tuple[str, ...]:
        """Of one class each, or of several."""
        if any(isinstance(example.label, tuple) for example in examples):
            return ("micro_f1", "macro_f1", "accuracy")
        return ("accuracy", "macro_f1", "mcc")

    def reference(self, example: LabeledText) -> str | tuple[str, ...]:
        """Its class, or all of them."""
        return classes_of(example)

    def details(self, references: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The confusion matrix, where each text has one class."""
        if any(isinstance(label, tuple) for label in (*references, *predictions)):
            return {}
        return {"confusion": confusion(references, predictions)}


class Regress(_Label):
    """The number of a text."""

    name: ClassVar[str] = "regress"
    kind: ClassVar[Kind] = "numbers"
    baselines: ClassVar[tuple[str, ...]] = ("mean",)

    def takes(self, model: Model) -> bool:
        """With a sequence head of one number."""
        return (
            isinstance(model, HeadedModel)
            and model.head_config.kind == "sequence"
            and model.head_config.problem == "regression"
        )

    def metrics(self, examples: Sequence[LabeledText]) -> tuple[str, ...]:
        """Correlations and distance."""
        return ("spearman", "pearson", "mae")

    def reference(self, example: LabeledText) -> float:
        """Its number."""
        return number_of(example)
