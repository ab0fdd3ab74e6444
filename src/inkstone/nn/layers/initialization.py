"""Initial weights that several families share."""

import torch
from torch import nn


@torch.no_grad()
def init_normal(module: nn.Module, std: float, generator: torch.Generator | None = None) -> None:
    """Matrices normal with standard deviation `std`, biases 0, scales of normalization layers 1.

    What BERT does (Devlin et al. 2019, arXiv:1810.04805, its reference code cuts the normal at two deviations).
    """
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0.0, std, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
