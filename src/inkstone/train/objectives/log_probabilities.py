"""How likely a model finds sequences that are laid out in rows."""

import torch
from torch import Tensor

from inkstone.nn.layers.loss import IGNORED, linear_log_probabilities
from inkstone.nn.models.base import Decoder
from inkstone.train.objectives.base import Batch


def token_log_probabilities(model: Decoder, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Natural-log probability of every label, 0 where it is ignored: (B, T), float32.

    Args:
        model: the policy, or a reference.
        batch: of `inkstone.data.layout.lay_out`.
        temperature: logits are divided by it, as sampling does.
    """
    hidden_states = model.hidden_states(
        batch["input_ids"], position_ids=batch.get("position_ids"), segment_ids=batch.get("segment_ids")
    )
    # Only states with a label are multiplied with the output layer: (B, T, C) → (N, C) → (N,) → (B, T)
    labels = batch["labels"]
    asked = labels != IGNORED
    values = hidden_states.new_zeros(labels.shape, dtype=torch.float32)
    values[asked] = linear_log_probabilities(hidden_states[asked], model.output_weight, labels[asked], temperature)
    return values


def sum_by_sequence(values: Tensor, sequence_ids: Tensor, num_sequences: int) -> Tensor:
    """Values (B, T) of tokens → sums (N,) over the sequences; padding counts for nothing."""
    # One slot more, at the end, takes what belongs to no sequence (id -1).
    sums = values.new_zeros(num_sequences + 1)
    return sums.index_add(0, sequence_ids.flatten() % (num_sequences + 1), values.flatten())[:-1]
