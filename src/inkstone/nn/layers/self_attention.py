"""Self-attention of the Llama family."""

from torch import Tensor, nn

from inkstone.nn.layers.attention import attention
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.mask import AttentionMask
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.rope import apply_rope


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) with rotary positions and optional q/k norm.

    Args:
        hidden_size: C.
        num_attention_heads: H.
        num_key_value_heads: K.
        head_dim: D.
        layer_index: of the block, where a cache keeps its keys and values.
        bias: of the query, key and value projections.
        output_bias: of the output projection, by default as `bias`.
        qk_norm_eps: normalize queries and keys per attention head (Henry et al. 2020, arXiv:2010.04245).
    """

    def __init__(
        self,
        hidden_size: int,
        num_attention_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        *,
        layer_index: int,
        bias: bool = False,
        output_bias: bool | None = None,
        qk_norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.layer_index = layer_index
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.q_proj = nn.Linear(hidden_size, num_attention_heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(
            num_attention_heads * head_dim, hidden_size, bias=bias if output_bias is None else output_bias
        )
        self.q_norm = nn.Identity() if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps)
        self.k_norm = nn.Identity() if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        mask: AttentionMask,
        cache: KVCache | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C); with a cache, the T tokens follow the `cache.length` it holds.

        `rope` is of `RotaryEmbedding`, None in layers without positions.
        """
        query, key, value = self.project(hidden_states)
        if rope is not None:
            query, key = apply_rope(query, *rope), apply_rope(key, *rope)
        if cache is not None:
            key, value = cache.append(self.layer_index, key, value)
        context = attention(query, key, value, mask, output_attentions=output_attentions)
        # (B, H, T, D) → (B, T, H·D)
        output: Tensor = self.o_proj(context.transpose(1, 2).flatten(2))
        return output

    def project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) → queries (B, H, T, D), keys and values (B, K, T, D), before rotation."""
        query = self.q_norm(self.split_heads(self.q_proj(hidden_states)))
        key = self.k_norm(self.split_heads(self.k_proj(hidden_states)))
        return query, key, self.split_heads(self.v_proj(hidden_states))

    def split_heads(self, states: Tensor) -> Tensor:
        """(B, T, H·D) → (B, H, T, D)."""
        return states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)
