"""Initial weights that several families share."""

import math

import torch
from torch import Tensor, nn

from inkstone.nn.layers.embedding import sinusoids

_SHARPNESS = 2.0
"""Makes the softmax prefer near positions although words make up most of what a first layer reads."""


@torch.no_grad()
def init_normal(
    module: nn.Module,
    std: float,
    generator: torch.Generator | None = None,
    *,
    residual: tuple[str, ...] = (),
    num_hidden_layers: int = 1,
) -> None:
    """Matrices normal with standard deviation `std`, biases 0, scales of normalization layers 1.

    What BERT does (Devlin et al. 2019, arXiv:1810.04805, its reference code cuts the normal at two deviations) and,
    with `residual`, GPT-2 (Radford et al. 2019, section 2.3).

    Args:
        module: whose parameters are drawn, in the order of their names.
        std: of the matrices.
        generator: of the random numbers.
        residual: endings of the names of matrices that write into the residual stream, two in each layer; they are
            scaled down by `1/sqrt(2 · num_hidden_layers)`.
        num_hidden_layers: layers that add to the residual stream.
    """
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            scale = 1 / math.sqrt(2 * num_hidden_layers) if name.endswith(residual) else 1.0
            parameter.normal_(0.0, std * scale, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)


@torch.no_grad()
def attend_to_neighbors(positions: Tensor, query: Tensor, key: Tensor, num_heads: int, std: float) -> None:
    """Let the heads of a first layer look around their own position from the start, each a little to one side.

    The position table becomes the sinusoids of Vaswani et al. 2017, of which a head reads the fastest and turns the
    query's by its offset (the last position, the next, two back and so on):
    `q(p) · k(r) = Σ cos(ω_i (p + offset - r))`, which falls slowly around `r = p + offset`. Without it a small encoder
    takes millions of tokens to find out that a hidden token depends on those beside it (see LOG.md). All of it is
    trained on like any other weight.

    Args:
        positions: (T, C), the position table; C even.
        query: (C, C), the first layer's.
        key: (C, C), likewise.
        num_heads: attention heads.
        std: standard deviation of the position table, as of the other embeddings.
    """
    num_channels = positions.shape[1]
    half = num_channels // 2
    positions.copy_(sinusoids(*positions.shape) * std * math.sqrt(2))
    head_dim = num_channels // num_heads
    columns = torch.arange(head_dim // 2, device=query.device)
    frequencies = 10_000.0 ** (-columns / half)
    query.zero_()
    key.zero_()
    for head in range(num_heads):
        distance = head // 2 + 1
        turn = frequencies * (distance if head % 2 else -distance)
        sines = head * head_dim + columns
        cosines = sines + len(columns)
        query[sines, columns] = query[cosines, half + columns] = _SHARPNESS * turn.cos()
        query[sines, half + columns] = _SHARPNESS * turn.sin()
        query[cosines, columns] = -_SHARPNESS * turn.sin()
        key[sines, columns] = key[cosines, half + columns] = 1.0
