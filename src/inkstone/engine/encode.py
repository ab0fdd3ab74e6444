"""Texts through a model that reads them whole: rows of like length together, results in the order of the rows."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

TOKENS_AT_ONCE = 1 << 14
"""Tokens of one forward pass, padding included."""


def encode(
    rows: Sequence[Sequence[int]],
    compute: "Callable[[Tensor, Tensor, list[int]], Tensor]",
    device: "torch.device",
    pad_id: int = 0,
) -> "list[NDArray[np.float32]]":
    """What a model gives for each row of token ids.

    Args:
        rows: token ids of each text.
        compute: ids (B, T), padded on the right; their mask (B, T), 1 for tokens; and the numbers of the rows →
            results (B, …), or (B, T, …) if there is one for every token.
        device: where it computes.
        pad_id: written after the shorter rows.

    Returns:
        Of each row its part of the results: without padding where there is one for every token.
    """
    import torch

    from inkstone.data.layout import fill

    results: list[NDArray[np.float32] | None] = [None] * len(rows)
    with torch.inference_mode():
        for batch in length_batches([len(row) for row in rows], TOKENS_AT_ONCE):
            input_ids = fill([rows[row] for row in batch], pad_id, "right").to(device)
            mask = fill([[1] * len(rows[row]) for row in batch], 0, "right").to(device)
            values = compute(input_ids, mask, batch)
            for row, value in zip(batch, values.float().cpu().numpy(), strict=True):
                results[row] = value[: len(rows[row])] if values.dim() > 2 else value
    return [result for result in results if result is not None]


def length_batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Rows of like length together, the longest first, so that what does not fit into memory fails at once."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
