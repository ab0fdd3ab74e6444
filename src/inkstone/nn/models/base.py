"""What every model offers, whatever its family: the contracts of decoders, encoders and encoder–decoders."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from inkstone.core.config import Config
from inkstone.nn.layers.quantized import QuantizedLinear


class ModelConfig(Config):
    """Shape of a model. Keys and meanings are Hugging Face's; `model_type` is fixed by each family."""

    model_type: str
    vocab_size: int = Field(gt=0)
    tie_word_embeddings: bool = True
    initializer_range: float = Field(default=0.02, gt=0)

    @property
    def first_position(self) -> int:
        """Position of a text's first token."""
        return 0


class Cache(Protocol):
    """What a model remembers of the tokens it has read: keys and values, or a recurrent state."""

    length: int
    """Positions held."""

    def reorder(self, rows: Tensor) -> None:
        """Keep only the sequences `rows` (indices into B, repeats allowed), in that order."""


class Model(nn.Module, ABC):
    """A network under Hugging Face's parameter names."""

    config: ModelConfig
    generation_config: Mapping[str, Any] = MappingProxyType({})
    """Keys of generation_config.json that came with the weights; kept when the model is saved again."""

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """Parameter names that share another parameter's values: alias → name. Files need not hold the aliases."""
        return {}

    def tie_weights(self) -> None:
        """Make every alias of `tied_weights` the parameter it stands for (again, after loading weights)."""
        for alias, name in self.tied_weights.items():
            owner, _, attribute = alias.rpartition(".")
            setattr(self.get_submodule(owner), attribute, self.get_parameter(name))

    @abstractmethod
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights, as the family's paper or reference implementation does."""

    @property
    @abstractmethod
    def blocks(self) -> Iterable[nn.Module]:
        """The repeated part, first to last: what is compiled, frozen or checkpointed as a unit."""

    @property
    @abstractmethod
    def context(self) -> int:
        """Longest sequence, in tokens; of each side, where there are two."""

    def num_parameters(self) -> int:
        """Number of values in the parameters, shared ones counted once, quantized weights too."""
        quantized = sum(module.num_weights for module in self.modules() if isinstance(module, QuantizedLinear))
        return quantized + sum(parameter.numel() for parameter in self.parameters())

    def fuse(self, dtype: torch.dtype) -> bool:
        """Compute the blocks by native kernels from now on, if there are any for products in `dtype` here.

        Returns:
            Whether there are.
        """
        return False

    def checkpoint_blocks(self) -> None:
        """From now on keep only what each block reads, and compute it again for the gradient: see `run_block`."""
        for block in self.blocks:
            block.checkpointed = True  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype


class Decoder(Model):
    """A model that predicts the next token; training, evaluation and generation need no more than this."""

    lm_head: nn.Linear

    @property
    @abstractmethod
    def backbone(self) -> nn.Module:
        """Everything below the output layer; called as `hidden_states` is."""

    @property
    def output_weight(self) -> Tensor:
        """(V, C): multiplied with hidden states it gives logits."""
        return self.lm_head.weight

    @abstractmethod
    def new_cache(self, capacity: int) -> Cache:
        """An empty cache for `capacity` positions."""

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        cache: Cache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, T), after those in `cache` → the hidden states (B, T, C) that the output layer reads.

        Args:
            input_ids: (B, T).
            cache: what is remembered of the tokens before these; it grows by T.
            position_ids: (B, T), by default counted from the cache's length, or along `attention_mask`.
            segment_ids: (B, T), for packed sequences: a token sees only earlier tokens of its own segment.
            attention_mask: (B, cached + T), 0 at padding, on whichever side.
            output_attentions: a list to which every block appends its attention weights, (B, H, T, cached + T).
        """
        output: Tensor = self.backbone(
            input_ids,
            cache=cache,
            position_ids=position_ids,
            segment_ids=segment_ids,
            attention_mask=attention_mask,
            output_attentions=output_attentions,
        )
        return output

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (..., C) → float32 logits (..., V)."""
        return F.linear(hidden_states, self.output_weight).float()

    def forward(
        self,
        input_ids: Tensor,
        cache: Cache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, T) → logits (B, T, V) in the weights' dtype; arguments as of `hidden_states`."""
        hidden_states = self.hidden_states(
            input_ids,
            cache=cache,
            position_ids=position_ids,
            segment_ids=segment_ids,
            attention_mask=attention_mask,
            output_attentions=output_attentions,
        )
        return F.linear(hidden_states, self.output_weight)


class Encoder(Model):
    """A model that reads a whole text at once."""

    @abstractmethod
    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
        output_hidden_states: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, T) → hidden states (B, T, C) of the last block.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 at padding, on whichever side.
            token_type_ids: (B, T), which of two texts a token belongs to; by default all 0.
            position_ids: (B, T), by default as the family counts them.
            output_attentions: a list to which every block appends its attention weights, (B, H, T, T).
            output_hidden_states: a list to which the embedding and every block append their output, (B, T, C).
        """


class EncoderDecoder(Model):
    """A model that reads one text and writes another."""

    @property
    @abstractmethod
    def decoder_start_token_id(self) -> int:
        """The token with which every target begins."""

    @abstractmethod
    def encode(
        self, input_ids: Tensor, *, attention_mask: Tensor | None = None, output_attentions: list[Tensor] | None = None
    ) -> Tensor:
        """Source ids (B, S), `attention_mask` 0 at padding → encoder states (B, S, C)."""

    @abstractmethod
    def new_cache(self, capacity: int) -> Cache:
        """An empty cache for `capacity` target positions; cross-attention keys and values are kept there too."""

    @abstractmethod
    def decode(
        self,
        decoder_input_ids: Tensor,
        encoder_states: Tensor,
        *,
        encoder_mask: Tensor | None = None,
        cache: Cache | None = None,
        decoder_mask: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
        output_cross_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Target ids (B, T), after those in `cache` → hidden states (B, T, C) of the decoder.

        Args:
            decoder_input_ids: (B, T).
            encoder_states: (B, S, C), of `encode`.
            encoder_mask: (B, S), 0 at the source's padding.
            cache: what is remembered of the target so far; it grows by T.
            decoder_mask: (B, cached + T), 0 at the target's padding.
            output_attentions: a list to which every block appends its self-attention weights, (B, H, T, cached + T).
            output_cross_attentions: likewise its cross-attention weights, (B, H, T, S).
        """

    @abstractmethod
    def logits(self, hidden_states: Tensor) -> Tensor:
        """Decoder states (..., C) → float32 logits (..., V)."""

    def forward(
        self,
        input_ids: Tensor,
        decoder_input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_mask: Tensor | None = None,
    ) -> Tensor:
        """Source ids (B, S) and target ids (B, T) → logits (B, T, V)."""
        encoder_states = self.encode(input_ids, attention_mask=attention_mask)
        return self.logits(
            self.decode(decoder_input_ids, encoder_states, encoder_mask=attention_mask, decoder_mask=decoder_mask)
        )
