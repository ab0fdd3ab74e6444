"""Writing back the spans that were cut out of a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.data.span_corruption import CorruptedText
from inkstone.nn.models.base import EncoderDecoder
from inkstone.train.objectives.base import Batch, Objective


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
        """Summed cross-entropy in nats; the decoder reads the labels, one place later, after its start token."""
        labels = batch["labels"]
        decoder_input_ids = labels.roll(1, dims=1)
        decoder_input_ids[:, 0] = model.decoder_start_token_id
        hidden_states = model.decode(decoder_input_ids, model.encode(batch["input_ids"]))
        # (B, T, C) → (B·T, V)
        return F.cross_entropy(model.logits(hidden_states.flatten(0, 1)), labels.flatten(), reduction="sum"), {}
