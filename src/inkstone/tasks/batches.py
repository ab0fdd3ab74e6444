"""Texts of different lengths through a model, some at a time."""

from collections.abc import Iterator, Sequence

TOKENS_AT_ONCE = 1 << 14
"""Tokens of one forward pass, padding included."""


def length_batches(lengths: Sequence[int], most_tokens: int = TOKENS_AT_ONCE) -> Iterator[list[int]]:
    """Rows of like length together, the longest first, so that what does not fit into memory fails at once."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
