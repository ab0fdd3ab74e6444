"""What encoder–decoders made of two stacks of blocks have in common."""

from abc import abstractmethod

from pydantic import Field
from torch import Tensor, nn

from inkstone.nn.layers.cross_attention import EncoderDecoderCache, source_of
from inkstone.nn.models.base import Cache, EncoderDecoder, ModelConfig


class StackedConfig(ModelConfig):
    """What the configs of such models have in common."""

    decoder_start_token_id: int = Field(ge=0)
    """The token with which every target begins."""


class StackedEncoderDecoder(EncoderDecoder):
    """An encoder–decoder whose stacks take ids, mask, source, cache and the lists that collect attention weights."""

    config: StackedConfig

    @property
    def decoder_start_token_id(self) -> int:
        """The token with which every target begins; the padding token in Marian and T5."""
        return self.config.decoder_start_token_id

    @property
    @abstractmethod
    def stacks(self) -> tuple[nn.Module, nn.Module]:
        """The encoder's and the decoder's."""

    def encode(
        self, input_ids: Tensor, *, attention_mask: Tensor | None = None, output_attentions: list[Tensor] | None = None
    ) -> Tensor:
        """As in `EncoderDecoder.encode`."""
        encoder, _ = self.stacks
        output: Tensor = encoder(input_ids, attention_mask, output_attentions=output_attentions)
        return output

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
        """As in `EncoderDecoder.decode`; after the first pass with a cache, the source is what the cache remembers."""
        assert cache is None or isinstance(cache, EncoderDecoderCache)
        _, decoder = self.stacks
        source = source_of(encoder_states, encoder_mask, decoder_input_ids.shape[1], cache)
        output: Tensor = decoder(
            decoder_input_ids, decoder_mask, source, cache, output_attentions, output_cross_attentions
        )
        return output
