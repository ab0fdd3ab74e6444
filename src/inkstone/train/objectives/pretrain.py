"""Next-token prediction on packed sequences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkstone.data.packing import PackedSequence
from inkstone.nn.layers.loss import IGNORED, linear_cross_entropy
from inkstone.nn.models.base import Decoder
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.targets import row_states


class Pretrain(Objective[PackedSequence]):
    """Causal language modeling: minus the log-likelihood of each next token of the same document."""

    def collate(self, examples: Sequence[PackedSequence]) -> Batch:
        """B packed sequences → `input_ids` and `labels`, each (B, T).

        Where any of them holds more than one segment there are `position_ids` and `segment_ids` too; without, plain
        causal attention says the same and is faster.
        """
        packed = any(example.segment_ids[-1] > 0 for example in examples)
        names = PackedSequence._fields if packed else ("input_ids", "labels")
        return {name: torch.from_numpy(np.stack([getattr(example, name) for example in examples])) for name in names}

    def num_targets(self, batch: Batch) -> int:
        """Labels that are not ignored."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats."""
        # (B, T, C) → (B·T, C)
        states = row_states(model, batch).flatten(0, 1)
        return linear_cross_entropy(states, model.output_weight, batch["labels"].flatten()), {}
