"""Feed-forward layers."""

from torch import Tensor, nn

from inkstone.nn.layers.activation import Activation, activation


class GatedMLP(nn.Module):
    """Gated feed-forward layer `down(act(gate(x)) · up(x))`.

    With `silu` it is SwiGLU (Shazeer 2020, arXiv:2002.05202, eq. 6).
    """

    def __init__(
        self, hidden_size: int, intermediate_size: int, *, bias: bool = False, hidden_act: Activation = "silu"
    ) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=bias)
        self.activation = activation(hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        output: Tensor = self.down_proj(self.activation(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))
        return output
