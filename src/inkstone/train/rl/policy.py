"""What the policy, its reference and its critic say of completions."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.layout import lay_out
from inkstone.nn.layers.loss import IGNORED, linear_log_probabilities
from inkstone.nn.models.base import Decoder
from inkstone.train.loop import LoopSettings
from inkstone.train.objectives import Batch
from inkstone.train.precision import autocast
from inkstone.train.rl.advantages import Floats
from inkstone.train.rl.experience import by_sequence, owners


class Layout(NamedTuple):
    """How sequences become rows; it changes nothing but memory and speed."""

    packed: bool = True
    padding_side: Literal["right", "left"] = "right"


def target_states(model: Decoder, batch: Batch) -> tuple[Tensor, Tensor]:
    """The hidden states (M, C) before every target of a batch, in the order of the flattened rows, and targets (M,)."""
    hidden_states = model.hidden_states(
        batch["input_ids"], position_ids=batch.get("position_ids"), segment_ids=batch.get("segment_ids")
    )
    labels = batch["labels"].flatten()
    learned = labels != IGNORED
    # (B, T, C) → (B·T, C) → (M, C)
    return hidden_states.flatten(0, 1)[learned], labels[learned]


def target_log_probabilities(model: Decoder, batch: Batch, temperature: float) -> Tensor:
    """Log-probability (M,) of every target, in nats, the logits divided by `temperature`."""
    states, labels = target_states(model, batch)
    return linear_log_probabilities(states, model.output_weight, labels, temperature)


class _Numbered(NamedTuple):
    number: int
    sequence: TokenSequence

    @property
    def length(self) -> int:
        return self.sequence.length


@torch.no_grad()
def of_sequences(
    compute: Callable[[Batch], Tensor], sequences: Sequence[TokenSequence], settings: LoopSettings, layout: Layout
) -> list[Floats]:
    """A value for every target of each sequence, computed in micro-batches.

    Args:
        compute: batch → values (M,), as `target_log_probabilities`.
        sequences: to compute.
        settings: the loop's.
        layout: of the rows.
    """
    results: dict[int, Floats] = {}
    for part in settings.split([_Numbered(*each) for each in enumerate(sequences)]):
        batch = lay_out([each.sequence for each in part], **layout._asdict())
        owner = owners(batch)
        with autocast(settings.device, settings.dtype):
            values = compute({name: value.to(settings.device) for name, value in batch.items()})
        for each, array in zip(part, by_sequence(values.float(), owner), strict=True):
            results[each.number] = array
    return [results[number] for number in range(len(sequences))]
