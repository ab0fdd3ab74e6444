"""Answers found in texts."""

from collections.abc import Sequence
from typing import Any, ClassVar

from inkstone.data.examples.records import Question
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject
from inkstone.evaluate.metrics.base import Kind
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Model


class AnswerQuestions(BenchmarkTask[Question]):
    """The part of a context that answers a question."""

    name: ClassVar[str] = "answer"
    kind: ClassVar[Kind] = "answers"
    formats: ClassVar[tuple[str, ...]] = ("questions",)
    baselines: ClassVar[tuple[str, ...]] = ("first_sentence", "similar_sentence", "similar_window")

    def takes(self, model: Model) -> bool:
        """With a span head."""
        return isinstance(model, HeadedModel) and model.head_config.kind == "span"

    def predict(self, subject: Subject, examples: Sequence[Question]) -> list[str]:
        """The answer to each question; none may be given where some examples have none."""
        from inkstone.tasks.answer import answer_all

        found = answer_all(
            subject.model,
            subject.tokenizer,
            [example.question for example in examples],
            [example.context for example in examples],
            null_threshold=0.0 if any(not example.answers for example in examples) else None,
            truncate=subject.config.truncate,
        )
        return [each.text for each in found]

    def metrics(self, examples: Sequence[Question]) -> tuple[str, ...]:
        """SQuAD's, or CMRC's for Chinese."""
        return ("answer_f1", "answer_em")

    def reference(self, example: Question) -> tuple[str, ...]:
        """All answers that count."""
        return tuple(answer.text for answer in example.answers)

    def shown_input(self, example: Question) -> Any:
        """Question and context."""
        return {"question": example.question, "context": example.context}
