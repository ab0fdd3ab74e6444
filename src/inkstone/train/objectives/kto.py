"""Learning from answers that were judged one by one: KTO."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inkstone.core.errors import InputError
from inkstone.data.examples.encoded import JudgedSequence, TokenSequence
from inkstone.data.examples.records import Example, Judged, Preference
from inkstone.data.layout import lay_out
from inkstone.nn.models.base import Decoder
from inkstone.train.config_align import AlignConfig
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.answers import cut_prompt, encode_answer, num_prompt_tokens
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.log_probabilities import sequence_log_probabilities
from inkstone.train.objectives.preference_config import PreferenceConfig
from inkstone.train.objectives.preference_losses import kto_losses
from inkstone.train.objectives.reference import reference_log_probabilities
from inkstone.train.objectives.settings import settings_of

_MISMATCHED = "mismatched_"


class ReferencedJudgment(NamedTuple):
    """A judged answer, the same prompt with an answer to another one, and how likely the reference finds both."""

    judged: JudgedSequence
    mismatched: TokenSequence
    reference: float
    """Natural-log probability of the answer."""
    mismatched_reference: float
    """Of the other prompt's answer."""

    @property
    def length(self) -> int:
        """Tokens with a gradient."""
        return self.judged.length

    @property
    def num_targets(self) -> int:
        """One judgment."""
        return self.judged.num_targets


class KahnemanTversky(Objective[ReferencedJudgment]):
    """KTO (Ethayarajh et al. 2024, arXiv:2402.01306, eqs. 7 and 8): `λ (1 - σ(±β (r - z)))`.

    r is the log-ratio of policy and reference, z the reference point: the mean log-ratio of answers to other prompts,
    at least 0, which estimates how far the policy is from the reference. The paper takes the mean over a batch; here
    it is over all examples of a step, whatever the micro-batches (`prepare_step`), and over the validation split.

    Args:
        config: of the loss.
        packed: put several sequences into a row.
        padding_side: where shorter rows are filled.
    """

    loss_unit = "per judged answer"

    def __init__(
        self, config: PreferenceConfig, *, packed: bool = True, padding_side: Literal["right", "left"] = "right"
    ) -> None:
        self._config, self._packed, self._padding_side = config, packed, padding_side

    def collate(self, examples: Sequence[ReferencedJudgment]) -> Batch:
        """N judgments → rows of `lay_out`, those of the mismatched sequences under names that begin with `mismatched_`.

        `desirable`, `reference` and `mismatched_reference` are (N,).
        """
        rows = self._lay_out([example.judged.sequence for example in examples])
        mismatched = self._lay_out([example.mismatched for example in examples])
        return {
            **rows,
            **{_MISMATCHED + name: values for name, values in mismatched.items()},
            "desirable": torch.tensor([example.judged.desirable for example in examples]),
            "reference": torch.tensor([example.reference for example in examples]),
            "mismatched_reference": torch.tensor([example.mismatched_reference for example in examples]),
        }

    def _lay_out(self, sequences: Sequence[TokenSequence]) -> Batch:
        return lay_out(sequences, packed=self._packed, padding_side=self._padding_side)

    def num_targets(self, batch: Batch) -> int:
        """Judgments."""
        return len(batch["desirable"])

    @torch.no_grad()
    def prepare_step(self, model: Decoder, batches: Sequence[Batch]) -> None:
        """Give every micro-batch the step's reference point, `kl`."""
        log_ratios = []
        for batch in batches:
            mismatched = {
                name.removeprefix(_MISMATCHED): values.to(model.device)
                for name, values in batch.items()
                if name.startswith(_MISMATCHED)
            }
            log_ratios.append(_log_ratios(model, mismatched))
        kl = torch.cat(log_ratios).mean().clamp(min=0)
        for batch in batches:
            batch["kl"] = kl

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Loss summed over the judgments; `prepare_step` comes first."""
        config, desirable, kl = self._config, batch["desirable"], batch["kl"]
        log_ratios = _log_ratios(model, batch)
        weights = torch.where(desirable, config.desirable_weight, config.undesirable_weight)
        losses = weights * kto_losses(log_ratios, desirable, kl, config.beta)
        gains = config.beta * (log_ratios.detach() - kl)
        margins = torch.where(desirable, gains, -gains)
        return losses.sum(), {
            "kl": kl * len(desirable),
            "reward_margin": margins.sum(),
            "accuracy": (margins > 0).sum(),
        }


def _log_ratios(model: Decoder, batch: Batch) -> Tensor:
    """(N,): log-probability of each answer less that of the reference."""
    reference = batch["reference"]
    return sequence_log_probabilities(model, batch, len(reference)) - reference


def _encoder(lesson: Lesson) -> Encode[JudgedSequence]:
    def encode(example: Example) -> Sequence[JudgedSequence]:
        if isinstance(example, Preference):
            answers = [(example.chosen, True), (example.rejected, False)]
        else:
            assert isinstance(example, Judged)
            answers = [(example.completion, example.desirable)]
        return [
            JudgedSequence(encode_answer(lesson, example.prompt, answer, example.where), desirable)
            for answer, desirable in answers
        ]

    return encode


def _cut(judged: JudgedSequence, max_length: int) -> JudgedSequence:
    return JudgedSequence(cut_prompt(judged.sequence, judged.length - max_length), judged.desirable)


def _with_reference(lesson: Lesson, judged: Sequence[JudgedSequence], split: str) -> list[ReferencedJudgment]:
    sequences = [each.sequence for each in judged]
    mismatched = mismatch(sequences, lesson.max_length)
    values = reference_log_probabilities(lesson, [*sequences, *mismatched], split)
    return [
        ReferencedJudgment(*each)
        for each in zip(judged, mismatched, values[: len(judged)], values[len(judged) :], strict=True)
    ]


def mismatch(sequences: Sequence[TokenSequence], max_length: int) -> list[TokenSequence]:
    """Each prompt with the answer of the next sequence that has another prompt, the first following on the last.

    Raises:
        InputError: all prompts are the same.
    """
    starts = [num_prompt_tokens(sequence) for sequence in sequences]
    prompts = [sequence.input_ids[:start].tobytes() for sequence, start in zip(sequences, starts, strict=True)]
    others = _next_other(prompts)
    return [
        _answered(sequences[number], starts[number], sequences[other], starts[other], max_length)
        for number, other in enumerate(others)
    ]


def _next_other(prompts: Sequence[bytes]) -> list[int]:
    """For each prompt, the index of the next one that differs, counted round."""
    count = len(prompts)
    if count and len(set(prompts)) == 1:
        raise InputError(
            "kto compares answers to different prompts, and here all prompts are the same",
            where="data",
            remedy="give examples with at least two prompts in each split",
        )
    others = [0] * count
    for number in reversed(range(2 * count)):
        here, after = number % count, (number + 1) % count
        others[here] = others[after] if prompts[after] == prompts[here] else after
    return others


def _answered(
    asked: TokenSequence, asked_start: int, answered: TokenSequence, answered_start: int, max_length: int
) -> TokenSequence:
    """The prompt of one sequence and the answer of another; the prompt is cut from the left where both are too long."""
    joined = TokenSequence(
        np.concatenate((asked.input_ids[:asked_start], answered.input_ids[answered_start:])),
        np.concatenate((asked.labels[: asked_start - 1], answered.labels[answered_start - 1 :])),
    )
    return cut_prompt(joined, max(0, joined.length - max_length))


def _objective(lesson: Lesson, _: Sequence[ReferencedJudgment]) -> KahnemanTversky:
    config = settings_of(lesson, AlignConfig)
    return KahnemanTversky(config.preference, packed=config.packing, padding_side=config.padding_side)


KTO = Method[Any]("kto", "align", ("judged", "preferences"), _encoder, _objective, cut=_cut, complete=_with_reference)
