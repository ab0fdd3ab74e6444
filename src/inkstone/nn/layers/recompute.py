"""Gradient checkpointing: what a block computes is forgotten, and computed again in the backward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_block(block: nn.Module, *inputs: Any, compute: Callable[..., Any] | None = None) -> Any:
    """What `block` makes of `inputs`.

    A block that `Model.checkpoint_blocks` has marked keeps nothing but its inputs for the backward pass while it is
    trained, and computes the rest a second time there, with the same random numbers (Chen et al. 2016,
    arXiv:1604.06174). Loss and gradients are the same.

    Args:
        block: one of a model's blocks.
        inputs: of the block.
        compute: does the block's work, by default the block itself.
    """
    run = compute or block
    if block.training and torch.is_grad_enabled() and getattr(block, "checkpointed", False):
        return checkpoint(run, *inputs, use_reentrant=False)
    return run(*inputs)
