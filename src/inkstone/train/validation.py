"""Validation loss during training, on a budget."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from inkstone.train.objectives import Batch, Objective

if TYPE_CHECKING:
    from inkstone.train.loop import Examples


class ValidationLoss:
    """Mean loss over the same first examples of the validation split, at every call.

    Args:
        examples: of the validation split; `per_epoch` of them are all there is.
        objective: the one trained.
        batch_loss: summed loss of a batch under the loop's device and dtype.
        batch_size: examples computed at a time, and the unit of the budget (another size would be compiled anew).
        num_examples: the budget.
    """

    def __init__(
        self,
        examples: "Examples[Any]",
        objective: Objective[Any],
        batch_loss: Callable[[Batch], Tensor],
        batch_size: int,
        num_examples: int,
    ) -> None:
        count = max(1, min(examples.per_epoch, num_examples))
        count = max(count // batch_size * batch_size, min(count, batch_size))
        self._batches = [
            objective.collate(examples.batch(start, min(batch_size, count - start)))
            for start in range(0, count, batch_size)
        ]
        self._num_tokens = sum(objective.num_tokens(batch) for batch in self._batches)
        self._batch_loss = batch_loss

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """The metric `valid_loss`, in nats per token."""
        # Gradients stay enabled so that compiled blocks are not compiled a second time for inference.
        model.eval()
        total = sum(float(self._batch_loss(batch).detach()) for batch in self._batches)
        model.train()
        return {"valid_loss": total / self._num_tokens}
