"""Stops a run that is no longer learning, and says why."""

import math

import torch
from torch import nn

from inkstone.core.errors import DivergenceError
from inkstone.train.state import TrainState

_SMOOTHING = 0.95


def check_step(
    state: TrainState,
    loss: float,
    gradient_norm: float,
    learning_rate: float,
    sequences: range,
    model: nn.Module,
    allowed_rise: float,
) -> None:
    """Follow the loss of the step about to be applied; called before the weights change.

    Raises:
        DivergenceError: the loss or the gradient is not finite, or the smoothed loss has risen by more than
            `allowed_rise`.
    """
    where = f"step {state.step + 1}, sequences {sequences.start} to {sequences.stop - 1}"
    if not math.isfinite(loss) or not math.isfinite(gradient_norm):
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise DivergenceError(
            f"the {what} is not finite (loss {loss}, gradient norm {gradient_norm}); {_cause(state, model)}",
            where=where,
            remedy=f"lower learning_rate (now {learning_rate:.3g}) or set dtype to float32",
        )
    previous = loss if state.smoothed_loss is None else state.smoothed_loss
    state.smoothed_loss = _SMOOTHING * previous + (1 - _SMOOTHING) * loss
    lowest = state.smoothed_loss if state.lowest_smoothed_loss is None else state.lowest_smoothed_loss
    state.lowest_smoothed_loss = min(lowest, state.smoothed_loss)
    if state.smoothed_loss > state.lowest_smoothed_loss + allowed_rise:
        raise DivergenceError(
            f"the loss diverges: {state.smoothed_loss:.3f} on average, after {state.lowest_smoothed_loss:.3f}; "
            "most likely the learning rate is too high",
            where=where,
            remedy=f"lower learning_rate (now {learning_rate:.3g}), or lengthen the warm-up",
        )


def _cause(state: TrainState, model: nn.Module) -> str:
    broken = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
    if broken:
        return f"the weights are broken already, first in {broken[0]}: an earlier update was too large"
    if state.smoothed_loss is not None and state.smoothed_loss > (state.lowest_smoothed_loss or 0.0) + 0.2:
        return "the loss was rising before: most likely the learning rate is too high"
    return "the weights are still finite: most likely an overflow in this batch"
