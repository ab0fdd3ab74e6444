"""Multi-head attention over one's own sequence or over an encoder's, and the cache that serves both."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from inkstone.nn.layers.attention import attention
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.mask import AttentionMask, make_mask


class EncoderDecoderCache(KVCache):
    """Keys and values of the target so far and, computed once, of the source.

    The source's padding is remembered too: after the first pass nothing of the encoder is needed any more.
    """

    def __init__(self, num_hidden_layers: int, capacity: int) -> None:
        super().__init__(num_hidden_layers, capacity)
        self.source_mask: Tensor | None = None
        """(B, S), 0 at the source's padding; None where there is none."""
        self._source: list[tuple[Tensor, Tensor] | None] = [None] * num_hidden_layers
        self._source_of_row: Tensor | None = None

    def source(self, layer_index: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values (B, H, S, D) of the source in one block, once they are known."""
        return self._source[layer_index]

    def keep_source(self, layer_index: int, keys: Tensor, values: Tensor) -> None:
        """Remember the source's keys and values (B, H, S, D) of one block."""
        self._source[layer_index] = keys, values

    def reorder(self, rows: Tensor) -> None:
        """Keep only the sequences `rows` (indices into B, repeats allowed), in that order."""
        super().reorder(rows)
        first = self._source[0]
        if first is None:
            return
        before = self._source_of_row
        if before is None:
            before = torch.arange(len(first[0]), device=rows.device)
        self._source_of_row = before[rows]
        if torch.equal(before, self._source_of_row):  # beams of one source have changed places
            return
        self._source = [None if pair is None else (pair[0][rows], pair[1][rows]) for pair in self._source]
        if self.source_mask is not None:
            self.source_mask = self.source_mask[rows]


class Source(NamedTuple):
    """What cross-attention looks at."""

    states: Tensor
    """(B, S, C), of the encoder."""
    mask: AttentionMask


def source_of(
    encoder_states: Tensor, encoder_mask: Tensor | None, num_queries: int, cache: EncoderDecoderCache | None
) -> Source:
    """The encoder's states with the mask for `num_queries` queries; a cache that knows the source decides."""
    if cache is not None and cache.length == 0:
        cache.source_mask = encoder_mask
    padding = encoder_mask if cache is None else cache.source_mask
    mask = make_mask(num_queries, encoder_states.shape[1], causal=False, device=encoder_states.device, padding=padding)
    return Source(encoder_states, mask)


class ProjectionNames(NamedTuple):
    """What a family calls the four matrices of attention."""

    query: str = "q_proj"
    key: str = "k_proj"
    value: str = "v_proj"
    output: str = "out_proj"


class MultiHeadAttention(nn.Module):
    """The four projections of multi-head attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2)."""

    def __init__(
        self,
        hidden_size: int,
        num_attention_heads: int,
        head_dim: int,
        *,
        layer_index: int,
        bias: bool = True,
        scale: float | None = None,
        dropout: float = 0.0,
        names: ProjectionNames = ProjectionNames(),  # noqa: B008  (immutable)
    ) -> None:
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim
        self.layer_index = layer_index
        self.scale = scale
        self.dropout = dropout
        self.names = names
        width = num_attention_heads * head_dim
        for name in (names.query, names.key, names.value):
            self.add_module(name, nn.Linear(hidden_size, width, bias=bias))
        self.add_module(names.output, nn.Linear(width, hidden_size, bias=bias))

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, C) → keys and values, (B, H, S, D) each."""
        return self._heads(self.names.key, states), self._heads(self.names.value, states)

    def attend(
        self,
        hidden_states: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: AttentionMask,
        bias: Tensor | None,
        output_attentions: list[Tensor] | None,
    ) -> Tensor:
        """What (B, T, C) reads from keys and values (B, H, S, D): (B, T, C)."""
        queries = self._heads(self.names.query, hidden_states)
        context = attention(
            queries,
            keys,
            values,
            mask,
            bias=bias,
            scale=self.scale,
            dropout=self.dropout if self.training else 0.0,
            output_attentions=output_attentions,
        )
        # (B, H, T, D) → (B, T, H·D)
        output: Tensor = getattr(self, self.names.output)(context.transpose(1, 2).flatten(2))
        return output

    def _heads(self, name: str, states: Tensor) -> Tensor:
        """(B, T, C) → (B, T, H·D) → (B, H, T, D)."""
        projected: Tensor = getattr(self, name)(states)
        return projected.view(*states.shape[:2], self.num_attention_heads, self.head_dim).transpose(1, 2)


class SelfAttention(MultiHeadAttention):
    """Multi-head attention of a sequence to itself."""

    def forward(
        self,
        hidden_states: Tensor,
        mask: AttentionMask,
        cache: EncoderDecoderCache | None = None,
        bias: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C); with a cache, the T tokens follow the `cache.length` it holds."""
        keys, values = self.keys_and_values(hidden_states)
        if cache is not None:
            keys, values = cache.append(self.layer_index, keys, values)
        return self.attend(hidden_states, keys, values, mask, bias, output_attentions)


class CrossAttention(MultiHeadAttention):
    """Multi-head attention of a target to its source."""

    def forward(
        self,
        hidden_states: Tensor,
        source: Source,
        cache: EncoderDecoderCache | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C); with a cache, the source's keys and values are computed once."""
        known = None if cache is None else cache.source(self.layer_index)
        keys, values = self.keys_and_values(source.states) if known is None else known
        if cache is not None and known is None:
            cache.keep_source(self.layer_index, keys, values)
        return self.attend(hidden_states, keys, values, source.mask, None, output_attentions)
