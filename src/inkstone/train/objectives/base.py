"""What an objective is: it makes batches of examples and losses of batches."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from torch import Tensor

from inkstone.nn.layers.loss import IGNORED

Example_contra = TypeVar("Example_contra", contravariant=True)
Batch = dict[str, Tensor]
NATS_PER_TOKEN = "nats per token"


class Objective(Protocol[Example_contra]):
    """A way to learn. The loop divides by the targets of a whole step, so that micro-batches change nothing.

    A target is what carries loss: a token, a labeled text, a pair …
    """

    allowed_rise: ClassVar[float] = 1.0
    """How far the smoothed loss may lie above its lowest value before a run counts as diverged."""

    loss_unit: str = NATS_PER_TOKEN
    """What the loss counts, for people."""

    def collate(self, examples: Sequence[Example_contra]) -> Batch:
        """Examples → named tensors, `input_ids` (B, T) among them."""
        ...

    def num_targets(self, batch: Batch) -> int:
        """Targets of the batch."""
        ...

    def prepare_step(self, model: Any, batches: Sequence[Batch]) -> None:
        """Add to the micro-batches of a step what the loss of each needs to know of all; called before the first."""
        return

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Loss summed over the targets, a float32 scalar, and metrics, each summed over them too.

        Of a metric called `max_…` the largest counts, over micro-batches and steps.
        """
        ...


class Read(NamedTuple):
    """What was read."""

    tokens: int
    """That are no padding."""
    labels: int
    """What carries loss: tokens, where tokens are labeled."""

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> "Read":
        """Sums over batches."""
        amounts = [(num_tokens(batch), _num_labels(batch)) for batch in batches]
        return cls(sum(tokens for tokens, _ in amounts), sum(labels for _, labels in amounts))


def num_tokens(batch: Batch) -> int:
    """Tokens of a batch that are no padding."""
    if "sequence_ids" in batch:
        return int((batch["sequence_ids"] >= 0).sum())
    masks = [batch[name] for name in ("attention_mask", "decoder_mask") if name in batch]
    return sum(int(mask.sum()) for mask in masks) if masks else batch["input_ids"].numel()


def _num_labels(batch: Batch) -> int:
    return int((batch["labels"] != IGNORED).sum()) if "labels" in batch else 0


NEVER_DIVERGES = math.inf
"""`allowed_rise` of objectives whose loss says nothing by its height, such as a policy gradient's."""
