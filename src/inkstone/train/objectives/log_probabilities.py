"""How likely a model finds sequences that are laid out in rows."""

from torch import Tensor

from inkstone.nn.layers.loss import linear_log_probabilities
from inkstone.nn.models.base import Decoder
from inkstone.train.objectives.base import Batch
from inkstone.train.objectives.targets import owners, target_states


def target_log_probabilities(model: Decoder, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Natural-log probability (M,) of every target of a batch, in the order of its rows; float32.

    Args:
        model: the policy, or a reference.
        batch: of `inkstone.data.layout.lay_out`.
        temperature: logits are divided by it, as sampling does.
    """
    states, labels = target_states(model, batch)
    return linear_log_probabilities(states, model.output_weight, labels, temperature)


def sequence_log_probabilities(model: Decoder, batch: Batch, num_sequences: int) -> Tensor:
    """Natural-log probability (N,) of all targets of each sequence of a batch of `lay_out`; float32."""
    values = target_log_probabilities(model, batch)
    return values.new_zeros(num_sequences).index_add(0, owners(batch), values)
