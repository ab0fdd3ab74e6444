"""Which weights a run ends with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkstone.checkpoint import read_safetensors
from inkstone.core.errors import InputError
from inkstone.core.progress import say
from inkstone.train.loop import Loop
from inkstone.train.metrics import read_metrics
from inkstone.train.state import MODEL, checkpoint_folder, copy_parameters

_AVERAGED = 5
"""Kept weights, unless a recipe says otherwise."""


def settle_weights(loop: Loop[Any]) -> float | None:
    """Give the model the weights that `keep` asks for.

    Returns:
        Their validation loss; None where there was no validation.

    Raises:
        InputError: no weights were kept to take the mean of.
    """
    config, state, out = loop.settings.config, loop.state, loop.out
    if config.keep == "average":
        steps = kept_steps(out, state.step)[-(config.average_last or _AVERAGED) :]
        if not steps:
            raise InputError(
                f"the run ended after step {state.step:,}, before weights were kept",
                where="keep_every",
                remedy="make it smaller, or set keep to last",
            )
        say(f"the model is the mean of the weights after the steps {', '.join(f'{step:,}' for step in steps)}")
        mean = average_weights([checkpoint_folder(out, step) for step in steps])
        copy_parameters(mean, loop.model, out)
        return loop.evaluate(loop.model, state.step)["valid_loss"] if loop.evaluate else None
    if config.keep == "best" and state.best_step is not None:
        folder = checkpoint_folder(out, "best")
        copy_parameters(read_safetensors(folder / MODEL), loop.model, folder)
        return state.best_loss
    if loop.average:
        copy_parameters(loop.average.state_tensors(), loop.model, out)
    return next((row["valid_loss"] for row in reversed(read_metrics(out)) if "valid_loss" in row), None)


def kept_steps(out: Path, last: int) -> list[int]:
    """Steps up to `last` whose weights `keep_every` kept, in order."""
    folders = checkpoint_folder(out, 0).parent.glob("step-*")
    return sorted(step for folder in folders if (step := int(folder.name.removeprefix("step-"))) <= last)


def average_weights(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The uniform mean of saved weights (Izmailov et al. 2018, arXiv:1803.05407), summed in float64."""
    sums: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for folder in folders:
        for name, tensor in read_safetensors(folder / MODEL).items():
            dtypes[name] = tensor.dtype
            sums[name] = sums[name].add_(tensor) if name in sums else tensor.double()
    return {name: (total / len(folders)).to(dtypes[name]) for name, total in sums.items()}
