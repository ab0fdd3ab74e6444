"""Writing back the spans that were cut out of a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkstone.data.span_corruption import CorruptedText
from inkstone.nn.models.base import EncoderDecoder
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.source_target import target_loss


class Denoising(Objective[CorruptedText]):
    """Minus the log-likelihood of each token that the decoder is to write (Raffel et al. 2019, arXiv:1910.10683)."""

    def collate(self, examples: Sequence[CorruptedText]) -> Batch:
        """B texts corrupted alike → `input_ids` (B, S) and `labels` (B, T)."""
        return {
            name: torch.from_numpy(np.stack([getattr(example, name) for example in examples]))
            for name in CorruptedText._fields
        }

    def num_targets(self, batch: Batch) -> int:
        """All that the decoder writes, sentinels too."""
        return batch["labels"].numel()

    def loss(self, model: EncoderDecoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats."""
        return target_loss(model, batch), {}
