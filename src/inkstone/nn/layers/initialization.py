"""Initial weights that several families share."""

import math

import torch
from torch import nn


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
