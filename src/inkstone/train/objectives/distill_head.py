"""Learning what a larger classifier or tagger says of texts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.data.examples.encoded import LabeledSequence, TaggedSequence
from inkstone.nn.heads import HeadConfig, HeadedModel
from inkstone.nn.layers.head_loss import sequence_loss, token_loss
from inkstone.nn.layers.loss import IGNORED
from inkstone.train.config_distill import DistillConfig
from inkstone.train.method import Lesson
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.classify import SequenceClassification
from inkstone.train.objectives.distill_losses import divergence_of
from inkstone.train.objectives.distill_teacher import ask_once, load_teacher
from inkstone.train.objectives.headed import RowLayout, head_logits
from inkstone.train.objectives.tag import TokenClassification


class TaughtText(NamedTuple):
    """A text, with the teacher's logits for it."""

    encoded: LabeledSequence | TaggedSequence
    logits: Tensor
    """(targets, num_labels): one row for the text, or one for each token that has a class."""

    @property
    def length(self) -> int:
        """Tokens."""
        return self.encoded.length

    @property
    def num_targets(self) -> int:
        """One text, or its tokens."""
        return self.encoded.num_targets


class HeadDistillation(Objective[TaughtText]):
    """`(1 - w) T² D(p, q) + w · loss on the labels`, of every text or token.

    p and q are teacher's and student's distributions over the classes at temperature T (Hinton et al. 2015,
    arXiv:1503.02531, section 2); where several classes may apply, those of each class, averaged. Of a number it is
    `(1 - w)` times the squared difference from the teacher's.

    Args:
        config: temperature, divergence and weight.
        head: of student and teacher.
        layout: of the student's rows.
    """

    def __init__(self, config: DistillConfig, head: HeadConfig, layout: RowLayout) -> None:
        self._config, self._head = config, head
        self._hard = _objective_on_labels(head, layout)
        self.loss_unit = self._hard.loss_unit
        self._divergence = divergence_of(config)

    def collate(self, examples: Sequence[TaughtText]) -> Batch:
        """B texts → what the head reads, `labels`, and the teacher's logits of all targets, row by row."""
        batch = self._hard.collate([example.encoded for example in examples])
        batch["teacher_logits"] = torch.cat([example.logits for example in examples])
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Texts, or tokens that have a class."""
        return self._hard.num_targets(batch)

    def loss(self, model: HeadedModel, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed loss; metrics: `divergence`, `hard_loss` and, of classes, how often both say the same."""
        logits, labels, teacher = head_logits(model, batch), batch["labels"], batch["teacher_logits"]
        if self._head.kind == "token":
            logits, labels = logits[labels != IGNORED], labels[labels != IGNORED]
            hard_loss = token_loss(logits.unsqueeze(0), labels.unsqueeze(0), reduction="sum")
        else:
            hard_loss = sequence_loss(logits, labels, self._head.problem, reduction="sum")
        divergence = self._divergences(logits, teacher).sum()
        weight = self._config.hard_weight
        metrics = {"divergence": divergence.detach(), "hard_loss": hard_loss.detach()}
        if not self._is_regression:
            metrics["agreement"] = self._agreements(logits, teacher).sum()
        scale = 1.0 if self._is_regression else self._config.temperature**2
        return (1 - weight) * scale * divergence + weight * hard_loss, metrics

    @property
    def _is_regression(self) -> bool:
        return self._head.kind == "sequence" and self._head.problem == "regression"

    @property
    def _applies_several(self) -> bool:
        return self._head.kind == "sequence" and self._head.problem == "multi_label_classification"

    def _divergences(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Logits (N, num_labels) of both → (N,)."""
        if self._is_regression:
            return (logits - teacher).square().mean(-1)
        temperature = self._config.temperature
        logits, teacher = logits / temperature, teacher / temperature
        if self._applies_several:
            # (N, num_labels) → (N, num_labels, 2): whether a class applies or not
            student_says, teacher_says = (
                torch.stack((F.logsigmoid(each), F.logsigmoid(-each)), dim=-1) for each in (logits, teacher)
            )
            return self._divergence(student_says, teacher_says).mean(-1)
        return self._divergence(logits.log_softmax(-1), teacher.log_softmax(-1))

    def _agreements(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """(N,), whether both say the same of a text or token."""
        if self._applies_several:
            return ((logits > 0) == (teacher > 0)).all(-1)
        return logits.argmax(-1) == teacher.argmax(-1)


def with_teacher_logits(
    lesson: Lesson, encoded: Sequence[LabeledSequence | TaggedSequence], split: str
) -> list[TaughtText]:
    """Texts with the teacher's logits of them."""
    if not encoded:
        return []
    teacher = load_teacher(lesson)
    assert isinstance(teacher, HeadedModel)
    objective = _objective_on_labels(teacher.head_config, RowLayout.of(replace(lesson, model=teacher)))

    def answer(examples: Sequence[Any]) -> list[dict[str, Tensor]]:
        batch = {name: values.to(lesson.settings.device) for name, values in objective.collate(examples).items()}
        logits = head_logits(teacher, batch)
        if teacher.head_config.kind == "token":
            logits = logits[batch["labels"] != IGNORED]
        return [{"logits": each} for each in torch.split(logits, [example.num_targets for example in examples])]

    answers = ask_once(lesson, teacher, encoded, split, "logits", answer)
    return [TaughtText(each, **said) for each, said in zip(encoded, answers, strict=True)]


def _objective_on_labels(head: HeadConfig, layout: RowLayout) -> Objective[Any]:
    return TokenClassification(layout) if head.kind == "token" else SequenceClassification(head.problem, layout)
