"""Writing back the spans that were cut out of a text."""

from collections.abc import Sequence

import numpy as np
import torch

from inkstone.data.span_corruption import CorruptedText
from inkstone.train.objectives.base import Batch
from inkstone.train.objectives.source_target import SequenceToSequence


class Denoising(SequenceToSequence):
    """Minus the log-likelihood of each token that the decoder is to write (Raffel et al. 2019, arXiv:1910.10683)."""

    def collate(self, examples: Sequence[CorruptedText]) -> Batch:  # type: ignore[override]  (without padding)
        """B texts corrupted alike → `input_ids` (B, S) and `labels` (B, T)."""
        return {
            name: torch.from_numpy(np.stack([getattr(example, name) for example in examples]))
            for name in CorruptedText._fields
        }
