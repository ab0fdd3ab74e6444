"""Embeddings of absolute positions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sinusoids(num_positions: int, size: int) -> Tensor:
    """The position table (num_positions, size) of the first Transformer (Vaswani et al. 2017, section 3.5).

    With `ω_i = 10000^(-2i / size)`, column `i` of the first half is `sin(p · ω_i)` and column `i` of the second half
    `cos(p · ω_i)`: the paper's values, in Marian's order.

    Args:
        num_positions: rows, for positions 0, 1, …
        size: even.
    """
    frequencies = 10_000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequencies)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()


class SinusoidalPositions(nn.Module):
    """The fixed table of `sinusoids`; not a weight, and not saved."""

    table: Tensor

    def __init__(self, num_positions: int, size: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(num_positions, size), persistent=False)

    def forward(self, position_ids: Tensor) -> Tensor:
        """Positions (B or 1, T) → (B or 1, T, size)."""
        return F.embedding(position_ids, self.table)


class LearnedPositions(nn.Embedding):
    """One trained vector for each position; BART's tables begin with two rows that no position uses."""

    UNUSED_ROWS = 2

    def __init__(self, num_positions: int, size: int) -> None:
        super().__init__(num_positions + self.UNUSED_ROWS, size)

    def forward(self, position_ids: Tensor) -> Tensor:
        """Positions (B or 1, T) → (B or 1, T, size)."""
        return super().forward(position_ids + self.UNUSED_ROWS)
