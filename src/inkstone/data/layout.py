"""How sequences of different lengths become the rows of a batch: padded, or packed several to a row."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inkstone.data.examples.encoded import TokenSequence
from inkstone.nn.layers.loss import IGNORED

PADDING = -1
"""In `sequence_ids` and `segment_ids`: no sequence."""


def fill(rows: Sequence[Sequence[int] | NDArray[np.int64]], filler: int, side: Literal["right", "left"]) -> Tensor:
    """Rows of at most T numbers → (B, T), int64, the shorter ones filled at one side."""
    width = max(map(len, rows))
    filled = np.full((len(rows), width), filler, dtype=np.int64)
    for number, row in enumerate(rows):
        start = width - len(row) if side == "left" else 0
        filled[number, start : start + len(row)] = row
    return torch.from_numpy(filled)


def lay_out(
    sequences: Sequence[TokenSequence],
    *,
    packed: bool = False,
    padding_side: Literal["right", "left"] = "right",
    pad_id: int = 0,
) -> dict[str, Tensor]:
    """Sequences → rows of equal length.

    Packed, each row holds as many whole sequences as fit into the longest's length. A sequence sees only itself and
    its positions count from 0 wherever it lies, so the layout changes no sequence's loss.

    Args:
        sequences: in the order that `sequence_ids` counts.
        packed: several to a row.
        padding_side: where shorter rows are filled.
        pad_id: fills them; no other token sees it.

    Returns:
        `input_ids`, `labels` and `sequence_ids`, each (B, T); `position_ids` and `segment_ids`, unless plain causal
        attention says the same: every row one sequence from its first column on.
    """
    rows = _packed_rows(sequences) if packed else [[index] for index in range(len(sequences))]
    width = max(sum(sequences[index].length for index in row) for row in rows)
    shape = (len(rows), width)
    batch = {
        "input_ids": np.full(shape, pad_id, dtype=np.int64),
        "labels": np.full(shape, IGNORED, dtype=np.int64),
        "position_ids": np.zeros(shape, dtype=np.int64),
        "segment_ids": np.full(shape, PADDING, dtype=np.int64),
        "sequence_ids": np.full(shape, PADDING, dtype=np.int64),
    }
    for number, row in enumerate(rows):
        start = width - sum(sequences[index].length for index in row) if padding_side == "left" else 0
        for segment, index in enumerate(row):
            sequence = sequences[index]
            here = (number, slice(start, start + sequence.length))
            batch["input_ids"][here] = sequence.input_ids
            batch["labels"][here] = sequence.labels
            batch["position_ids"][here] = np.arange(sequence.length)
            batch["segment_ids"][here] = segment
            batch["sequence_ids"][here] = index
            start += sequence.length
    plain = all(len(row) == 1 for row in rows) and (
        padding_side == "right" or all(sequence.length == width for sequence in sequences)
    )
    if plain:
        del batch["position_ids"], batch["segment_ids"]
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def _packed_rows(sequences: Sequence[TokenSequence]) -> list[list[int]]:
    """Indices of the sequences of each row: the longest first, each into the first row with room."""
    width = max(sequence.length for sequence in sequences)
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sequences)), key=lambda index: -sequences[index].length):
        length = sequences[index].length
        row = next((number for number, left in enumerate(room) if left >= length), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(width)
        rows[row].append(index)
        room[row] -= length
    return rows
