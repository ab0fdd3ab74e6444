"""What every decoder offers, whatever its family."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn


class Decoder(nn.Module, ABC):
    """A model that predicts the next token; training, evaluation and generation need no more than this."""

    @property
    @abstractmethod
    def blocks(self) -> Iterable[nn.Module]:
        """The repeated part, first to last: what is compiled, frozen or checkpointed as a unit."""

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """(V, C): multiplied with hidden states it gives logits."""

    @abstractmethod
    def hidden_states(
        self, input_ids: Tensor, *, position_ids: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """Token ids (B, T) → the hidden states (B, T, C) that the output layer reads."""
