"""Finding the tokens that were hidden in a text."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.data.layout import fill
from inkstone.data.masking import MaskedSequence
from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.masked_lm import MaskedLM
from inkstone.train.objectives.base import Batch, Objective


class MaskedLanguageModeling(Objective[MaskedSequence]):
    """Minus the log-likelihood of each hidden token (Devlin et al. 2018, arXiv:1810.04805, section 3.1).

    There is no next-sentence prediction: Liu et al. 2019 (arXiv:1907.11692), section 4.2, found none better.

    Args:
        pad_id: fills shorter rows; nothing sees it.
        padding_side: where.
        first_position: of the model's family.
    """

    def __init__(
        self, pad_id: int = 0, *, padding_side: Literal["right", "left"] = "right", first_position: int = 0
    ) -> None:
        self._pad_id, self._padding_side, self._first_position = pad_id, padding_side, first_position

    def collate(self, examples: Sequence[MaskedSequence]) -> Batch:
        """B sequences → `input_ids` (B, T), `positions` and `labels`, each (B, M).

        Where lengths differ there is an `attention_mask`, too, and with padding on the left `position_ids`.
        """
        side, longest = self._padding_side, max(example.length for example in examples)
        shifts = [longest - example.length if side == "left" else 0 for example in examples]
        batch = {
            "input_ids": fill([example.input_ids for example in examples], self._pad_id, side),
            "positions": fill(
                [each.positions + shift for each, shift in zip(examples, shifts, strict=True)], 0, "right"
            ),
            "labels": fill([example.labels for example in examples], IGNORED, "right"),
        }
        if any(example.length < longest for example in examples):
            mask = fill([np.ones_like(example.input_ids) for example in examples], 0, side)
            batch["attention_mask"] = mask
            if side == "left":
                batch["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0) + self._first_position
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Hidden tokens."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: MaskedLM, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats; logits are computed at hidden tokens only."""
        hidden_states = model.hidden_states(
            batch["input_ids"], attention_mask=batch.get("attention_mask"), position_ids=batch.get("position_ids")
        )
        rows = torch.arange(hidden_states.shape[0], device=hidden_states.device).unsqueeze(1)
        # (B, T, C) → (B, M, C) → (B·M, V)
        logits = model.logits(hidden_states[rows, batch["positions"]]).flatten(0, 1).float()
        return F.cross_entropy(logits, batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum"), {}
