"""The contract between the training loop and what it trains."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

Batch = dict[str, Tensor]
"""Tensors by name; the first dimension of each is B."""
Example_contra = TypeVar("Example_contra", contravariant=True)


class Objective(Protocol[Example_contra]):
    """What a model is trained to do.

    The loop divides the summed loss by the tokens that carry one in the whole step, so that a batch of 8 and
    8 accumulated batches of 1 give the same gradient.
    """

    def collate(self, examples: Sequence[Example_contra]) -> Batch:
        """Examples → one batch."""
        ...

    def num_tokens(self, batch: Batch) -> int:
        """Tokens of the batch that carry loss."""
        ...

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """The loss summed over the batch's tokens, a float32 scalar, and further metrics to log.

        `model` is of the kind that the objective is for: a decoder, an encoder with a head …
        """
        ...
