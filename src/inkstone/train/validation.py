"""Validation loss during training, on a budget."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from inkstone.train.micro_batches import Split
from inkstone.train.objectives import Batch, Objective

E = TypeVar("E")


class ValidationLoss:
    """Mean loss over the same examples, at every call.

    Args:
        examples: of the validation split.
        objective: the one trained.
        batch_loss: summed loss and metrics of a batch under the loop's device and dtype.
        split: how the examples are divided among batches.
        prepare_step: lets the objective see all batches first; the validation split counts as one step.
    """

    def __init__(
        self,
        examples: Sequence[E],
        objective: Objective[E],
        batch_loss: Callable[[Batch], tuple[Tensor, dict[str, Any]]],
        split: Split,
        prepare_step: Callable[[Sequence[Batch]], None] = lambda _batches: None,
    ) -> None:
        self._batches = [objective.collate(part) for part in split(examples)]
        self._num_targets = sum(objective.num_targets(batch) for batch in self._batches)
        self._batch_loss, self._prepare_step = batch_loss, prepare_step

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """`valid_loss`, and every metric of the objective as `valid_…`: means over the targets."""
        # Gradients stay enabled so that compiled blocks are not compiled a second time for inference.
        model.eval()
        sums = {"valid_loss": 0.0}
        self._prepare_step(self._batches)
        for batch in self._batches:
            loss, metrics = self._batch_loss(batch)
            sums["valid_loss"] += float(loss.detach())
            for name, value in metrics.items():
                sums[f"valid_{name}"] = sums.get(f"valid_{name}", 0.0) + float(value)
        model.train()
        return {name: value / self._num_targets for name, value in sums.items()}
