"""Rotary position embedding."""

import torch
from torch import Tensor, nn

from inkstone.nn.layers.rope_scaling import RopeScaling, rope_frequencies


class RotaryEmbedding(nn.Module):
    """Cosines and sines of rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34).

    Component pair `(i, i + D/2)` turns by the angle `position · theta^(-2i/D)`: the "rotate half" layout of
    Hugging Face's Llama weights. Always float32, whatever the dtype of the model: angles of far positions need it.
    """

    def __init__(
        self, rotary_dim: int, theta: float = 10_000.0, scaling: RopeScaling | None = None, max_positions: int = 0
    ) -> None:
        super().__init__()
        # Not a buffer: `model.to(dtype)` would cast it, and a model built on the meta device would lose it.
        if scaling is None:
            self._frequencies, self._amplitude = rope_frequencies(rotary_dim, theta), 1.0
        else:
            self._frequencies = scaling.frequencies(rotary_dim, theta)
            self._amplitude = scaling.amplitude(max_positions)

    def forward(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (B, T) or (1, T) → cos and sin, each (B or 1, 1, T, D), to broadcast over attention heads."""
        if self._frequencies.device != position_ids.device:
            self._frequencies = self._frequencies.to(position_ids.device)
        angles = position_ids.unsqueeze(1).unsqueeze(-1).float() * self._frequencies  # (B, 1, T, D/2)
        cos, sin = angles.cos(), angles.sin()
        if self._amplitude != 1.0:
            cos, sin = cos * self._amplitude, sin * self._amplitude
        return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)


def apply_rope(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries or keys (B, H, T, D) by cosines and sines of `RotaryEmbedding`; the dtype is kept.

    Where those have fewer than D components, only as many are rotated, the first ones.
    """
    rotary_dim = cos.shape[-1]
    if rotary_dim < states.shape[-1]:
        return torch.cat((apply_rope(states[..., :rotary_dim], cos, sin), states[..., rotary_dim:]), dim=-1)
    values = states.float()
    first, second = values.chunk(2, dim=-1)
    return (values * cos + torch.cat((-second, first), dim=-1) * sin).to(states.dtype)


def positions(past: int, time: int, attention_mask: Tensor | None, device: torch.device) -> Tensor:
    """Positions (1, T) after `past` tokens or, where there is padding, (B, T) counted over real tokens only.

    `attention_mask` is (B, past + T), 0 at padding; padding itself gets position 0.
    """
    if attention_mask is None:
        return torch.arange(past, past + time, device=device).unsqueeze(0)
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:]
