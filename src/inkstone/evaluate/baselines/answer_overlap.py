"""Answers without reading: the place of the context that looks most like the question."""

from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

from inkstone.data.examples.records import Question
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.words import sentences, token_offsets, words


class FirstSentence:
    """The first sentence of the context."""

    name: ClassVar[str] = "first_sentence"
    kind: ClassVar[Kind] = "answers"
    title: ClassVar[str] = "first sentence of the context"
    needs_training: ClassVar[bool] = False

    def predict(self, train: Sequence[Question], test: Sequence[Question]) -> Sequence[str]:
        """It, for each question."""
        return [sentences(example.context)[0].strip() if example.context else "" for example in test]


class SimilarSentence:
    """The sentence that has most words of the question."""

    name: ClassVar[str] = "similar_sentence"
    kind: ClassVar[Kind] = "answers"
    title: ClassVar[str] = "sentence most like the question"
    needs_training: ClassVar[bool] = False

    def predict(self, train: Sequence[Question], test: Sequence[Question]) -> Sequence[str]:
        """The first such sentence of each context."""
        return [_most_like(example.question, example.context).strip() for example in test]


class SimilarWindow:
    """As many words as answers have on average, where those around them are most like the question.

    The words of the question itself are no answer (after the sliding window of Richardson et al. 2013, "MCTest").
    """

    name: ClassVar[str] = "similar_window"
    kind: ClassVar[Kind] = "answers"
    title: ClassVar[str] = "words of an answer's usual length, where it is most like the question"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[Question], test: Sequence[Question]) -> Sequence[str]:
        """The first such window of each context."""
        lengths = [len(token_offsets(example.answers[0].text)) for example in train if example.answers]
        length = max(1, round(fmean(lengths))) if lengths else 1
        return [_window(example, length) for example in test]


def _most_like(question: str, context: str) -> str:
    asked = set(words(question))
    return max(sentences(context), key=lambda sentence: len(asked & set(words(sentence))), default="")


def _window(example: Question, length: int) -> str:
    context, offsets = example.context, token_offsets(example.context)
    asked = set(words(example.question))
    is_asked = [context[start:end].lower() in asked for start, end in offsets]
    reach = len(asked)

    def likeness(first: int) -> int:
        around = sum(is_asked[max(0, first - reach) : first + length + reach])
        return around - 2 * sum(is_asked[first : first + length])

    starts = range(max(1, len(offsets) - length + 1))
    first = max(starts, key=likeness) if offsets else 0
    last = min(first + length, len(offsets)) - 1
    return context[offsets[first][0] : offsets[last][1]] if offsets else ""
