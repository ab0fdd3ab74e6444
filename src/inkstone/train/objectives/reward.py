"""How good an answer is: one number, learned from which of two was preferred."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inkstone.data.examples.encoded import SequencePair
from inkstone.data.examples.records import Example
from inkstone.nn.heads import HeadConfig, HeadedModel
from inkstone.nn.layers.head_loss import preference_loss
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import Lesson, Method
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.headed import RowLayout, give_head, head_logits
from inkstone.train.objectives.preference import DPO
from inkstone.train.objectives.settings import settings_of


class RewardModeling(Objective[SequencePair]):
    """`-log σ(chosen - rejected)` of every pair of rewards, those of whole sequences (`preference_loss`).

    Args:
        layout: of the rows.
        centering: how strongly rewards are held around 0.
    """

    loss_unit = "nats per pair"

    def __init__(self, layout: RowLayout, centering: float = 0.0) -> None:
        self._layout, self._centering = layout, centering

    def collate(self, examples: Sequence[SequencePair]) -> Batch:
        """N pairs → 2 N rows, the preferred sequences before all rejected ones."""
        sequences = [*(pair.chosen for pair in examples), *(pair.rejected for pair in examples)]
        return self._layout.batch([sequence.input_ids for sequence in sequences])

    def num_targets(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch["input_ids"]) // 2

    def loss(self, model: HeadedModel, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed loss, `accuracy` (the preferred one has the higher reward) and `margin` between both."""
        chosen, rejected = head_logits(model, batch).view(2, -1)
        loss = preference_loss(chosen, rejected, centering=self._centering, reduction="sum")
        with torch.no_grad():
            margins = chosen - rejected
            return loss, {"accuracy": (margins > 0).sum(), "margin": margins.sum()}


def _judge(lesson: Lesson, _: Sequence[Example]) -> HeadedModel:
    return give_head(lesson, HeadConfig(kind="sequence", labels=("reward",)))


def _objective(lesson: Lesson, _: Sequence[SequencePair]) -> RewardModeling:
    return RewardModeling(RowLayout.of(lesson), settings_of(lesson, FinetuneConfig).head.reward_centering)


REWARD: Method[SequencePair] = Method(
    "reward",
    "finetune",
    ("preferences",),
    DPO.encoder,
    _objective,
    packs=False,
    longest=DPO.longest,
    cut=DPO.cut,
    prepare=_judge,
)
