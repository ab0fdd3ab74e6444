"""What every decoder offers, whatever its family."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inkstone.nn.layers.cache import KVCache


class Decoder(nn.Module, ABC):
    """A model that predicts the next token; training, evaluation and generation need no more than this."""

    @property
    @abstractmethod
    def blocks(self) -> Iterable[nn.Module]:
        """The repeated part, first to last: what is compiled, frozen or checkpointed as a unit."""

    def fuse(self, dtype: torch.dtype) -> bool:
        """Compute the blocks by native kernels from now on, if there are any for products in `dtype` here.

        Returns:
            Whether there are.
        """
        return False

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """(V, C): multiplied with hidden states it gives logits."""

    @property
    @abstractmethod
    def context(self) -> int:
        """Longest sequence, in tokens."""

    @abstractmethod
    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` positions."""

    @abstractmethod
    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        cache: KVCache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Token ids (B, T), after those in `cache` → the hidden states (B, T, C) that the output layer reads."""

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (..., C) → float32 logits (..., V)."""
        return F.linear(hidden_states, self.output_weight).float()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output_weight.device
