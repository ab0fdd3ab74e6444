"""What generating and scoring need of a model: the contract of every decoder."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from inkstone.nn.layers.cache import KVCache


class DecoderConfig(Protocol):
    """What is read of a decoder's config."""

    @property
    def max_position_embeddings(self) -> int:
        """Longest context, in tokens."""
        ...


class Decoder(Protocol):
    """A causal language model."""

    lm_head: nn.Linear
    """Hidden states (..., C) → logits (..., V)."""

    @property
    def config(self) -> DecoderConfig:
        """Its shape."""
        ...

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` positions."""
        ...

    def hidden_states(self, input_ids: Tensor, *, cache: KVCache | None = None) -> Tensor:
        """Token ids (B, T), following those in the cache → hidden states (B, T, C)."""
        ...

    def __call__(self, input_ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Token ids (B, T), following those in the cache → logits (B, T, V)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""
        ...
