"""What the policy, its reference and its critic say of completions."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.layout import lay_out
from inkstone.train.loop import LoopSettings
from inkstone.train.method import Lesson
from inkstone.train.micro_batches import numbered
from inkstone.train.objectives import Batch
from inkstone.train.objectives.targets import by_sequence, owners
from inkstone.train.precision import autocast
from inkstone.train.rl.advantages import Floats


class Layout(NamedTuple):
    """How sequences become rows; it changes nothing but memory and speed."""

    packed: bool = True
    padding_side: Literal["right", "left"] = "right"

    @classmethod
    def of(cls, lesson: Lesson) -> "Layout":
        """As the lesson's settings want it."""
        return cls(lesson.config.packing, lesson.config.padding_side)

    def rows(self, sequences: Sequence[TokenSequence]) -> Batch:
        """Rows of `lay_out`."""
        return lay_out(sequences, packed=self.packed, padding_side=self.padding_side)


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
    for numbers, part in numbered(settings.split, sequences):
        batch = layout.rows(part)
        with autocast(settings.device, settings.dtype):
            values = compute({name: value.to(settings.device) for name, value in batch.items()})
        for number, array in zip(numbers, by_sequence(values.float().cpu(), owners(batch), len(part)), strict=True):
            results[number] = array.numpy()
    return [results[number] for number in range(len(sequences))]
