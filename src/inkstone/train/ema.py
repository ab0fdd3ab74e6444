"""A moving average of the weights, which is evaluated and saved instead of them."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from inkstone.train.state import Resumable, trained_parameters


class WeightAverage(Resumable):
    """Exponential moving average of the trained weights, in their own precision (float32).

    After step t = 1, 2 … the average a of a weight w becomes `d · a + (1 - d) · w` with `d = min(decay, (1 + t) /
    (10 + t))`, which begins at the initial weights and forgets them soon, however near to 1 the decay is (the rule of
    TensorFlow's `ExponentialMovingAverage` with `num_updates`; Polyak & Juditsky 1992 for averages as such).

    Args:
        model: its trained parameters are followed.
        decay: in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = trained_parameters(model)
        self._decay = decay
        self._values = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        current = [parameter.detach() for parameter in self._parameters.values()]
        torch._foreach_lerp_(list(self._values.values()), current, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self._values[name])
            self._values[name] = kept

    def state_tensors(self) -> dict[str, Tensor]:
        """The averages, under the names of their parameters."""
        return dict(self._values)

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, value in self._values.items():
            value.copy_(tensors[name])
