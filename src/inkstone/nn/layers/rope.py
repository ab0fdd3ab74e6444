"""Rotary position embedding."""

import torch
from torch import Tensor, nn


class RotaryEmbedding(nn.Module):
    """Cosine and sine tables of rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34).

    Component pair `(i, i + D/2)` turns by the angle `position · theta^(-2i/D)`: the "rotate half" layout of
    Hugging Face's Llama weights.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_positions: int, theta: float = 10_000.0) -> None:
        super().__init__()
        frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        angles = torch.outer(torch.arange(max_positions, dtype=torch.float32), frequencies)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (B, T) or (1, T) → cos and sin, each (B or 1, 1, T, D), to broadcast over attention heads."""
        return self.cos[position_ids].unsqueeze(1), self.sin[position_ids].unsqueeze(1)


def apply_rope(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries or keys (B, H, T, D) by the tables of `RotaryEmbedding`; the dtype is kept."""
    first, second = states.float().chunk(2, dim=-1)
    rotated = torch.cat((-second, first), dim=-1)
    return (states.float() * cos + rotated * sin).to(states.dtype)


def positions(past: int, time: int, attention_mask: Tensor | None, device: torch.device) -> Tensor:
    """Positions (1, T) after `past` tokens or, where there is padding, (B, T) counted over real tokens only.

    `attention_mask` is (B, past + T), 0 at padding; padding itself gets position 0.
    """
    if attention_mask is None:
        return torch.arange(past, past + time, device=device).unsqueeze(0)
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:]
