"""Answers that are a part of a text: where they begin and where they end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import SpanSequence
from inkstone.data.examples.offsets import extent
from inkstone.data.examples.records import Example, Question
from inkstone.data.examples.windows import QuestionInContext, Window
from inkstone.nn.heads import HeadConfig, HeadedModel
from inkstone.nn.layers.head_loss import span_loss
from inkstone.tokenizer.pairs import with_separated_pairs
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.headed import RowLayout, give_head, head_logits
from inkstone.train.objectives.settings import settings_of


class SpanExtraction(Objective[SpanSequence]):
    """Half the sum of the cross-entropies of an answer's first and last token; padding takes no part."""

    loss_unit = "nats per window"

    def __init__(self, layout: RowLayout) -> None:
        self._layout = layout

    def collate(self, examples: Sequence[SpanSequence]) -> Batch:
        """B windows → `input_ids` and what belongs to them, (B, T), `starts` and `ends`, (B,)."""
        rows = [example.input_ids for example in examples]
        batch = self._layout.batch(rows, [example.token_type_ids for example in examples])
        columns = self._layout.columns(rows, batch["input_ids"].shape[1])
        batch["starts"] = columns + torch.tensor([example.start for example in examples])
        batch["ends"] = columns + torch.tensor([example.end for example in examples])
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Windows."""
        return len(batch["starts"])

    def loss(self, model: HeadedModel, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed loss, and `accuracy`: windows where first and last token are both the likeliest."""
        logits, mask = head_logits(model, batch), batch["attention_mask"]
        starts, ends = batch["starts"], batch["ends"]
        loss = span_loss(logits, starts, ends, mask, reduction="sum")
        with torch.no_grad():
            likeliest = logits.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).argmax(1)  # (B, 2)
            right = (likeliest == torch.stack((starts, ends), -1)).all(-1)
            return loss, {"accuracy": right.sum()}


def _finder(lesson: Lesson, _: Sequence[Example]) -> HeadedModel:
    lesson.tokenizer = with_separated_pairs(lesson.tokenizer)
    return give_head(lesson, HeadConfig(kind="span"))


def _encoder(lesson: Lesson) -> Encode[SpanSequence]:
    config = settings_of(lesson, FinetuneConfig)

    def encode(example: Example) -> list[SpanSequence]:
        assert isinstance(example, Question)
        with located(example.where):
            question = QuestionInContext(
                lesson.tokenizer, example.question, example.context, lesson.max_length, truncate=config.truncate
            )
            return _sequences(question, example, config.head.doc_stride, truncate=config.truncate)

    return encode


def _sequences(question: QuestionInContext, example: Question, overlap: int, *, truncate: bool) -> list[SpanSequence]:
    """The windows of a question with its first answer; those that do not hold all of it have no answer.

    Windows without an answer point to their first token (Devlin et al. 2019, arXiv:1810.04805, section 4.3). Where no
    window holds the answer, which may lie across the border of two, one more does. An answer longer than a window is
    cut with `truncate`, and an error without.
    """
    windows = question.windows(overlap)
    if not example.answers:
        return [_sequence(question, window, None) for window in windows]
    text, start = example.answers[0]
    answer = question.tokens_of(start, start + len(text))
    surplus = answer[1] - answer[0] + 1 - question.room
    if surplus > 0 and not truncate:
        raise InputError(
            f"the answer has {surplus + question.room:,} tokens, and a window holds {question.room:,} of the context",
            remedy="raise max_length, leave the example out, or set truncate to cut such answers",
        )
    if surplus > 0:
        answer = (answer[0], answer[1] - surplus)
    sequences = [_sequence(question, window, answer) for window in windows]
    if not any(sequence.start for sequence in sequences):
        around = answer[0] - (question.room - (answer[1] - answer[0] + 1)) // 2
        sequences.append(_sequence(question, question.window(max(0, around)), answer))
    exact = extent(question.offsets[answer[0] : answer[1] + 1]) == (start, start + len(text))
    return [
        sequence._replace(
            is_inexact=sequence.start > 0 and not exact,
            num_cut=sequence.num_cut + max(0, surplus) * (sequence.start > 0),
        )
        for sequence in sequences
    ]


def _sequence(question: QuestionInContext, window: Window, answer: tuple[int, int] | None) -> SpanSequence:
    place = None if answer is None else window.place(*answer)
    start, end = place or (0, 0)
    input_ids, token_type_ids = (np.asarray(ids, dtype=np.int64) for ids in (window.input_ids, window.token_type_ids))
    return SpanSequence(input_ids, token_type_ids, start, end, num_cut=question.num_cut)


def _objective(lesson: Lesson, _: Sequence[SpanSequence]) -> SpanExtraction:
    return SpanExtraction(RowLayout.of(lesson))


SPAN: Method[SpanSequence] = Method(
    "span", "finetune", ("questions",), _encoder, _objective, packs=False, prepare=_finder
)
