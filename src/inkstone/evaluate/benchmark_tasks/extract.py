"""What is named in texts."""

from collections.abc import Sequence
from typing import Any, ClassVar

from inkstone.data.examples.records import LabeledSpans, Span
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject
from inkstone.evaluate.metrics.base import Kind
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Model


class Extract(BenchmarkTask[LabeledSpans]):
    """Spans of a text with their types."""

    name: ClassVar[str] = "extract"
    kind: ClassVar[Kind] = "spans"
    formats: ClassVar[tuple[str, ...]] = ("spans",)
    baselines: ClassVar[tuple[str, ...]] = ("dictionary", "linear_tagger")

    def takes(self, model: Model) -> bool:
        """With a token head."""
        return isinstance(model, HeadedModel) and model.head_config.kind == "token"

    def predict(self, subject: Subject, examples: Sequence[LabeledSpans]) -> list[tuple[Span, ...]]:
        """The spans of each text."""
        from inkstone.tasks.extract import extract

        texts = [example.text for example in examples]
        found = extract(subject.model, subject.tokenizer, texts, truncate=subject.config.truncate)
        return [tuple(Span(each.start, each.end, each.label) for each in spans) for spans in found]

    def metrics(self, examples: Sequence[LabeledSpans]) -> tuple[str, ...]:
        """Of all spans together; the report has them by type, too."""
        return ("entity_f1", "entity_precision", "entity_recall")

    def reference(self, example: LabeledSpans) -> tuple[Span, ...]:
        """Its spans."""
        return example.spans

    def shown_input(self, example: LabeledSpans) -> str:
        """The text."""
        return example.text

    def shown_prediction(self, prediction: Sequence[Span]) -> list[dict[str, Any]]:
        """As a file of examples has them."""
        return [span._asdict() for span in prediction]

    def shown_reference(self, example: LabeledSpans) -> list[dict[str, Any]]:
        """Likewise."""
        return self.shown_prediction(example.spans)
