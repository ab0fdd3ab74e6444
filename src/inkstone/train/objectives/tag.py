"""What is named in a text: a class for every token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkstone.core.config import suggestion
from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import TaggedSequence
from inkstone.data.examples.offsets import without_spaces
from inkstone.data.examples.records import Example, LabeledSpans
from inkstone.data.examples.tags import Tags, bio_labels
from inkstone.data.layout import fill
from inkstone.nn.heads import HeadConfig, HeadedModel
from inkstone.nn.layers.head_loss import token_loss
from inkstone.nn.layers.loss import IGNORED
from inkstone.tokenizer.encoding import kept_tokens
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.headed import RowLayout, give_head, head_logits
from inkstone.train.objectives.settings import settings_of


class TokenClassification(Objective[TaggedSequence]):
    """Cross-entropy of every token's class.

    Args:
        layout: of the rows.
        label_smoothing: share of the probability that goes to all classes alike.
    """

    def __init__(self, layout: RowLayout, label_smoothing: float = 0.0) -> None:
        self._layout, self._label_smoothing = layout, label_smoothing

    def collate(self, examples: Sequence[TaggedSequence]) -> Batch:
        """B texts → `input_ids`, `labels` and what belongs to them, (B, T)."""
        batch = self._layout.batch([example.input_ids for example in examples])
        batch["labels"] = fill([example.labels for example in examples], IGNORED, self._layout.padding_side)
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Tokens of texts."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: HeadedModel, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed loss, and `accuracy` of tokens: each by itself, and those outside of spans too."""
        logits, labels = head_logits(model, batch), batch["labels"]
        loss = token_loss(logits, labels, reduction="sum", label_smoothing=self._label_smoothing)
        with torch.no_grad():
            return loss, {"accuracy": (logits.argmax(-1) == labels).sum()}


def _tagger(lesson: Lesson, examples: Sequence[Example]) -> HeadedModel:
    names = {span.label for example in examples if isinstance(example, LabeledSpans) for span in example.spans}
    if not names:
        raise InputError("no span is labeled", where="data", remedy="give training examples with spans")
    return give_head(lesson, HeadConfig(kind="token", labels=bio_labels(names)))


def _encoder(lesson: Lesson) -> Encode[TaggedSequence]:
    assert isinstance(lesson.model, HeadedModel)
    tags = Tags(lesson.model.head_config.labels)

    def encode(example: Example) -> list[TaggedSequence]:
        assert isinstance(example, LabeledSpans)
        with located(example.where):
            unknown = next((span.label for span in example.spans if span.label not in tags.begin_of), None)
            if unknown is not None:
                raise InputError(
                    f"spans called {unknown!r} are not among those of the training examples",
                    remedy=suggestion(unknown, tags.names),
                )
            encoding = lesson.tokenizer.encode_with_offsets(example.text)
            of_text = [index for index, text in enumerate(encoding.sequence_ids) if text == 0]
            if not of_text:
                raise InputError("the text has no tokens", remedy="leave out empty texts")
            offsets = without_spaces(example.text, [encoding.offsets[index] for index in of_text])
            labels = np.full(len(encoding), IGNORED, dtype=np.int64)
            labels[of_text], num_inexact = tags.encode(offsets, example.spans)
            return [TaggedSequence(np.asarray(encoding.ids, dtype=np.int64), labels, num_inexact)]

    return encode


def _cut(text: TaggedSequence, length: int) -> TaggedSequence:
    """The beginning of the text; what the tokenizer added stays."""
    kept = kept_tokens([None if label == IGNORED else 0 for label in text.labels.tolist()], length)
    return text._replace(input_ids=text.input_ids[kept], labels=text.labels[kept])


def _objective(lesson: Lesson, _: Sequence[TaggedSequence]) -> TokenClassification:
    return TokenClassification(RowLayout.of(lesson), settings_of(lesson, FinetuneConfig).label_smoothing)


TOKENS: Method[TaggedSequence] = Method(
    "tokens", "finetune", ("spans",), _encoder, _objective, packs=False, cut=_cut, prepare=_tagger
)
