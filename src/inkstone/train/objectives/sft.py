"""Supervised fine-tuning: what the assistant says, or how a text goes on."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.layout import lay_out
from inkstone.nn.layers.loss import IGNORED, linear_cross_entropy
from inkstone.nn.models.base import Decoder
from inkstone.train.objectives.base import Batch, Objective


class SupervisedFineTuning(Objective[TokenSequence]):
    """Minus the log-likelihood of the tokens that are learned, given all before them.

    Args:
        packed: put several sequences into a row.
        padding_side: where shorter rows are filled.
    """

    def __init__(self, *, packed: bool = True, padding_side: Literal["right", "left"] = "right") -> None:
        self._packed, self._padding_side = packed, padding_side

    def collate(self, examples: Sequence[TokenSequence]) -> Batch:
        """N sequences → rows: see `lay_out`."""
        return lay_out(examples, packed=self._packed, padding_side=self._padding_side)

    def num_targets(self, batch: Batch) -> int:
        """Tokens that are learned."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats."""
        hidden_states = model.hidden_states(
            batch["input_ids"], position_ids=batch.get("position_ids"), segment_ids=batch.get("segment_ids")
        )
        # Only states with a label are multiplied with the output layer: (B, T, C) → (N, C)
        labels = batch["labels"].flatten()
        learned = labels != IGNORED
        return linear_cross_entropy(hidden_states.flatten(0, 1)[learned], model.output_weight, labels[learned]), {}
