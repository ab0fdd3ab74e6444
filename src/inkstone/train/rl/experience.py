"""What is learned from: completions with what was known of them when they were drawn."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inkstone.data.examples.encoded import TokenSequence
from inkstone.train.rl.advantages import Floats

NOTHING: Floats = np.zeros(0, dtype=np.float32)


class Experience(NamedTuple):
    """A prompt with its completion of n tokens, the targets of `sequence`; arrays are (n,) or, unused, (0,)."""

    sequence: TokenSequence
    advantages: Floats = NOTHING
    old_log_probabilities: Floats = NOTHING
    """Under the policy that drew the tokens."""
    reference_log_probabilities: Floats = NOTHING
    """Under the initial model."""
    old_values: Floats = NOTHING
    """What the critic expected before each token."""
    returns: Floats = NOTHING
    """What it should have expected."""
    is_learned: bool = True
    """Whether it carries loss."""

    @property
    def length(self) -> int:
        """Tokens, the prompt's too."""
        return self.sequence.length

    @property
    def num_targets(self) -> int:
        """One completion."""
        return 1


ARRAYS = ("advantages", "old_log_probabilities", "reference_log_probabilities", "old_values", "returns")
"""Fields of an `Experience` that have a value for every token of the completion."""


def sequence_of(prompt_ids: Sequence[int], token_ids: Sequence[int]) -> TokenSequence:
    """A prompt and its completion, of which the completion is learned."""
    return TokenSequence.of([*prompt_ids, *token_ids], [False] * len(prompt_ids) + [True] * len(token_ids))


def to_tensors(experiences: Sequence[Experience]) -> dict[str, Tensor]:
    """Experiences as tensors, for a checkpoint."""
    columns: dict[str, Sequence[NDArray[np.float32] | NDArray[np.int64]]] = {
        "input_ids": [each.sequence.input_ids for each in experiences],
        "labels": [each.sequence.labels for each in experiences],
        **{name: [getattr(each, name) for each in experiences] for name in ARRAYS},
    }
    tensors = {"is_learned": torch.tensor([each.is_learned for each in experiences])}
    for name, arrays in columns.items():
        if not any(len(array) for array in arrays):
            continue
        tensors[name] = torch.from_numpy(np.concatenate(arrays))
        tensors[f"{name}.sizes"] = torch.tensor([len(array) for array in arrays])
    return tensors


def from_tensors(tensors: Mapping[str, Tensor]) -> list[Experience]:
    """The inverse of `to_tensors`."""
    columns = {
        name: np.split(tensors[name].numpy(), np.cumsum(tensors[f"{name}.sizes"].numpy())[:-1])
        for name in ("input_ids", "labels", *ARRAYS)
        if name in tensors
    }
    known = [name for name in ARRAYS if name in columns]
    return [
        Experience(
            TokenSequence(columns["input_ids"][number], columns["labels"][number]),
            is_learned=is_learned,
            **{name: columns[name][number] for name in known},
        )
        for number, is_learned in enumerate(tensors["is_learned"].tolist())
    ]
