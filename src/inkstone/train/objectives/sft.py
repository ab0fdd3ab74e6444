"""Supervised fine-tuning: what the assistant says, or how a text goes on."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Chat, Completion, Example
from inkstone.data.layout import lay_out
from inkstone.nn.layers.loss import IGNORED, linear_cross_entropy, smoothed_cross_entropy
from inkstone.nn.models.base import Decoder
from inkstone.tokenizer.taught import encode_completion, encode_taught_chat
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.targets import row_states, target_states


class SupervisedFineTuning(Objective[TokenSequence]):
    """Minus the log-likelihood of the tokens that are learned, given all before them.

    Args:
        packed: put several sequences into a row.
        padding_side: where shorter rows are filled.
        label_smoothing: share of its probability that each label gives to all tokens alike.
    """

    def __init__(
        self,
        *,
        packed: bool = True,
        padding_side: Literal["right", "left"] = "right",
        label_smoothing: float = 0.0,
    ) -> None:
        self._packed, self._padding_side, self._label_smoothing = packed, padding_side, label_smoothing

    def collate(self, examples: Sequence[TokenSequence]) -> Batch:
        """N sequences → rows: see `lay_out`."""
        return lay_out(examples, packed=self._packed, padding_side=self._padding_side)

    def num_targets(self, batch: Batch) -> int:
        """Tokens that are learned."""
        return int((batch["labels"] != IGNORED).sum())

    def hidden_states(self, model: Decoder, batch: Batch) -> Tensor:
        """(B, T, C)."""
        return row_states(model, batch)

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats."""
        states, labels = target_states(model, batch)
        if self._label_smoothing:
            vocab_size, smoothing = model.config.vocab_size, self._label_smoothing
            return smoothed_cross_entropy(model.logits, states, labels, vocab_size, smoothing), {}
        return linear_cross_entropy(states, model.output_weight, labels), {}


def cut_sequence(sequence: TokenSequence, length: int) -> TokenSequence:
    """The first `length` tokens."""
    labels = sequence.labels[:length].copy()
    labels[-1] = IGNORED
    return TokenSequence(sequence.input_ids[:length], labels)


def _encoder(lesson: Lesson) -> Encode[TokenSequence]:
    def encode(example: Example) -> list[TokenSequence]:
        with located(example.where):
            if isinstance(example, Completion):
                taught = [encode_completion(lesson.tokenizer, example.prompt, example.completion)]
            else:
                assert isinstance(example, Chat)
                taught = encode_taught_chat(lesson.tokenizer, example.messages, tools=example.tools)
            sequences = [TokenSequence.of(*each) for each in taught]
            if not any(sequence.num_targets for sequence in sequences):
                raise InputError("nothing of it is learned", remedy="add an answer, or leave it out")
            return sequences

    return encode


def _objective(lesson: Lesson, _: Sequence[TokenSequence]) -> SupervisedFineTuning:
    return SupervisedFineTuning(packed=lesson.config.packing, padding_side=lesson.config.padding_side)


CHAT: Method[TokenSequence] = Method("chat", "finetune", ("chat", "completion"), _encoder, _objective, cut=cut_sequence)
