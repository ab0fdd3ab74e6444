"""An encoder–decoder that has read its sources, seen as a decoder of targets."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inkstone.core.errors import InputError
from inkstone.nn.models.base import Cache, EncoderDecoder


class TargetDecoder:
    """What generation needs of a decoder, given by an encoder–decoder and a batch of sources.

    The sources are encoded here, once. Prompts are beginnings of targets, normally `[start]`; sequence i of the first
    pass with a new cache belongs to source i, and from then on the cache knows the source of every sequence.
    """

    def __init__(self, model: EncoderDecoder, sources: Sequence[Sequence[int]]) -> None:
        """Encode the token ids of each source.

        Raises:
            InputError: a source has no tokens, or more than the model's context.
        """
        self.model = model
        input_ids, self._mask = pad(sources, model.context, model.device)
        with torch.inference_mode():
            self._states = model.encode(input_ids, attention_mask=self._mask)

    @property
    def start(self) -> list[int]:
        """The prompt of a target of which nothing is written yet."""
        return [self.model.decoder_start_token_id]

    @property
    def context(self) -> int:
        """Longest target, in tokens."""
        return self.model.context

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def new_cache(self, capacity: int) -> Cache:
        """An empty cache for `capacity` target positions of each source."""
        return self.model.new_cache(capacity)

    def hidden_states(
        self, input_ids: Tensor, *, cache: Cache | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Target ids (B, T), after those in `cache` → hidden states (B, T, C); `attention_mask` is (B, cached + T)."""
        return self.model.decode(
            input_ids, self._states, encoder_mask=self._mask, cache=cache, decoder_mask=attention_mask
        )

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (..., C) → float32 logits (..., V)."""
        return self.model.logits(hidden_states)


def pad(sources: Sequence[Sequence[int]], context: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Token ids (B, S), zeros after the shorter ones, and their mask (B, S); None where all are of one length."""
    check_sources(sources, context)
    lengths = [len(source) for source in sources]
    rows = [torch.tensor(source, device=device) for source in sources]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    if min(lengths) == max(lengths):
        return input_ids, None
    columns = torch.arange(max(lengths), device=device)
    return input_ids, (columns < torch.tensor(lengths, device=device).unsqueeze(1)).long()


def check_sources(sources: Sequence[Sequence[int]], context: int) -> None:
    """Refuse what an encoder cannot read.

    Raises:
        InputError: a source has no tokens, or more than the model's context.
    """
    lengths = [len(source) for source in sources]
    if min(lengths, default=0) == 0:
        raise InputError("a source has no tokens", where="source", remedy="give at least one character")
    if max(lengths) > context:
        raise InputError(
            f"the source has {max(lengths):,} tokens, but the model's context is {context:,}",
            where="source",
            remedy="split it into shorter parts, such as sentences",
        )
