"""What an assistant says, or how a text goes on, as a model predicts it."""

from collections.abc import Sequence
from typing import Any, ClassVar

from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Chat, Completion
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject, warn_of_cut
from inkstone.evaluate.benchmark_tasks.likelihoods import likelihoods
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.metrics.likelihood import Likelihood
from inkstone.nn.models.base import Decoder, Model
from inkstone.tokenizer.taught import encode_completion, encode_taught_chat
from inkstone.train.objectives.sft import cut_sequence


class Converse(BenchmarkTask[Chat | Completion]):
    """The probability of the assistant's tokens, those that end its turns included."""

    name: ClassVar[str] = "chat"
    kind: ClassVar[Kind] = "likelihoods"
    formats: ClassVar[tuple[str, ...]] = ("chat", "completion")

    def takes(self, model: Model) -> bool:
        """Whatever continues text."""
        return isinstance(model, Decoder)

    def predict(self, subject: Subject, examples: Sequence[Chat | Completion]) -> list[Likelihood]:
        """The likelihood of what is learned of each example in fine-tuning."""
        assert isinstance(subject.model, Decoder)
        sequences, owners = [], []
        for number, example in enumerate(examples):
            for sequence in _encode(subject, example):
                _check_length(sequence, subject, example.where)
                sequences.append(sequence)
                owners.append(number)
        context = subject.context
        warn_of_cut(sum(each.length > context for each in sequences), len(sequences), context)
        results = [Likelihood(0.0, 0)] * len(examples)
        cut = [cut_sequence(each, context) if each.length > context else each for each in sequences]
        for number, each in zip(owners, likelihoods(subject.model, cut), strict=True):
            results[number] = Likelihood(results[number].nats + each.nats, results[number].num_tokens + each.num_tokens)
        return results

    def metrics(self, examples: Sequence[Chat | Completion]) -> tuple[str, ...]:
        """For a token."""
        return ("loss", "perplexity")

    def reference(self, example: Chat | Completion) -> None:
        """The example is its own reference."""

    def shown_input(self, example: Chat | Completion) -> Any:
        """All of it."""
        return list(example.messages) if isinstance(example, Chat) else [example.prompt, example.completion]

    def shown_prediction(self, prediction: Likelihood) -> dict[str, Any]:
        """Nats and tokens."""
        return prediction._asdict()


def _encode(subject: Subject, example: Chat | Completion) -> list[TokenSequence]:
    with located(example.where):
        if isinstance(example, Completion):
            taught = [encode_completion(subject.tokenizer, example.prompt, example.completion)]
        else:
            taught = encode_taught_chat(subject.tokenizer, example.messages, tools=example.tools)
        return [TokenSequence.of(*each) for each in taught]


def _check_length(sequence: TokenSequence, subject: Subject, where: str) -> None:
    if sequence.length > subject.context and not subject.config.truncate:
        raise InputError(
            f"{sequence.length:,} tokens, and the model reads {subject.context:,}",
            where=where,
            remedy="shorten it, or set truncate to measure the beginnings of such examples",
        )
