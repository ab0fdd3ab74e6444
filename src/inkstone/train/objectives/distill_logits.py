"""Learning the distribution that a larger language model has over the next token."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from inkstone.data.examples.encoded import Encoded
from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.base import Decoder, EncoderDecoder
from inkstone.train.config_distill import DistillConfig
from inkstone.train.method import Lesson
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.distill_losses import bucketed, divergence_of
from inkstone.train.objectives.distill_teacher import ask_once, load_teacher
from inkstone.train.objectives.targets import by_sequence, in_row_order, owners

LanguageModel = Decoder | EncoderDecoder
_CHUNK_LOGITS = 1 << 24
_LOG_PROBABILITIES, _IDS = "teacher_log_probabilities", "teacher_ids"


class Reading(Protocol):
    """How a kind of language model reads what it learns to write."""

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Examples → tensors, `labels` (B, T) among them."""
        ...

    def hidden_states(self, model: Any, batch: Batch) -> Tensor:
        """(B, T, C): what the output layer reads to predict the labels."""
        ...


class Taught(NamedTuple):
    """An example, with what the teacher says of it."""

    encoded: Encoded
    log_probabilities: Tensor | None = None
    """(targets, k + 1) of the teacher's likeliest tokens and of all others together; None: it is asked while
    learning."""
    ids: Tensor | None = None
    """(targets, k), of these tokens."""
    by_student: bool = False
    """Whether the student wrote the answer: nothing but the teacher's judgment of it is learned then."""

    @property
    def length(self) -> int:
        """Tokens."""
        return self.encoded.length

    @property
    def num_targets(self) -> int:
        """Tokens that are learned."""
        return self.encoded.num_targets


class LogitDistillation(Objective[Taught]):
    """`(1 - w) T² D(p, q) + w · cross-entropy`, for every token that is learned.

    p and q are teacher's and student's distributions over the next token at temperature T (Hinton et al. 2015,
    arXiv:1503.02531, section 2), D one of `distill_losses`. Tokens that the student wrote itself count `T² D` alone.

    Args:
        config: temperature, divergence and weight.
        reading: of student and teacher.
        vocab_size: logits that both have; padding of the larger matrix is left out.
        teacher: asked at every step; None where the examples say what it says.
    """

    def __init__(
        self, config: DistillConfig, reading: Reading, vocab_size: int, teacher: LanguageModel | None = None
    ) -> None:
        self._config, self._reading, self._vocab_size, self._teacher = config, reading, vocab_size, teacher
        self._divergence = divergence_of(config)

    def collate(self, examples: Sequence[Taught]) -> Batch:
        """N examples → what `reading` makes of them, `by_student` (N,) and what the teacher says of each target.

        The teacher's rows are in the order of the targets in the batch, row by row.
        """
        batch = self._reading.collate([example.encoded for example in examples])
        batch["by_student"] = torch.tensor([example.by_student for example in examples])
        if examples[0].log_probabilities is not None:
            owner = owners(batch)
            for name, rows in (
                (_LOG_PROBABILITIES, [example.log_probabilities for example in examples]),
                (_IDS, [example.ids for example in examples]),
            ):
                batch[name] = in_row_order(torch.cat([row for row in rows if row is not None]), owner)
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Tokens that are learned."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed loss in nats; metrics: `divergence`, `hard_loss` and how often both find the same token likeliest."""
        targets = batch["labels"] != IGNORED
        states, labels = self._reading.hidden_states(model, batch)[targets], batch["labels"][targets]
        if self._teacher is None:
            said = [batch[_LOG_PROBABILITIES], batch[_IDS]]
        else:
            with torch.no_grad():
                said = [self._reading.hidden_states(self._teacher, batch)[targets]]
        divergences, hard_losses, agreements = self._compare_in_chunks(model, states, labels, *said)
        written = batch["by_student"][owners(batch)]
        hard_weights = torch.where(written, 0.0, self._config.hard_weight)
        scale = self._config.temperature**2
        losses = (1 - hard_weights) * scale * divergences + hard_weights * hard_losses
        return losses.sum(), {
            "divergence": divergences.detach().sum(),
            "hard_loss": hard_losses.detach().sum(),
            "agreement": agreements.detach().sum(),
        }

    def _compare_in_chunks(self, model: LanguageModel, states: Tensor, labels: Tensor, *said: Tensor) -> Tensor:
        """`_compare`, without ever holding all logits: they are made once more in the backward pass."""
        chunk = max(1, _CHUNK_LOGITS // self._vocab_size)
        if len(labels) <= chunk:
            return self._compare(model, states, labels, *said)
        parts = [slice(start, start + chunk) for start in range(0, len(labels), chunk)]
        compared = [
            checkpoint(
                self._compare, model, states[part], labels[part], *(each[part] for each in said), use_reentrant=False
            )
            for part in parts
        ]
        return torch.cat(compared, dim=1)

    def _compare(self, model: LanguageModel, states: Tensor, labels: Tensor, *said: Tensor) -> Tensor:
        """Student's states (N, C) and what the teacher says → divergences, cross-entropies and agreements, (3, N)."""
        logits = model.logits(states)[:, : self._vocab_size]
        student = (logits / self._config.temperature).log_softmax(-1)
        if self._teacher is None:
            teacher, ids = said[0], said[1].long()
            best, student = ids[:, 0], bucketed(student, ids)
        else:
            teacher = tempered(self._teacher, said[0], self._vocab_size, self._config.temperature)
            best = teacher.argmax(-1)
        hard_losses = F.cross_entropy(logits, labels, reduction="none")
        agreements = (logits.argmax(-1) == best).float()
        return torch.stack((self._divergence(student, teacher), hard_losses, agreements))


@torch.no_grad()
def tempered(model: LanguageModel, states: Tensor, vocab_size: int, temperature: float) -> Tensor:
    """Hidden states (N, C) → log-probabilities (N, `vocab_size`) at a temperature."""
    return (model.logits(states)[:, :vocab_size] / temperature).log_softmax(-1)


def with_likeliest_tokens(
    lesson: Lesson, config: DistillConfig, reading: Reading, vocab_size: int, encoded: Sequence[Any], split: str
) -> list[Taught]:
    """Examples with the `top_k` tokens that the teacher finds likeliest at every target."""
    assert config.top_k is not None
    if not encoded:
        return []
    teacher: Any = load_teacher(lesson)
    k = min(config.top_k, vocab_size)

    def answer(examples: Sequence[Any]) -> list[dict[str, Tensor]]:
        collated = reading.collate(examples)
        batch = {name: values.to(lesson.settings.device) for name, values in collated.items()}
        states = reading.hidden_states(teacher, batch)[batch["labels"] != IGNORED]
        chunks = [
            _likeliest(tempered(teacher, part, vocab_size, config.temperature), k)
            for part in torch.split(states, max(1, _CHUNK_LOGITS // vocab_size))
        ]
        owner = owners(collated)
        likeliest = (by_sequence(torch.cat(each).cpu(), owner, len(examples)) for each in zip(*chunks, strict=True))
        return [{"log_probabilities": mine, "ids": named} for mine, named in zip(*likeliest, strict=True)]

    said = f"top {k} of {vocab_size} at {config.temperature}"
    answers = ask_once(lesson, teacher, encoded, split, said, answer)
    return [Taught(each, its["log_probabilities"], its["ids"]) for each, its in zip(encoded, answers, strict=True)]


def _likeliest(log_probabilities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    ids = log_probabilities.topk(k, dim=-1).indices
    return bucketed(log_probabilities, ids), ids.int()
