"""Normalization layers."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square normalization (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).

    `y = x / sqrt(mean(x²) + eps) · weight` over the last dimension. The statistics are computed in float32
    whatever the input's dtype, and the result has the input's dtype.
    """

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., size) → (..., size)."""
        values = hidden_states.float()
        scale = torch.rsqrt(values.square().mean(-1, keepdim=True) + self.eps)
        return (self.weight * (values * scale)).to(hidden_states.dtype)

    def extra_repr(self) -> str:
        """Size and epsilon, for `print(model)`."""
        return f"{self.weight.shape[0]}, eps={self.eps}"
