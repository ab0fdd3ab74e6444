"""Learning which of two answers is better: DPO, IPO and ORPO."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from inkstone.data.examples.encoded import SequencePair
from inkstone.data.examples.records import Example, Preference
from inkstone.data.layout import lay_out
from inkstone.nn.models.base import Decoder
from inkstone.train.config_align import AlignConfig
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.answers import cut_prompt, encode_answer
from inkstone.train.objectives.base import NEVER_DIVERGES, Batch, Objective
from inkstone.train.objectives.log_probabilities import sequence_log_probabilities
from inkstone.train.objectives.preference_config import PreferenceConfig
from inkstone.train.objectives.preference_losses import dpo_losses, ipo_losses, odds_ratio_losses
from inkstone.train.objectives.reference import reference_log_probabilities
from inkstone.train.objectives.settings import settings_of


class ReferencedPair(NamedTuple):
    """A pair, and how likely the reference finds its answers."""

    pair: SequencePair
    reference: tuple[float, float]
    """Natural-log probabilities of the preferred and of the rejected answer."""

    @property
    def length(self) -> int:
        """Tokens of both."""
        return self.pair.length

    @property
    def num_targets(self) -> int:
        """One pair."""
        return self.pair.num_targets


class _Pairwise:
    """What the objectives have in common.

    Args:
        config: of the loss.
        packed: put several sequences into a row.
        padding_side: where shorter rows are filled.
    """

    def __init__(
        self, config: PreferenceConfig, *, packed: bool = True, padding_side: Literal["right", "left"] = "right"
    ) -> None:
        self._config, self._packed, self._padding_side = config, packed, padding_side

    def _lay_out(self, pairs: Sequence[SequencePair]) -> Batch:
        """Rows of `lay_out`; sequence 2n is the preferred one of pair n, 2n + 1 the rejected one."""
        sequences = [sequence for pair in pairs for sequence in pair]
        batch = lay_out(sequences, packed=self._packed, padding_side=self._padding_side)
        batch["num_answer_tokens"] = torch.tensor([[each.num_targets for each in pair] for pair in pairs])
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch["num_answer_tokens"])

    def _log_probabilities(self, model: Decoder, batch: Batch) -> Tensor:
        """(N, 2): of the preferred and of the rejected answer of each pair, stop tokens included."""
        num_pairs = self.num_targets(batch)
        return sequence_log_probabilities(model, batch, 2 * num_pairs).view(num_pairs, 2)


class DirectPreference(_Pairwise, Objective[ReferencedPair]):
    """DPO (Rafailov et al. 2023, arXiv:2305.18290): `-log σ(β m)`.

    m is the margin: the log-ratio of policy and reference of the preferred answer, minus that of the rejected one.
    With `sft_weight` w, `-w log π(chosen) / |chosen|` is added (Pang et al. 2024, arXiv:2404.19733, eq. 1).
    """

    loss_unit = "nats per pair"
    normalizes_length: ClassVar[bool] = False

    def collate(self, examples: Sequence[ReferencedPair]) -> Batch:
        """N pairs → rows of `lay_out`, and `num_answer_tokens` and `reference`, each (N, 2)."""
        return self._lay_out([example.pair for example in examples]) | {
            "reference": torch.tensor([example.reference for example in examples])
        }

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Loss summed over the pairs."""
        log_probabilities, num_tokens = self._log_probabilities(model, batch), batch["num_answer_tokens"]
        log_ratios = log_probabilities - batch["reference"]
        normalizes = self._config.length_normalized
        scores = (
            log_ratios / num_tokens if normalizes or (normalizes is None and self.normalizes_length) else log_ratios
        )
        losses = self.losses(scores[:, 0] - scores[:, 1])
        if self._config.sft_weight:
            losses = losses - self._config.sft_weight * log_probabilities[:, 0] / num_tokens[:, 0]
        return losses.sum(), _rewards(self._config.beta * log_ratios)

    def losses(self, margins: Tensor) -> Tensor:
        """(N,) → (N,)."""
        return dpo_losses(margins, self._config.beta, self._config.label_smoothing)


class IdentityPreference(DirectPreference):
    """IPO (Azar et al. 2023, arXiv:2310.12036): `(m - 1 / (2 β))²`, see `DirectPreference`.

    Log-ratios are divided by the number of tokens, as TRL does by the advice of the paper's authors.
    """

    allowed_rise: ClassVar[float] = NEVER_DIVERGES
    loss_unit = "squared distance of the margin"
    normalizes_length: ClassVar[bool] = True

    def losses(self, margins: Tensor) -> Tensor:
        """(N,) → (N,)."""
        return ipo_losses(margins, self._config.beta)


class OddsRatioPreference(_Pairwise, Objective[SequencePair]):
    """ORPO (Hong et al. 2024, arXiv:2403.07691, eq. 6): fine-tuning and a penalty on rejected answers, no reference.

    `-log π(chosen) / |chosen|`, plus β times the loss of the odds ratio; both of answers alone.
    """

    loss_unit = "nats per pair"

    def collate(self, examples: Sequence[SequencePair]) -> Batch:
        """N pairs → rows of `lay_out`, and `num_answer_tokens` (N, 2)."""
        return self._lay_out(examples)

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Loss summed over the pairs."""
        means = self._log_probabilities(model, batch) / batch["num_answer_tokens"]
        odds_losses = odds_ratio_losses(means[:, 0], means[:, 1])
        losses = self._config.beta * odds_losses - means[:, 0]
        metrics = {"sft_loss": -means[:, 0].detach().sum(), "odds_ratio_loss": odds_losses.detach().sum()}
        return losses.sum(), _rewards(self._config.beta * means) | metrics


def _rewards(rewards: Tensor) -> dict[str, Tensor]:
    """Metrics of the implicit rewards (N, 2) of preferred and rejected answers."""
    chosen, rejected = rewards.detach().unbind(1)
    return {
        "reward_chosen": chosen.sum(),
        "reward_rejected": rejected.sum(),
        "reward_margin": (chosen - rejected).sum(),
        "accuracy": (chosen > rejected).sum(),
    }


def _encoder(lesson: Lesson) -> Encode[SequencePair]:
    def encode(example: Example) -> Sequence[SequencePair]:
        assert isinstance(example, Preference)
        answers = (example.chosen, example.rejected)
        return [SequencePair(*(encode_answer(lesson, example.prompt, answer, example.where) for answer in answers))]

    return encode


def _longest(pair: SequencePair) -> int:
    return max(pair.chosen.length, pair.rejected.length)


def _cut(pair: SequencePair, max_length: int) -> SequencePair:
    """Both lose the same tokens, at the beginning of their prompt."""
    surplus = _longest(pair) - max_length
    return SequencePair(*(cut_prompt(sequence, surplus) for sequence in pair))


def _with_reference(lesson: Lesson, pairs: Sequence[SequencePair], split: str) -> list[ReferencedPair]:
    values = reference_log_probabilities(lesson, [sequence for pair in pairs for sequence in pair], split)
    return [
        ReferencedPair(pair, reference)
        for pair, reference in zip(pairs, zip(values[::2], values[1::2], strict=True), strict=True)
    ]


def _method(name: str, objective: type[DirectPreference] | type[OddsRatioPreference]) -> Method[Any]:
    def build(lesson: Lesson, _: Sequence[Any]) -> Objective[Any]:
        config = settings_of(lesson, AlignConfig)
        return objective(config.preference, packed=config.packing, padding_side=config.padding_side)

    return Method[Any](
        name,
        "align",
        ("preferences",),
        _encoder,
        build,
        longest=_longest,
        cut=_cut,
        complete=_with_reference if issubclass(objective, DirectPreference) else lambda _lesson, pairs, _split: pairs,
    )


DPO = _method("dpo", DirectPreference)
IPO = _method("ipo", IdentityPreference)
ORPO = _method("orpo", OddsRatioPreference)
