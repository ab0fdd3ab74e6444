"""The targets of a batch: the tokens that are learned, M of them, in the order of its rows."""

import torch
from torch import Tensor

from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.base import Decoder
from inkstone.train.objectives.base import Batch


def row_states(model: Decoder, batch: Batch) -> Tensor:
    """Rows of `inkstone.data.layout.lay_out` → hidden states (B, T, C)."""
    return model.hidden_states(
        batch["input_ids"], position_ids=batch.get("position_ids"), segment_ids=batch.get("segment_ids")
    )


def target_states(model: Decoder, batch: Batch) -> tuple[Tensor, Tensor]:
    """The hidden states (M, C) before every target, and the targets (M,): only these reach the output layer."""
    labels = batch["labels"].flatten()
    learned = labels != IGNORED
    # (B, T, C) → (B·T, C) → (M, C)
    return row_states(model, batch).flatten(0, 1)[learned], labels[learned]


def owners(batch: Batch) -> Tensor:
    """(M,): the number of the sequence that each target belongs to; where rows are not packed, of its row."""
    targets = batch["labels"] != IGNORED
    if "sequence_ids" in batch:
        return batch["sequence_ids"][targets]
    return targets.nonzero()[:, 0]


def in_row_order(values: Tensor, owner: Tensor) -> Tensor:
    """Values (M, …) of the targets of one sequence after the other → in the order of the rows."""
    # A stable sort brings the targets together by sequence, each in its own order.
    return torch.empty_like(values).index_copy_(0, owner.argsort(stable=True), values)


def by_sequence(values: Tensor, owner: Tensor, num_sequences: int) -> list[Tensor]:
    """Values (M, …) in the order of the rows → those of each sequence, in its order."""
    sizes = torch.bincount(owner, minlength=num_sequences).tolist()
    return list(torch.split(values[owner.argsort(stable=True)], sizes))
