"""Finding the tokens that were hidden in a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.data.masking import MaskedSequence
from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.masked_lm import MaskedLM
from inkstone.train.objectives.base import Batch, Objective


class MaskedLanguageModeling(Objective[MaskedSequence]):
    """Minus the log-likelihood of each hidden token (Devlin et al. 2018, arXiv:1810.04805, section 3.1).

    There is no next-sentence prediction: Liu et al. 2019 (arXiv:1907.11692), section 4.2, found none better.
    """

    def collate(self, examples: Sequence[MaskedSequence]) -> Batch:
        """B sequences → `input_ids` (B, T), `positions` and `labels`, each (B, M)."""
        return {
            name: torch.from_numpy(np.stack([getattr(example, name) for example in examples]))
            for name in MaskedSequence._fields
        }

    def num_targets(self, batch: Batch) -> int:
        """Hidden tokens."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: MaskedLM, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats; logits are computed at hidden tokens only."""
        hidden_states = model.hidden_states(batch["input_ids"])
        rows = torch.arange(hidden_states.shape[0], device=hidden_states.device).unsqueeze(1)
        # (B, T, C) → (B, M, C) → (B·M, V)
        logits = model.logits(hidden_states[rows, batch["positions"]]).flatten(0, 1).float()
        return F.cross_entropy(logits, batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum"), {}
